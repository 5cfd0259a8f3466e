"""Sound as it comes in, to what the front ends take: decoded, mono, 16 kHz, and checked."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr

from speaker_tasks.embedding.decoding import RATES, blocks, is_longer
from speaker_tasks.embedding.features import SAMPLE_RATE
from speaker_tasks.embedding.reading import Reading
from speaker_tasks.errors import NotFinite, TooLarge, Unusable, UnusableAudio

__all__ = [
    "MIN_SECONDS",
    "RATES",
    "SAMPLE_RATE",
    "Reading",
    "check",
    "check_length",
    "decode",
    "is_silent",
    "resampled",
    "stream",
]

MIN_SECONDS = 0.4
"""Less speech than this gives no voice; it is also more than what any front end needs."""
SILENT_LEVEL = 1e-4
"""Standard deviation below which a clip is silent: -80 dBFS, three steps of 16-bit sound."""
LOOKED_AT = 256
"""Samples of a clip that nearly always tell that it is not silent."""
MAX_PEAK = 1e10
"""Far above any integer sound handed over unscaled; beyond it, powers overflow float32."""
DECODE_SECONDS, DECODE_SHARE = 10.0, 0.1
"""What decoding may take of the processor: so many seconds, and this share of what was decoded."""


def decode(
    source: bytes | Path, *, max_seconds: float | None = None, setting: str = "", reading: Reading | None = None
) -> np.ndarray:
    """Decode a file or its bytes: `(T,) float32` at 16 kHz, the channels mixed to one (`channels.mono`).

    Values lie in [-1, 1], but for lossy codecs and float files that overshoot, which are left as they are. All
    recordings that a file holds are read, past what is damaged; `reading` tells what was lost.

    Raises TooLarge beyond `max_seconds` (without decoding the rest), naming the `setting`, UnsupportedAudio when no
    decoder reads it, UnusableAudio when it holds no samples, NotFinite for NaN or infinity, NotFound when the path
    does not exist.
    """
    pieces = list(stream(source, max_seconds=max_seconds, setting=setting, reading=reading))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def stream(
    source: bytes | Path, *, max_seconds: float | None = None, setting: str = "", reading: Reading | None = None
) -> Iterator[np.ndarray]:
    """What `decode` gives, in blocks of at most ten seconds, so that memory stays flat whatever the length."""
    read = blocks(source, Reading() if reading is None else reading)
    yield from resampled(read, max_seconds=max_seconds, setting=setting)


def check_length(source: bytes | Path, max_seconds: float, setting: str = "") -> None:
    """Raise what `stream` raises beyond `max_seconds`, before anything is decoded, where the length is certain."""
    if is_longer(source, max_seconds):
        raise _too_long("recording", max_seconds, setting)


def _too_long(what: str, max_seconds: float, setting: str) -> TooLarge:
    limit = f" ({setting})" if setting else ""
    return TooLarge(f"the {what} is longer than {max_seconds:g} s{limit}", max_seconds=max_seconds)


def resampled(
    pieces: Iterable[tuple[int, np.ndarray]],
    *,
    max_seconds: float | None = None,
    what: str = "recording",
    setting: str = "",
) -> Iterator[np.ndarray]:
    """Mono blocks, given with their rate, which may change, as blocks at 16 kHz.

    Raises TooLarge beyond `max_seconds` or when decoding takes too long, UnusableAudio when there are no samples,
    NotFinite for NaN or infinity.
    """
    seconds, at_rate = 0.0, SAMPLE_RATE
    resampler: soxr.ResampleStream | None = None
    for rate, block in _in_time(pieces):
        seconds += len(block) / rate
        if max_seconds is not None and seconds > max_seconds * (1 + 1e-9):
            raise _too_long(what, max_seconds, setting)
        if not _is_finite(block):
            raise NotFinite("the recording holds values that are not finite")
        if rate != at_rate and resampler is not None:
            yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            resampler = None
        at_rate = rate
        if rate == SAMPLE_RATE:
            yield block
            continue
        if resampler is None:
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        if len(resampled := resampler.resample_chunk(block)):
            yield resampled
    if not seconds:
        raise UnusableAudio("the recording holds no samples", seconds=0.0)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def _in_time(pieces: Iterable[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    """The blocks, as long as decoding them takes a reasonable share of the processor's time. Raises TooLarge."""
    spent = given = 0.0
    started = time.thread_time()
    for rate, block in pieces:
        spent += time.thread_time() - started
        given += len(block) / rate
        if spent > (most := DECODE_SECONDS + DECODE_SHARE * given):
            raise TooLarge(f"the recording takes more than {most:.0f} s to decode, after {given:.0f} s of it")
        yield rate, block
        started = time.thread_time()


def check(samples: np.ndarray) -> np.ndarray:
    """Give `(T,) float32` back if a voice can be taken from it.

    Raises Unusable for another shape or absurd values, NotFinite, and UnusableAudio (details: `seconds`, `level_db`)
    below `MIN_SECONDS` or when silent.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1 or samples.dtype.kind not in "fiu":
        raise Unusable(f"samples must be one row of numbers, not {samples.dtype} of shape {samples.shape}")
    if samples.dtype != np.float32:
        with np.errstate(over="ignore"):
            samples = samples.astype(np.float32)
    least, greatest = (float(samples.min()), float(samples.max())) if len(samples) else (0.0, 0.0)
    if not (math.isfinite(least) and math.isfinite(greatest)):  # both are NaN if any sample is
        raise NotFinite("samples must be finite; there are NaN or infinite values")
    seconds = len(samples) / SAMPLE_RATE
    if seconds < MIN_SECONDS:
        raise UnusableAudio(f"{seconds:.2f} s of sound; at least {MIN_SECONDS} s are needed", seconds=round(seconds, 3))
    if (peak := max(-least, greatest)) > MAX_PEAK:
        raise Unusable(f"samples must lie in [-1, 1]; the peak is {peak:.3g}", peak=peak)
    if is_silent(samples):
        level = 20 * np.log10(max(float(samples.std()), 1e-10))
        raise UnusableAudio(
            f"the recording is silent ({level:.0f} dBFS)", seconds=round(seconds, 3), level_db=round(level, 1)
        )
    return samples


def is_silent(samples: np.ndarray) -> bool:
    """Whether `(T,)` samples hold nothing, digital silence or a constant."""
    if len(samples) == 0:
        return True
    # n values that differ by d have a deviation of d / sqrt(2 n) at least: a few of them mostly spare the rest.
    few = samples[:: max(1, len(samples) // LOOKED_AT)]
    if float(few.max()) - float(few.min()) > 1.01 * SILENT_LEVEL * math.sqrt(2 * len(samples)):
        return False
    return float(samples.std()) < SILENT_LEVEL


def _is_finite(block: np.ndarray) -> bool:
    """Whether all of `(T,)` samples are; the sum of their squares tells it at once, but for huge ones."""
    return math.isfinite(float(np.dot(block, block))) or bool(np.isfinite(block).all())
