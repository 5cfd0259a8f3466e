"""How much of a recording is speech, how noisy and how clipped it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from speaker_tasks.embedding import audio
from speaker_tasks.embedding.speech import SNR_LIMIT, Meter, measure

RATE = 16_000


@pytest.fixture(scope="module")
def clip(demo_speakers: Path) -> np.ndarray:
    """Four seconds of a synthetic voice."""
    first = sorted(path for path in demo_speakers.rglob("*") if path.suffix == ".ogg")[0]
    return audio.decode(first)


def noise(like: np.ndarray, snr: float) -> np.ndarray:
    """White noise that lies `snr` dB below `like`."""
    drawn = np.random.default_rng(0).standard_normal(len(like)).astype(np.float32)
    return drawn * np.float32(np.sqrt((like**2).mean() / 10 ** (snr / 10)))


def test_speech_is_counted_and_the_silence_round_it_is_not(clip: np.ndarray) -> None:
    quiet = np.zeros(5 * RATE, np.float32)
    found = measure(np.concatenate([quiet, clip, quiet]))
    assert found.seconds == pytest.approx(10 + len(clip) / RATE)
    assert found.speech == pytest.approx(measure(clip).speech, abs=0.3)
    assert 0.6 * len(clip) / RATE < found.speech < len(clip) / RATE
    assert found.snr == SNR_LIMIT


@pytest.mark.parametrize("level", [0.001, 0.1, 0.7])
def test_noise_tones_and_silence_are_no_speech(level: float) -> None:
    white = np.random.default_rng(1).normal(0, level, 4 * RATE).astype(np.float32)
    tone = (level * np.sin(np.arange(4 * RATE) * 0.2)).astype(np.float32)
    for samples in (white, tone, np.zeros(4 * RATE, np.float32)):
        assert measure(samples).speech == 0


@pytest.mark.parametrize("gain", [0.01, 0.1, 1.0])
def test_loudness_does_not_matter(clip: np.ndarray, gain: float) -> None:
    assert measure(clip * np.float32(gain)).speech == pytest.approx(measure(clip).speech, abs=0.3)


@pytest.mark.parametrize("snr", [20, 10, 5])
def test_the_noise_that_was_added_is_what_is_measured(clip: np.ndarray, snr: float) -> None:
    assert measure(clip + noise(clip, snr)).snr == pytest.approx(snr, abs=2.5)


def test_clipping_is_seen_wherever_the_sound_was_cut_off(clip: np.ndarray) -> None:
    assert measure(clip).clipped < 0.001
    loud = clip * np.float32(5 / np.abs(clip).max())
    for limit in (0.3, 1.0):
        assert measure(np.clip(loud, -limit, limit)).clipped > 0.03


def test_a_recording_in_blocks_measures_as_in_one(clip: np.ndarray) -> None:
    meter = Meter()
    blocks = [clip[:10_000], clip[10_000:10_100], clip[10_100:]]
    assert np.array_equal(np.concatenate(list(meter.over(blocks))), clip)
    assert meter.result().speech == pytest.approx(measure(clip).speech, abs=0.2)
    assert meter.result().seconds == measure(clip).seconds


def test_next_to_nothing_is_measured_without_complaint() -> None:
    for length in (0, 1, 479):
        assert measure(np.ones(length, np.float32)).speech == 0


@pytest.mark.parametrize("offset", [0.02, 0.1, -0.6])
def test_an_offset_as_of_cheap_microphones_changes_nothing(clip: np.ndarray, offset: float) -> None:
    quiet = clip * np.float32(0.25 / np.abs(clip).max())
    found, wanted = measure(quiet + np.float32(offset)), measure(quiet)
    assert found.speech == pytest.approx(wanted.speech, abs=0.1)
    assert found.snr == pytest.approx(wanted.snr, abs=0.1)
    assert found.clipped == 0


@pytest.mark.parametrize("frequency", [4, 15, 25])
def test_rumble_louder_than_the_voice_is_not_taken_for_it(clip: np.ndarray, frequency: float) -> None:
    voice = clip * np.float32(0.2 / np.abs(clip).max())
    rumble = 0.5 * np.sin(2 * np.pi * frequency * np.arange(len(clip)) / RATE).astype(np.float32)
    assert measure(voice + rumble).speech == pytest.approx(measure(voice).speech, abs=0.3)
    assert measure(rumble).speech == 0


def test_clipping_at_full_scale_is_seen_on_top_of_an_offset(clip: np.ndarray) -> None:
    voice = clip * np.float32(0.5 / np.abs(clip).max())
    assert measure(voice + np.float32(0.3)).clipped < 0.001
    assert measure(np.clip(voice + np.float32(0.8), -1, 1)).clipped > 0.001
