"""Kaldi's filter banks in numpy, as kaldi-native-fbank gives them without dither: 80 bins, 25 ms every 10 ms.

A frame loses its mean, is pre-emphasised and windowed. All of that is linear and the window begins with 0, so here the
whole clip is pre-emphasised at once, and a frame of mean m then loses what is left of it, 0.03 m.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from speaker_tasks.embedding.features import FFT_SIZE, HOP, SAMPLE_RATE, WINDOW, filter_blocks, power_spectra

BINS = 80
LOW_HZ = 20.0
HIGH_HZ = SAMPLE_RATE / 2
PREEMPHASIS = np.float32(0.97)
INT16_SCALE = 32_768.0
"""Kaldi's samples are whole numbers; with the floor, it decides what silence is."""
FLOOR = np.finfo(np.float32).eps
"""The least energy of a bin."""
WIDE_BINS = 48
"""Filters from this one on span many bins each, those before it few: see `features.filter_blocks`."""


def kaldi_fbank(samples: np.ndarray) -> np.ndarray:
    """Log filter bank energies with each bin's mean over time removed: `(80, T)` float32.

    `samples` is `(N,)` float32 in [-1, 1] at 16 kHz, N >= 400; T = 1 + (N - 400) // 160.
    """
    energies = filter_bank_energies(samples)
    np.maximum(energies, FLOOR, out=energies)
    np.log(energies, out=energies)
    energies -= energies.mean(axis=1, keepdims=True)
    return energies


def filter_bank_energies(samples: np.ndarray) -> np.ndarray:
    """Power in each of Kaldi's filters: `(80, T)` float32, linear."""
    samples = samples.astype(np.float32, copy=False)
    means = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP].mean(axis=1, keepdims=True)
    emphasised = np.zeros(len(samples) + FFT_SIZE - WINDOW, np.float32)
    emphasised[: len(samples)] = samples
    emphasised[1 : len(samples)] -= PREEMPHASIS * samples[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(emphasised, FFT_SIZE)[::HOP]
    power = power_spectra((frames - (1 - PREEMPHASIS) * means) * _padded_window())
    energies = np.empty((BINS, len(frames)), np.float32)
    for rows, bins, filters in _blocks():
        np.matmul(filters, power[:, bins].T, out=energies[rows])
    return energies


@cache
def _padded_window() -> np.ndarray:
    """The "povey" window, a symmetric Hann window to the power of 0.85, in Kaldi's scale, then zeros: `(512,)`."""
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / (WINDOW - 1))
    return np.pad(INT16_SCALE * hann**0.85, (0, FFT_SIZE - WINDOW)).astype(np.float32)


@cache
def filters() -> np.ndarray:
    """Triangles of height 1 on Kaldi's mel scale, `(80, 257)` float32; the last bin is in none."""
    edges = np.linspace(_mel(np.array(LOW_HZ)), _mel(np.array(HIGH_HZ)), BINS + 2)
    bins = _mel(np.arange(FFT_SIZE // 2 + 1) * SAMPLE_RATE / FFT_SIZE)
    rising = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


@cache
def _blocks() -> list[tuple[slice, slice, np.ndarray]]:
    return filter_blocks(filters(), WIDE_BINS)


def _mel(hz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log(1.0 + hz / 700.0)
