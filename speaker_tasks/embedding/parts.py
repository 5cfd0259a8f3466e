"""Parts of recordings: the samples from one second to another, by seeking where the format can."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from speaker_tasks.embedding.audio import SAMPLE_RATE, stream
from speaker_tasks.errors import UnusableAudio


def read(source: bytes | Path, start: float, end: float | None) -> np.ndarray:
    """The samples from `start` to `end` seconds (None: to the end), (T,) float32 at 16 kHz.

    Raises `UnusableAudio` for a part that begins after the recording ends, and what `audio.stream` raises.
    """
    found = _sought(source, start, end)
    samples = (
        found if found is not None else np.concatenate([np.zeros(0, np.float32), *cut(stream(source), start, end)])
    )
    if not len(samples):
        raise UnusableAudio(f"the recording ends before {start:g} s", seconds=0.0)
    if not np.isfinite(samples).all():
        return np.concatenate(list(stream(source)))  # raises, with the right words
    return samples


def cut(blocks: Iterator[np.ndarray], start: float, end: float | None) -> Iterator[np.ndarray]:
    """The part of a stream of samples at 16 kHz; reads no further than its end."""
    first, at = round(start * SAMPLE_RATE), 0
    last = None if end is None else round(end * SAMPLE_RATE)
    for block in blocks:
        part = block[max(0, first - at) : None if last is None else max(0, last - at)]
        if len(part):
            yield part
        at += len(block)
        if last is not None and at >= last:
            return


def _sought(source: bytes | Path, start: float, end: float | None) -> np.ndarray | None:
    """The part by seeking; None where the format cannot."""
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
            if not file.seekable():
                return None
            rate, first = file.samplerate, round(start * file.samplerate)
            if first >= file.frames:
                return np.zeros(0, np.float32)
            file.seek(first)
            count = -1 if end is None else max(0, round(end * rate) - first)
            block = file.read(count, dtype="float32", always_2d=True).mean(axis=1, dtype=np.float32)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError):
        return None
    return block if rate == SAMPLE_RATE else soxr.resample(block, rate, SAMPLE_RATE).astype(np.float32)
