"""A recording that is certainly too long is refused before it is decoded; a header alone is no certainty."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speaker_tasks.embedding import audio, decoding
from speaker_tasks.embedding.decoding import is_longer
from speaker_tasks.errors import TooLarge
from tests.unit.embedding.files import (
    damaged,
    encoded,
    made,
    tone,
    with_flac_total,
    with_wav_length,
    written,
)

RATE = 16_000
SECONDS = 8.0
NOISE = np.random.default_rng(0).normal(0, 0.1, round(SECONDS * RATE)).astype(np.float32)
KNOWN = ["WAV", "W64", "RF64", "AIFF", "AU", "CAF", "FLAC", "OGG", "OPUS", "MP3", "M4A", "WEBM"]
"""Kinds whose files say how long they are."""


def with_last_granule(content: bytes, samples: int) -> bytes:
    """An Ogg file whose last page says that so many samples end there; its checksum is that of the page as it is."""
    from speaker_tasks.embedding.ogg import _checksum

    at = content.rindex(b"OggS")
    page, body = content[at : at + 27 + content[at + 26]], content[at + 27 + content[at + 26] :]
    page = page[:6] + samples.to_bytes(8, "little") + page[14:]
    return content[:at] + page[:22] + _checksum(page, body) + page[26:] + body


def with_xing_frames(content: bytes, frames: int) -> bytes:
    """An MP3 file whose first frame says that so many follow."""
    at = max(content.find(b"Xing"), content.find(b"Info")) + 8
    return content[:at] + frames.to_bytes(4, "big") + content[at + 4 :]


@pytest.mark.parametrize("kind", KNOWN)
def test_what_is_too_long_is_known_without_decoding(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = made(kind, NOISE)
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(TooLarge) as late:
        audio.decode(content, max_seconds=7.0, setting="THE_LIMIT")
    monkeypatch.setattr(decoding, "_of_source", None)  # whatever decodes fails
    for source in (content, tmp_path / "x"):
        with pytest.raises(TooLarge) as early:
            audio.check_length(source, 7.0, "THE_LIMIT")
        assert early.value.to_dict() == late.value.to_dict()


@pytest.mark.parametrize("kind", [*KNOWN, "ADTS", "WMA", "TS"])
def test_what_is_as_long_as_the_limit_is_not_refused(kind: str) -> None:
    content = made(kind, NOISE)
    read = len(audio.decode(content)) / RATE
    assert not is_longer(content, read)
    assert not is_longer(content, 3600.0)


WRONG = {
    "a FLAC file": lambda: with_flac_total(made("FLAC", NOISE), 3600 * RATE),
    "a FLAC file of a pipe": lambda: with_flac_total(made("FLAC", NOISE), 0),
    "Vorbis": lambda: with_last_granule(made("OGG", NOISE), 3600 * RATE),
    "Opus": lambda: with_last_granule(made("OPUS", NOISE), 3600 * 48_000),
    "an MP3 file": lambda: with_xing_frames(made("MP3", NOISE), 1 << 20),
    "a WAV file": lambda: with_wav_length(made("WAV", NOISE), 3600 * RATE * 2),
    "a WAV file of a pipe": lambda: with_wav_length(made("WAV", NOISE), 0xFFFFFFFF),
    "a file that was cut off": lambda: made("WAV", np.tile(NOISE, 4))[: round(8 * RATE * 2)],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_header_refuses_nothing(name: str) -> None:
    content = WRONG[name]()
    assert len(audio.decode(content, max_seconds=20.0)) / RATE == pytest.approx(SECONDS, abs=0.3)
    audio.check_length(content, 20.0)


def test_the_mistakes_of_these_headers_are_believed_by_others() -> None:
    for name in ("a FLAC file", "Vorbis", "Opus", "an MP3 file"):
        assert decoding.seconds_claimed(WRONG[name]()) > 3000, name


def test_joined_and_damaged_recordings_are_read_before_they_are_refused() -> None:
    for content in (made("FLAC", NOISE) * 2, made("OPUS", NOISE) * 2, damaged(made("OPUS", NOISE), 0.5)):
        assert not is_longer(content, 5.0)


def test_an_mp3_of_changing_bit_rate_without_a_header_is_not_refused_by_a_guess() -> None:
    quiet = np.concatenate([np.zeros(8 * RATE, np.float32), NOISE, tone(440.0, 1.0)])
    content = written("MP3", quiet, bitrate_mode="VARIABLE", compression_level=0.5)
    content = content[content.index(content[:2], 100) :]
    for limit in (17.5, 20.0, 60.0):
        assert not is_longer(content, limit)


def test_a_film_is_as_long_as_its_shortest_sound_track() -> None:
    film = encoded("matroska", "aac", NOISE, NOISE[: 3 * RATE])
    assert not is_longer(film, 5.0)
    assert is_longer(encoded("matroska", "aac", NOISE, NOISE), 5.0)


def test_what_is_no_recording_is_left_to_whoever_reads_it(tmp_path: Path) -> None:
    for content in (b"", b"rubbish" * 1000):
        assert not is_longer(content, 1.0)
    assert not is_longer(tmp_path / "missing.wav", 1.0)
