"""What rooms, telephones and codecs do to speech, as functions of samples `(N,)` float32 at 16 kHz."""

from __future__ import annotations

import numpy as np
import soxr
from scipy import signal

SAMPLE_RATE = 16_000


def change_speed(samples: np.ndarray, speed: float) -> np.ndarray:
    """Play faster (> 1) or slower, pitch and all."""
    if speed == 1.0:
        return samples
    return soxr.resample(samples, SAMPLE_RATE, SAMPLE_RATE / speed, quality="MQ").astype(np.float32)


def degrade(samples: np.ndarray, rng: np.random.Generator, rooms: list[np.ndarray]) -> np.ndarray:
    """One random recording chain: a room most of the time, then perhaps a telephone, then perhaps a coarse codec."""
    if rng.random() < 0.7:
        room = rooms[rng.integers(len(rooms))] if rooms and rng.random() < 0.3 else synthetic_room(rng)
        samples = reverberate(samples, room)
    if rng.random() < 0.35:
        samples = telephone(samples, rng)
    return samples


def synthetic_room(rng: np.random.Generator) -> np.ndarray:
    """A direct path and an exponentially decaying diffuse tail, T60 of 0.1 to 0.6 s: `(M,)` float32."""
    decay = rng.uniform(0.1, 0.6)
    length = int(SAMPLE_RATE * min(decay, 0.4))
    time = np.arange(length) / SAMPLE_RATE
    tail = rng.standard_normal(length) * np.exp(-6.9 * time / decay)
    tail[: int(SAMPLE_RATE * rng.uniform(0.001, 0.01))] = 0.0
    direct_to_reverberant = 10 ** (rng.uniform(-3.0, 12.0) / 10)
    tail /= np.sqrt(np.sum(tail**2) * direct_to_reverberant) + 1e-9
    tail[0] = 1.0
    return tail.astype(np.float32)


def reverberate(samples: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Convolve with a room's impulse response, aligned to its direct path, same length and power."""
    direct = int(np.argmax(np.abs(room)))
    wet = signal.oaconvolve(samples, room)[direct : direct + len(samples)]
    gain = np.sqrt((np.mean(samples**2) + 1e-12) / (np.mean(wet**2) + 1e-12))
    return (wet * gain).astype(np.float32)


def telephone(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Limit the band, and half of the time quantise to 8-bit mu-law as telephony does."""
    low, high = rng.uniform(80, 350), rng.uniform(3_000, 5_500)
    band = signal.butter(4, [low, high], btype="bandpass", fs=SAMPLE_RATE, output="sos")
    narrow = signal.sosfilt(band, samples).astype(np.float32)
    if rng.random() < 0.5:
        peak = np.abs(narrow).max() + 1e-6
        compressed = np.sign(narrow) * np.log1p(255 * np.abs(narrow / peak)) / np.log(256)
        levels = np.round(compressed * 127) / 127
        narrow = (np.sign(levels) * np.expm1(np.abs(levels) * np.log(256)) / 255 * peak).astype(np.float32)
    return narrow
