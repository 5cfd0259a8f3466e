"""The part of a recording is what the whole holds there, in every format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile

from speaker_tasks.embedding import audio, parts
from speaker_tasks.embedding.packets import BLOCK_SECONDS
from speaker_tasks.errors import NotFinite, TooLarge, UnsupportedAudio, UnusableAudio


def read(source: bytes | Path, start: float, end: float | None, *, max_seconds: float | None = None) -> np.ndarray:
    """The part in one piece."""
    return np.concatenate(list(parts.stream(source, start, end, max_seconds=max_seconds)))


def tone(path: Path, rate: int = 16_000, seconds: float = 6.0) -> Path:
    """A tone whose loudness tells the time."""
    time = np.arange(int(seconds * rate)) / rate
    samples = (np.sin(2 * np.pi * 300 * time) * time / seconds * 0.9).astype(np.float32)
    if path.suffix == ".m4a":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=rate, layout="mono")
            frame = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
            frame.sample_rate = rate
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
    else:
        soundfile.write(path, samples, rate)
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_part_is_what_the_whole_holds_there(tmp_path: Path, name: str, rate: int) -> None:
    path = tone(tmp_path / name, rate)
    part = read(path, 2.0, 3.5)
    assert len(part) == pytest.approx(24_000, abs=2)
    whole = audio.decode(path)[32_000:56_000]
    assert np.abs(part).max() == pytest.approx(np.abs(whole).max(), abs=0.03)
    assert np.array_equal(read(path.read_bytes(), 2.0, 3.5), part)


def test_a_part_without_an_end_goes_to_the_end(tmp_path: Path) -> None:
    assert len(read(tone(tmp_path / "a.wav"), 4.0, None)) == 32_000
    assert len(read(tone(tmp_path / "a.wav"), 4.0, 60.0)) == 32_000


def test_a_part_that_begins_after_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableAudio, match="ends before 7 s"):
        read(tone(tmp_path / "a.wav"), 7.0, 8.0)
    (tmp_path / "b.wav").write_text("no sound")
    with pytest.raises(UnsupportedAudio):
        read(tmp_path / "b.wav", 0, 1)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.m4a"])
def test_a_part_that_is_too_long_is_told_with_and_without_an_end(tmp_path: Path, name: str) -> None:
    path = tone(tmp_path / name, 8_000)
    with pytest.raises(TooLarge, match="the part is longer than 2 s"):
        read(path, 1.0, 3.5, max_seconds=2.0)
    with pytest.raises(TooLarge, match="the part is longer than 2 s"):
        read(path, 1.0, None, max_seconds=2.0)
    assert len(read(path, 1.0, 3.0, max_seconds=2.0)) == pytest.approx(32_000, abs=2)


def test_a_long_part_comes_in_blocks_and_no_more_is_read_than_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros((8_000 * 300, 2), np.int16), 8_000)
    lengths, file_read = [], soundfile.SoundFile.read

    def counted(file: soundfile.SoundFile, frames: int = -1, **how: Any) -> np.ndarray:
        block = file_read(file, frames, **how)
        lengths.append(len(block))
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    assert sum(map(len, parts.stream(path, 50.0, 250.0))) == 200 * audio.SAMPLE_RATE
    assert max(lengths) <= 8_000 * BLOCK_SECONDS
    lengths.clear()
    with pytest.raises(TooLarge):
        list(parts.stream(path, 50.0, None, max_seconds=30.0))
    assert sum(lengths) <= 8_000 * 40


def test_a_rate_of_a_few_hertz_cannot_blow_up_a_part(tmp_path: Path) -> None:
    content = bytearray(tone(tmp_path / "a.wav").read_bytes())
    content[24:28] = (1).to_bytes(4, "little")
    with pytest.raises(UnsupportedAudio, match="1 Hz"):
        read(bytes(content), 0.0, 5.0)


def test_values_that_are_not_finite_are_refused_in_a_part(tmp_path: Path) -> None:
    samples = np.full(48_000, 0.1, np.float32)
    samples[40_000] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    assert len(read(tmp_path / "a.wav", 0.0, 2.0)) == 32_000
    with pytest.raises(NotFinite):
        read(tmp_path / "a.wav", 2.0, 3.0)


def test_a_part_of_a_recorder_that_was_killed(tmp_path: Path) -> None:
    content = bytearray(tone(tmp_path / "a.wav").read_bytes())
    whole = read(bytes(content), 2.0, 3.5)
    content[40:44] = bytes(4)
    np.testing.assert_allclose(read(bytes(content), 2.0, 3.5), whole, atol=1e-4)
