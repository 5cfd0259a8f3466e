"""Bytes from strangers: whatever they are, decoding and the front ends give samples or an error of ours, soon."""

from __future__ import annotations

import contextlib
import io
import struct
import time

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from speaker_tasks.embedding import features
from speaker_tasks.embedding.audio import SAMPLE_RATE, Reading, check, decode
from speaker_tasks.embedding.speech import measure
from speaker_tasks.errors import SpeakerTasksError, TooLarge, UnsupportedAudio, Unusable
from tests.unit.embedding.files import made

MAX_SECONDS = 300.0
QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def sound(kind: str, rate: int = 16_000, channels: int = 1, seconds: float = 1.0) -> bytes:
    samples = np.random.default_rng(0).normal(0, 0.1, (int(rate * seconds), channels))
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind)
    return file.getvalue()


def sound_of(seconds: float) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)


FILES = {kind: sound(kind) for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF")}


def used(content: bytes) -> np.ndarray | None:
    """The whole way of a recording to the network; None if it was refused with an error of ours."""
    try:
        samples = check(decode(content, max_seconds=MAX_SECONDS))
    except (Unusable, UnsupportedAudio, TooLarge):
        return None
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) <= (MAX_SECONDS + 11) * SAMPLE_RATE
    assert np.isfinite(features.log_mel(samples)).all()
    assert np.isfinite(features.vgg_spectrogram(samples)).all()
    measured = measure(samples)
    assert 0 <= measured.speech <= measured.seconds
    assert 0 <= measured.clipped <= 1
    return samples


@QUICK
@given(st.binary(max_size=3000))
def test_any_bytes(content: bytes) -> None:
    used(content)


@QUICK
@given(kind=st.sampled_from(sorted(FILES)), keep=st.floats(0, 1))
def test_files_that_are_cut_anywhere(kind: str, keep: float) -> None:
    used(FILES[kind][: int(keep * len(FILES[kind]))])


@QUICK
@given(
    kind=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_headers_that_lie(kind: str, changes: list[tuple[int, int]]) -> None:
    content = bytearray(FILES[kind])
    for place, value in changes:
        content[place % len(content)] = value
    used(bytes(content))


WHOLE = {kind: made(kind, sound_of(2.0)) for kind in ("WAV", "FLAC", "OGG", "OPUS", "MP3", "ADTS", "M4A", "WEBM")}
"""Two seconds of every kind that people send."""
CHANGES = st.one_of(
    st.tuples(st.just("flip"), st.floats(0, 1), st.integers(0, 7)),
    st.tuples(st.just("noise"), st.floats(0, 1), st.integers(1, 3000)),
    st.tuples(st.just("drop"), st.floats(0, 1), st.integers(1, 3000)),
    st.tuples(st.just("repeat"), st.floats(0, 1), st.integers(1, 3000)),
    st.tuples(st.just("keep"), st.floats(0, 1), st.just(0)),
)


def changed(content: bytes, change: tuple[str, float, int]) -> bytes:
    """The file after one thing went wrong with it."""
    what, share, count = change
    at = int(share * len(content))
    match what:
        case "flip":
            return content[:at] + bytes(value ^ 1 << count for value in content[at : at + 1]) + content[at + 1 :]
        case "noise":
            return content[:at] + np.random.default_rng(count).bytes(count) + content[at + count :]
        case "drop":
            return content[:at] + content[at + count :]
        case "repeat":
            return content[: at + count] + content[at:]
    return content[:at]


@QUICK
@given(
    kinds=st.lists(st.sampled_from(sorted(WHOLE)), min_size=1, max_size=3),
    changes=st.lists(CHANGES, min_size=1, max_size=4),
)
def test_files_that_are_joined_cut_and_damaged_at_once(kinds: list[str], changes: list[tuple[str, float, int]]) -> None:
    content = b"".join(WHOLE[kind] for kind in kinds)
    for change in changes:
        content = changed(content, change)
    used(content)


@settings(QUICK, max_examples=100)
@given(
    kind=st.sampled_from(["FLAC", "OGG", "OPUS", "MP3", "WEBM", "WAV"]),
    copies=st.integers(1, 3),
    share=st.floats(0.3, 1),
    count=st.integers(1, 4000),
    what=st.sampled_from(["noise", "drop", "keep"]),
)
def test_nothing_is_lost_in_silence(kind: str, copies: int, share: float, count: int, what: str) -> None:
    one = WHOLE[kind]
    at = int(share * copies * len(one)) % len(one)
    assume(len(one) // 5 < at < len(one) - 100)  # a cut between two tells nothing
    seconds = copies * len(decode(one)) / SAMPLE_RATE
    reading = Reading()
    with contextlib.suppress(UnsupportedAudio, Unusable):
        decode(changed(one * copies, (what, share, count)), reading=reading, max_seconds=MAX_SECONDS)
        assert reading.damaged or reading.seconds > seconds - 0.1


def checked(samples: np.ndarray) -> np.ndarray | None:
    with contextlib.suppress(SpeakerTasksError):
        return check(samples)
    return None


@QUICK
@given(st.lists(st.floats(width=32), max_size=9000), st.integers(0, 3))
def test_any_samples(values: list[float], repeats: int) -> None:
    samples = checked(np.array(values * (1 + 10 * repeats), np.float32))
    if samples is not None:
        assert np.isfinite(features.log_mel(samples)).all()
        assert np.isfinite(features.vgg_spectrogram(samples)).all()


@pytest.mark.parametrize(("rate", "channels"), [(192_000, 1), (48_000, 8), (4_000, 2), (11_025, 1)])
def test_odd_rates_and_many_channels_come_out_alike(rate: int, channels: int) -> None:
    samples = used(sound("WAV", rate, channels, 1.0))
    assert samples is not None
    assert len(samples) == pytest.approx(SAMPLE_RATE, abs=2)


def test_one_sample_is_too_short() -> None:
    assert used(sound("WAV", seconds=1 / 16_000)) is None


def test_a_header_of_four_hours_on_two_kilobytes_costs_nothing() -> None:
    size = 4 * 3600 * 16_000 * 2
    header = (
        b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16)
    )
    started = time.monotonic()
    used(header + b"data" + struct.pack("<I", size) + b"\1\2" * 1000)
    assert time.monotonic() - started < 2


def test_four_hours_of_silence_that_pack_small_are_refused_early() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(3600 * 16_000, np.int16), 16_000, format="FLAC")
    assert len(file.getvalue()) < 500_000
    started = time.monotonic()
    with pytest.raises(TooLarge):
        decode(file.getvalue(), max_seconds=MAX_SECONDS)
    assert time.monotonic() - started < 5


def test_values_that_are_not_finite_in_a_float_file_are_refused() -> None:
    file = io.BytesIO()
    soundfile.write(file, np.array([0.1, np.nan] * 8000, np.float32), 16_000, format="WAV", subtype="FLOAT")
    assert used(file.getvalue()) is None


def test_text_is_no_recording() -> None:
    with pytest.raises(UnsupportedAudio):
        decode(b"#EXTM3U\nfile:///etc/passwd\n")


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_file_that_points_before_its_beginning_leaves_no_trace_in_the_log() -> None:
    """libsndfile asks for a place before the file, and what its callback raises is printed."""
    random = np.random.default_rng(0)
    for _ in range(150):
        head = bytearray(FILES["AIFF"])
        for place in random.integers(0, 120, 3):
            head[place] = random.choice([0, 0x7F, 0x80, 0xFF])
        with contextlib.suppress(SpeakerTasksError):
            decode(bytes(head), max_seconds=MAX_SECONDS)
