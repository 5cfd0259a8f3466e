"""Channels into one: the mix of all, or the loudest one where the mix would lose the voice."""

from __future__ import annotations

import math

import numpy as np

CANCELLED = 0.3
"""The share of the loudest channel's power below which the mix is given up.

Equal channels mix to 1, two voices of equal loudness to 0.5, a voice beside a dead channel to 0.25, a voice beside its
own inverse to 0.
"""


def mono(block: np.ndarray) -> np.ndarray:
    """One channel (T,) float32 of (T, C) samples: the average, or the loudest channel if the average cancels it.

    Each block is decided by itself, so that someone who speaks later, on another channel, is heard. Powers are taken
    without the mean: a dead channel with an offset is dead.
    """
    if block.ndim == 1:
        return block
    channels = block.shape[1]
    if channels == 1 or not len(block):
        return block.mean(axis=1, dtype=np.float32)
    mixed: np.ndarray = block @ np.full(channels, 1 / channels, np.float32)
    loudest = max(range(channels), key=lambda channel: _power(block[:, channel]))
    if _power(mixed) < CANCELLED * _power(block[:, loudest]):
        return np.ascontiguousarray(block[:, loudest])
    return mixed


def _power(samples: np.ndarray) -> float:
    """The variance of samples (T,), which may be huge or not finite: NaN counts as nothing."""
    with np.errstate(all="ignore"):
        variance = float(np.dot(samples, samples)) / len(samples) - float(samples.mean()) ** 2
    return 0.0 if math.isnan(variance) else variance
