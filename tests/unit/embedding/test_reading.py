"""All the sound that a file holds is read; where some is lost, the reading says so."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest

from speaker_tasks.embedding import audio, decoding, parts
from speaker_tasks.embedding.audio import Reading
from speaker_tasks.errors import TooLarge, UnsupportedAudio
from tests.unit.embedding.files import (
    damaged,
    encoded,
    made,
    pitch,
    tone,
    with_flac_total,
    with_wav_length,
    written,
)

RATE = 16_000
LOW, HIGH = 440.0, 880.0
KINDS = ["WAV", "AIFF", "AU", "CAF", "FLAC", "OGG", "OPUS", "MP3", "ADTS", "M4A", "WEBM", "WMA"]
TWO = np.concatenate([tone(LOW, 4.0), tone(HIGH, 4.0)])
"""Eight seconds that end higher than they begin."""


def read(content: bytes | Path) -> tuple[np.ndarray, Reading]:
    reading = Reading()
    return audio.decode(content, reading=reading), reading


def is_whole(content: bytes, seconds: float, *, last: float = HIGH) -> None:
    """All of it is read, to its end, and nothing is said to be lost."""
    samples, reading = read(content)
    assert len(samples) / RATE == pytest.approx(seconds, abs=0.35)  # codecs pad
    assert reading.seconds == pytest.approx(len(samples) / RATE, abs=0.01)
    assert pitch(samples[-RATE:-1600]) == pytest.approx(last, abs=5)
    assert (reading.damaged, reading.lost, reading.warnings) == (False, 0, [])


@pytest.mark.parametrize("kind", [*KINDS, "TS", "W64", "RF64"])
def test_a_whole_file_is_not_called_damaged(kind: str, tmp_path: Path) -> None:
    content = made(kind, TWO)
    is_whole(content, 8.0)
    (tmp_path / "x").write_bytes(content)
    samples, reading = read(tmp_path / "x")
    assert not reading.damaged
    np.testing.assert_array_equal(samples, read(content)[0])


# Lengths that headers do not know, or know wrong


@pytest.mark.parametrize("total", [0, 1, 5 * RATE])
def test_a_flac_file_is_read_to_its_end_whatever_its_header_says(total: int) -> None:
    is_whole(with_flac_total(made("FLAC", TWO), total), 8.0)


def test_a_flac_file_that_promises_more_than_it_holds_is_damaged() -> None:
    samples, reading = read(with_flac_total(made("FLAC", TWO), 20 * RATE))
    assert len(samples) == 8 * RATE
    assert reading.lost == pytest.approx(12, abs=0.1)
    assert "damaged: 8.0 s were read, about 12.0 s are lost" in reading.warnings[0]


def test_an_mp3_of_changing_bit_rate_without_a_xing_header_is_read_to_its_end() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 6 * RATE).astype(np.float32)
    sound = np.concatenate([noise, np.zeros(8 * RATE, np.float32), TWO])
    content = written("MP3", sound, bitrate_mode="VARIABLE", compression_level=0.5)
    at = content.find(b"Xing")
    assert 0 < at < 60
    second = content.index(content[:2], 100)  # the first frame is the header, the others begin alike
    is_whole(content[second:], 22.0)


@pytest.mark.parametrize("count", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 100, 64_001])
def test_a_wav_of_a_pipe_or_a_killed_recorder_is_read_to_its_end(count: int, tmp_path: Path) -> None:
    content = with_wav_length(made("WAV", TWO), count)
    is_whole(content, 8.0)
    (tmp_path / "a.wav").write_bytes(content)
    np.testing.assert_allclose(read(tmp_path / "a.wav")[0], TWO, atol=1e-4)
    stereo = with_wav_length(made("WAV", np.stack([TWO, TWO], axis=1)), count)
    is_whole(stereo, 8.0)


def test_what_stands_behind_the_sound_of_a_wav_is_not_heard() -> None:
    content = made("WAV", TWO) + b"LIST" + (400).to_bytes(4, "little") + b"INFO" + bytes(range(256)) + bytes(140)
    samples, reading = read(content)
    np.testing.assert_allclose(samples, TWO, atol=1e-4)
    assert not reading.damaged


# Recordings joined end to end


@pytest.mark.parametrize("kind", KINDS)
def test_recordings_joined_end_to_end_are_all_read(kind: str, tmp_path: Path) -> None:
    content = made(kind, tone(LOW, 2.0)) + made(kind, tone(300.0, 2.0)) + made(kind, tone(HIGH, 3.0))
    is_whole(content, 7.0)
    (tmp_path / "x").write_bytes(content)
    np.testing.assert_array_equal(read(tmp_path / "x")[0], read(content)[0])


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "ADTS"])
def test_the_sample_rate_may_change_on_the_way(kind: str) -> None:
    content = made(kind, tone(LOW, 2.0), RATE) + made(kind, tone(HIGH, 3.0, 44_100), 44_100)
    is_whole(content, 5.0)


def test_opus_and_vorbis_may_follow_each_other_in_a_chain() -> None:
    stereo = np.stack([tone(HIGH, 3.0, 44_100)] * 2, axis=1)
    is_whole(made("OPUS", tone(LOW, 2.0)) + made("OGG", stereo, 44_100), 5.0)


def test_a_first_wav_of_unknown_length_does_not_swallow_the_next() -> None:
    for count in (0, 0xFFFFFFFF, 100):
        is_whole(with_wav_length(made("WAV", tone(LOW, 2.0)), count) + made("WAV", tone(HIGH, 3.0)), 5.0)


def test_a_part_that_nothing_reads_is_told(tmp_path: Path) -> None:
    content = made("FLAC", tone(HIGH, 4.0))
    samples, reading = read(content + content[:60])
    assert len(samples) == 4 * RATE
    assert reading.damaged


# Damage


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "OPUS", "MP3", "ADTS", "M4A", "WEBM", "WMA"])
def test_reading_goes_on_past_noise_in_the_middle(kind: str) -> None:
    content = damaged(made(kind, np.concatenate([TWO, TWO])), 0.5)
    samples, reading = read(content)
    assert reading.damaged
    assert any(warning.startswith("damaged: ") for warning in reading.warnings)
    assert reading.seconds == pytest.approx(len(samples) / RATE, abs=0.01)
    assert 8 < len(samples) / RATE < 16.1
    assert pitch(samples[-RATE:-1600]) == pytest.approx(HIGH, abs=5)


@pytest.mark.parametrize("kind", ["FLAC", "MP3", "M4A", "WEBM"])
def test_what_was_read_and_what_was_lost_make_up_the_whole(kind: str) -> None:
    _, reading = read(damaged(made(kind, np.concatenate([TWO, TWO])), 0.4))
    assert reading.seconds + reading.lost == pytest.approx(16, abs=0.6)


@pytest.mark.parametrize("kind", ["WAV", "AIFF", "AU", "W64", "FLAC", "MP3", "WEBM"])
@pytest.mark.parametrize("keep", [0.35, 0.7])
def test_a_file_cut_short_says_how_much_its_header_had_promised(kind: str, keep: float) -> None:
    content = made(kind, TWO)
    _, reading = read(content[: int(keep * len(content))])
    assert reading.seconds == pytest.approx(keep * 8, abs=0.9)
    assert reading.seconds + reading.lost == pytest.approx(8, abs=0.3)


@pytest.mark.parametrize("kind", ["OGG", "OPUS", "ADTS", "CAF", "TS"])
def test_a_file_cut_short_without_a_length_is_damaged_all_the_same(kind: str) -> None:
    content = made(kind, TWO)
    samples, reading = read(content[: int(0.7 * len(content))])
    assert reading.damaged
    assert 3 < len(samples) / RATE < 6.5


@pytest.mark.parametrize("kind", ["OGG", "OPUS"])
def test_one_wrong_bit_in_ogg_does_not_cost_a_page(kind: str) -> None:
    content = bytearray(made(kind, TWO))
    content[len(content) // 2] ^= 0x10
    samples, reading = read(bytes(content))
    assert len(samples) / RATE > 7.8
    assert reading.damaged


def test_an_mp4_without_its_index_says_why_nothing_can_be_read() -> None:
    content = made("M4A", TWO)
    with pytest.raises(UnsupportedAudio, match="cut short: its index"):
        audio.decode(content[: len(content) // 2])


def test_a_pause_of_a_muted_microphone_is_no_damage() -> None:
    source, target = io.BytesIO(made("WEBM", TWO)), io.BytesIO()
    with av.open(source) as given, av.open(target, "w", format="webm") as output:
        stream = output.add_stream_from_template(given.streams.audio[0])
        for packet in given.demux():
            if packet.dts is None:
                continue
            late = 5.0 if packet.pts * packet.time_base > 4 else 0.0
            packet.pts += round(late / packet.time_base)
            packet.dts = packet.pts
            packet.stream = stream
            output.mux(packet)
    is_whole(target.getvalue(), 8.0)


# Tracks


def film(*tracks: np.ndarray, default: int | None = None) -> bytes:
    return encoded("matroska", "aac", *tracks, default=default)


def test_the_default_track_is_heard_else_the_first() -> None:
    low, high = tone(LOW, 2.0), tone(HIGH, 2.0)
    for default, wanted in ((0, LOW), (1, HIGH)):
        samples, reading = read(film(low, high, default=default))
        assert pitch(samples[1600:-1600]) == pytest.approx(wanted, abs=5)
        assert reading.warnings == [f"sound track {default + 1} of 2 was heard"]


@pytest.mark.parametrize("default", [0, None])
def test_a_silent_track_gives_way_to_one_that_can_be_heard(default: int | None) -> None:
    samples, reading = read(film(np.zeros(2 * RATE, np.float32), tone(HIGH, 2.0), default=default))
    assert pitch(samples[1600:-1600]) == pytest.approx(HIGH, abs=5)
    assert (reading.track, reading.tracks, reading.damaged) == (2, 2, False)


def test_tracks_that_are_all_silent_are_silent() -> None:
    samples, _ = read(film(np.zeros(2 * RATE, np.float32), np.zeros(2 * RATE, np.float32)))
    assert audio.is_silent(samples)


# Parts keep to the time at which they were said


def clock(seconds: int) -> np.ndarray:
    """A tone that is 100 Hz higher in each second."""
    return np.concatenate([tone(400 + 100 * second, 1.0) for second in range(seconds)])


@pytest.mark.parametrize("kind", ["WEBM", "M4A"])
def test_a_part_behind_a_gap_is_what_was_said_then(kind: str) -> None:
    content = damaged(made(kind, clock(12)), 0.3, 9000)
    _, whole = read(content)
    assert whole.lost > 0.5
    reading = Reading()
    part = np.concatenate(list(parts.stream(content, 10.2, 10.8, reading=reading)))
    assert pitch(part) == pytest.approx(400 + 100 * 10, abs=20)
    assert not reading.damaged
    around = Reading()
    list(parts.stream(content, 0.0, 12.0, reading=around))
    assert around.lost == pytest.approx(whole.lost, abs=0.05)
    assert around.seconds + around.lost == pytest.approx(12, abs=0.3)


def test_a_part_of_joined_recordings_is_counted_from_the_first() -> None:
    content = made("FLAC", clock(3)) + made("FLAC", tone(HIGH, 3.0))
    assert pitch(np.concatenate(list(parts.stream(content, 1.0, 2.0)))) == pytest.approx(500, abs=5)
    assert pitch(np.concatenate(list(parts.stream(content, 4.0, 5.0)))) == pytest.approx(HIGH, abs=5)
    assert len(np.concatenate(list(parts.stream(content, 2.0, None)))) == 4 * RATE


def test_a_part_that_reaches_beyond_a_cut_is_damaged_and_one_before_it_is_not() -> None:
    content = made("WAV", clock(10))[: 44 + 6 * 2 * RATE]
    before, across = Reading(), Reading()
    list(parts.stream(content, 1.0, 3.0, reading=before))
    list(parts.stream(content, 5.0, 8.0, reading=across))
    assert not before.damaged
    assert (across.seconds, across.lost) == (pytest.approx(1.0), pytest.approx(2.0, abs=0.01))


# Limits


def test_an_error_about_the_length_names_the_setting() -> None:
    with pytest.raises(TooLarge, match=r"longer than 3 s \(SPEAKER_MAX_AUDIO_SECONDS"):
        audio.decode(made("WAV", TWO), max_seconds=3, setting="SPEAKER_MAX_AUDIO_SECONDS")
    with pytest.raises(TooLarge, match=r"part is longer than 3 s \(SPEAKER_MAX_AUDIO_SECONDS"):
        list(parts.stream(made("WAV", TWO), 0, 5, max_seconds=3, setting="SPEAKER_MAX_AUDIO_SECONDS"))


def test_many_channels_at_a_high_rate_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(UnsupportedAudio, match="64 channels at 192000 Hz"):
        audio.decode(made("WAV", np.zeros((2_000, 64), np.float32), 192_000))
    audio.decode(made("WAV", np.zeros((19_200, 8), np.float32), 192_000))


def test_decoding_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "DECODE_SECONDS", 0.0)
    monkeypatch.setattr(audio, "DECODE_SHARE", 0.0)
    with pytest.raises(TooLarge, match="to decode"):
        audio.decode(made("FLAC", TWO))


def test_a_small_file_of_many_hours_is_not_decoded_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    blocks = decoding._of_source

    def counted(source: bytes | Path, reading: Reading):  # type: ignore[no-untyped-def]
        for rate, block in blocks(source, reading):
            seen.append(len(block) / rate)
            yield rate, block

    monkeypatch.setattr(decoding, "_of_source", counted)
    hour = made("FLAC", np.zeros(3600 * RATE, np.int16))
    for content in (hour, with_flac_total(hour, 0)):
        seen.clear()
        with pytest.raises(TooLarge):
            audio.decode(content, max_seconds=60)
        assert sum(seen) < 80
