"""The front ends agree with librosa, which is not on the serving path."""

from __future__ import annotations

import librosa
import numpy as np
import pytest

from speaker_tasks.embedding import features
from tests.unit.embedding.conftest import voice

SOUNDS = {
    "a voice": voice(2.5),
    "noise": np.random.default_rng(0).normal(0, 0.3, 16_001).astype(np.float32),
    "the shortest": voice(0.4),
    "an odd length": voice(1.2345, pitch=90),
    "a whisper": voice(1.0) * np.float32(1e-3),
}


@pytest.mark.parametrize("sound", SOUNDS.values(), ids=SOUNDS)
def test_vgg_spectrogram_is_librosas(sound: np.ndarray) -> None:
    doubled = np.concatenate([sound, sound[::-1]]).astype(np.float64)
    magnitude = np.abs(librosa.stft(doubled, n_fft=512, win_length=400, hop_length=160, pad_mode="reflect"))
    expected = (magnitude - magnitude.mean(axis=0)) / (magnitude.std(axis=0) + 1e-5)
    given = features.vgg_spectrogram(sound)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, expected, atol=1e-5)


@pytest.mark.parametrize("sound", SOUNDS.values(), ids=SOUNDS)
def test_log_mel_is_librosas(sound: np.ndarray) -> None:
    spectrum = librosa.stft(sound.astype(np.float64), n_fft=512, win_length=400, hop_length=160, center=False)
    # librosa centres the window of 400 in the frame of 512: frames begin 56 samples earlier than ours.
    padded = np.concatenate([np.zeros(56), sound, np.zeros(56)])
    spectrum = librosa.stft(padded, n_fft=512, win_length=400, hop_length=160, center=False)
    filters = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=64, fmin=20, fmax=7600, htk=True, norm=None)
    power = filters @ np.abs(spectrum) ** 2
    log = np.log(power + features.RELATIVE_FLOOR * power.mean() + features.ABSOLUTE_FLOOR)
    given = features.log_mel(sound)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, log - log.mean(axis=1, keepdims=True), atol=1e-5)


def test_vgg_spectrogram_agrees_with_the_oracle(oracle: np.lib.npyio.NpzFile) -> None:
    for number, step in enumerate([1, 1, 50, 50]):
        wave = oracle[f"wav{number}"].astype(np.float32) / 32768
        np.testing.assert_allclose(features.vgg_spectrogram(wave)[:, ::step], oracle[f"spec{number}"], atol=1e-4)


@pytest.mark.parametrize("front_end", [features.log_mel, features.vgg_spectrogram])
def test_the_gain_cancels_out(front_end) -> None:
    sound = voice(1.0)
    np.testing.assert_allclose(front_end(sound), front_end(sound * np.float32(0.25)), atol=2e-3)


@pytest.mark.parametrize("front_end", [features.log_mel, features.vgg_spectrogram])
def test_digital_silence_within_a_clip_stays_finite(front_end) -> None:
    sound = np.concatenate([voice(0.5), np.zeros(8_000, np.float32), voice(0.5)])
    assert np.isfinite(front_end(sound)).all()


@pytest.mark.parametrize(("frames", "expected"), [(38, 40), (40, 40), (159, 160), (160, 160), (161, 176), (998, 1008)])
def test_spectrograms_have_one_of_few_lengths(frames: int, expected: int) -> None:
    spectrogram = np.random.default_rng(0).normal(size=(64, frames)).astype(np.float32)
    given = features.lengthened(spectrogram)
    assert given.shape == (64, expected)
    np.testing.assert_array_equal(given[:, :frames], spectrogram)
    np.testing.assert_array_equal(given[:, frames:], spectrogram[:, : expected - frames])
    assert given.dtype == np.float32


def test_all_lengths_of_a_window_are_few() -> None:
    lengths = {features.lengthened(np.zeros((1, frames), np.float32)).shape[1] for frames in range(38, 999)}
    assert len(lengths) < 75
