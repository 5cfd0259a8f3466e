"""The front ends in pure numpy: samples in, spectrogram out."""

from __future__ import annotations

from functools import cache

import numpy as np
import scipy.fft

SAMPLE_RATE = 16_000
FFT_SIZE = 512
WINDOW = 400
"""25 ms, as a periodic Hann window."""
HOP = 160
"""10 ms."""
MEL_BINS = 64
MEL_LOW_HZ = 20.0
MEL_HIGH_HZ = 7_600.0
WIDE_MELS = 40
"""Filters from this one on span many bins each, those before it few: see `filter_blocks`."""
RELATIVE_FLOOR = 1e-4
"""Added to each mel power as a share of the clip's mean power, so that silence has a level that follows the gain."""
ABSOLUTE_FLOOR = 1e-9
"""Keeps the logarithm finite on digital silence."""

VGG_EPSILON = 1e-5
"""Added to a frame's standard deviation under the vgg protocol."""
FRAMES_AT_A_TIME = 256
"""Spectra computed together: they stay in the processor's cache."""

LENGTHS = ((160, 8), (1 << 62, 16))
"""Below so many frames, spectrograms have a multiple of so many: the network prepares itself for each length anew."""


def log_mel(samples: np.ndarray) -> np.ndarray:
    """The compact model's front end: log mel powers with the clip's mean removed, `(64, T)` float32.

    `samples` is `(N,)` float32 in [-1, 1] at 16 kHz, N >= 400; T = 1 + (N - 400) // 160. The gain cancels out.
    """
    return normalise_mel_power(mel_power(samples))


def mel_power(samples: np.ndarray) -> np.ndarray:
    """Mel-weighted power spectra of `(N,)` samples: `(64, T)` float32, linear."""
    window = _padded_window()
    samples = np.concatenate([samples.astype(np.float32, copy=False), window[WINDOW:]])
    frames = np.lib.stride_tricks.sliding_window_view(samples, FFT_SIZE)[::HOP]
    power = power_spectra(frames * window)
    weighted = np.empty((MEL_BINS, len(frames)), np.float32)
    for mels, bins, filters in _blocks():
        np.matmul(filters, power[:, bins].T, out=weighted[mels])
    return weighted


def power_spectra(frames: np.ndarray) -> np.ndarray:
    """Power spectra of `(T, 512)` float32: `(T, 257)` float32."""
    spectrum = scipy.fft.rfft(frames, axis=1)  # twice as fast as numpy's, float32 too
    squares = spectrum.view(np.float32)
    np.square(squares, out=squares)
    return squares[:, ::2] + squares[:, 1::2]


def normalise_mel_power(power: np.ndarray) -> np.ndarray:
    """Logarithm above a relative floor, each bin's mean over time removed: `(64, T)` float32."""
    log = power + (RELATIVE_FLOOR * power.mean() + ABSOLUTE_FLOOR)
    np.log(log, out=log)
    log -= log.mean(axis=1, keepdims=True)
    return log


def lengthened(spectrogram: np.ndarray) -> np.ndarray:
    """`(bins, T)` with its beginning repeated at its end, as short clips are in training, to the next of `LENGTHS`.

    A length that the network has not seen costs as much again as the network itself, and memory that it keeps.
    """
    frames = spectrogram.shape[1]
    step = next(step for limit, step in LENGTHS if frames < limit)
    missing = -frames % step
    return np.concatenate([spectrogram, spectrogram[:, :missing]], axis=1) if missing else spectrogram


def vgg_spectrogram(samples: np.ndarray) -> np.ndarray:
    """The published model's front end: `(257, T)` float32, T = 1 + 2 N // 160, each frame of mean 0 and deviation 1.

    The wave is followed by itself reversed; magnitudes of centred frames of 512 with a window of 400, the ends
    reflected. `samples` is `(N,)` float32 at 16 kHz, N > 256.
    """
    samples = samples.astype(np.float32, copy=False)
    doubled = np.pad(np.concatenate([samples, samples[::-1]]), FFT_SIZE // 2, mode="reflect")
    # Zeros on both sides of the window do not change the magnitude: only the 400 samples under it are cut out.
    margin = (FFT_SIZE - WINDOW) // 2
    frames = np.lib.stride_tricks.sliding_window_view(doubled[margin : len(doubled) - margin], WINDOW)[::HOP]
    spectrogram = np.empty((FFT_SIZE // 2 + 1, len(frames)), np.float32)
    for start in range(0, len(frames), FRAMES_AT_A_TIME):
        part = frames[start : start + FRAMES_AT_A_TIME]
        magnitude = np.abs(scipy.fft.rfft(part * hann_window(), n=FFT_SIZE, axis=1)).astype(np.float32, copy=False)
        magnitude -= magnitude.mean(axis=1, keepdims=True)
        magnitude /= magnitude.std(axis=1, keepdims=True) + VGG_EPSILON
        spectrogram[:, start : start + FRAMES_AT_A_TIME] = magnitude.T
    return spectrogram


@cache
def hann_window() -> np.ndarray:
    """The periodic Hann window, `(400,)` float32."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


@cache
def _padded_window() -> np.ndarray:
    """`hann_window`, then zeros, `(512,)`: what it leaves of 512 samples, the transform takes without padding."""
    return np.pad(hann_window(), (0, FFT_SIZE - WINDOW))


@cache
def mel_filters() -> np.ndarray:
    """Triangular filters on the HTK mel scale with unit peaks, `(64, 257)` float32."""
    edges = _hz(np.linspace(_mel(MEL_LOW_HZ), _mel(MEL_HIGH_HZ), MEL_BINS + 2))
    bins = np.arange(FFT_SIZE // 2 + 1) * SAMPLE_RATE / FFT_SIZE
    rising = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)


@cache
def _blocks() -> list[tuple[slice, slice, np.ndarray]]:
    return filter_blocks(mel_filters(), WIDE_MELS)


def filter_blocks(filters: np.ndarray, wide: int) -> list[tuple[slice, slice, np.ndarray]]:
    """Filters in two blocks, the second from `wide` on, without most of their zeros, which halves the product.

    Each block is its filters' numbers, their bins, and the filters.
    """
    blocks = []
    for numbers in (slice(0, wide), slice(wide, len(filters))):
        used = np.flatnonzero(filters[numbers].any(axis=0))
        bins = slice(int(used[0]), int(used[-1]) + 1)
        blocks.append((numbers, bins, np.ascontiguousarray(filters[numbers, bins])))
    return blocks


def _mel(hz: float) -> float:
    return 2595.0 * np.log10(1.0 + hz / 700.0)


def _hz(mel: np.ndarray) -> np.ndarray:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
