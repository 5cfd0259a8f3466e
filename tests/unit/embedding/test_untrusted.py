"""Bytes from strangers: whatever they are, decoding and the front ends give samples or an error of ours, soon."""

from __future__ import annotations

import contextlib
import io
import struct
import time

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speaker_tasks.embedding import features
from speaker_tasks.embedding.audio import SAMPLE_RATE, check, decode
from speaker_tasks.embedding.speech import measure
from speaker_tasks.errors import SpeakerTasksError, TooLarge, UnsupportedAudio, Unusable

MAX_SECONDS = 300.0
QUICK = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def sound(kind: str, rate: int = 16_000, channels: int = 1, seconds: float = 1.0) -> bytes:
    samples = np.random.default_rng(0).normal(0, 0.1, (int(rate * seconds), channels))
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind)
    return file.getvalue()


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
