"""Crops of training clips as phones, rooms and streets would have recorded them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speaker_tasks.embedding.features import SAMPLE_RATE
from speaker_tasks.embedding.training.corpus import Clip, read_audio
from speaker_tasks.embedding.training.degrade import degrade

CROP_SECONDS = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5)
CROP_SHARES = (0.1, 0.1, 0.14, 0.14, 0.2, 0.15, 0.1, 0.07)
CLEAN_SHARE, NOISY_SHARE = 0.3, 0.55
"""Crops that are only short; crops that are noisy (the last of them in a room, too); the rest is in a room."""
ROOM_FROM = 0.65
BABBLE_SHARE = 0.3
SNR_DB = (0.0, 20.0)
LEAST_SAMPLES, SAMPLE_STEP = 6_400, 1_600
"""Crops are at least 0.4 s long and have a multiple of 0.1 s: few lengths make large batches."""
WHOLE_SECONDS, WHOLE_STEP = 8.0, 4_000


@dataclass(frozen=True)
class Cropper:
    """Draws crops; the same seed and clip give the same crop."""

    clips: Sequence[Clip]
    noises: Sequence[np.ndarray]
    rooms: list[np.ndarray]

    def crop(self, seed: int, index: int) -> np.ndarray:
        """A crop of one clip, `(N,)` float32: short, and most of the time noisy, in a room or from a telephone."""
        rng = np.random.default_rng([seed, index])
        samples = read_audio(self.clips[index].path)
        shares = np.array(CROP_SHARES) / sum(CROP_SHARES)
        samples = _taken(samples, int(rng.choice(CROP_SECONDS, p=shares) * SAMPLE_RATE), rng)
        samples = samples[: max(LEAST_SAMPLES, len(samples) // SAMPLE_STEP * SAMPLE_STEP)]
        kind = rng.random()
        if kind < CLEAN_SHARE:
            return samples
        if kind > ROOM_FROM:
            samples = degrade(samples, rng, self.rooms)
        if kind < CLEAN_SHARE + NOISY_SHARE:
            noises = [self._babble(len(samples), rng)] if rng.random() < BABBLE_SHARE else self.noises
            samples = in_noise(samples, noises, rng.uniform(*SNR_DB), rng)
        return samples

    def _babble(self, length: int, rng: np.random.Generator) -> np.ndarray:
        """The sum of one to four other voices."""
        total = np.zeros(length, np.float32)
        for other in rng.integers(len(self.clips), size=rng.integers(1, 5)):
            voice = np.resize(_taken(read_audio(self.clips[int(other)].path), length, rng), length)
            total += voice / (np.sqrt(np.mean(voice**2)) + 1e-6)
        return total


def whole(path: Path) -> np.ndarray:
    """The middle of a clip, at most `WHOLE_SECONDS` of it and a multiple of 0.25 s: `(N,)` float32."""
    samples = middle(read_audio(path), WHOLE_SECONDS)
    return samples[: max(len(samples) // WHOLE_STEP * WHOLE_STEP, min(len(samples), 2 * WHOLE_STEP))]


def middle(samples: np.ndarray, seconds: float) -> np.ndarray:
    """The middle of a clip, at most so many seconds of it."""
    start = max(0, (len(samples) - int(seconds * SAMPLE_RATE)) // 2)
    return samples[start : start + int(seconds * SAMPLE_RATE)]


def in_noise(samples: np.ndarray, noises: Sequence[np.ndarray], snr: float, rng: np.random.Generator) -> np.ndarray:
    """Samples in one of the noises, at a signal-to-noise ratio in dB."""
    noise = _taken(noises[int(rng.integers(len(noises)))], len(samples), rng)
    return with_noise(samples, np.resize(noise, len(samples)), snr)


def with_noise(samples: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """Samples and noise, both `(N,)`, at a signal-to-noise ratio in dB."""
    gain = np.sqrt(np.mean(samples**2) / (np.mean(noise**2) + 1e-12) / 10 ** (snr / 10))
    return (samples + gain * noise).astype(np.float32)


def _taken(samples: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """A random stretch; a shorter recording as it is."""
    if len(samples) <= length:
        return samples
    start = rng.integers(len(samples) - length + 1)
    return samples[start : start + length]
