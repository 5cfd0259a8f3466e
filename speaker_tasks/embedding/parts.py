"""Parts of recordings: the samples from one second to another, by seeking where the format can."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from speaker_tasks.embedding import audio
from speaker_tasks.embedding.audio import SAMPLE_RATE
from speaker_tasks.errors import TooLarge, UnusableAudio

_logger = logging.getLogger(__name__)


def stream(
    source: bytes | Path, start: float, end: float | None, *, max_seconds: float | None = None
) -> Iterator[np.ndarray]:
    """The samples from `start` to `end` seconds (None: to the end), in blocks of float32 at 16 kHz.

    Raises `TooLarge` for a part beyond `max_seconds`, `UnusableAudio` for one that begins after the recording ends,
    and what `audio.stream` raises.
    """
    if max_seconds is not None and end is not None and end - start > max_seconds:
        raise TooLarge(f"the part is longer than {max_seconds:g} s", max_seconds=max_seconds)
    yield from audio.resampled(_blocks(source, start, end), max_seconds=max_seconds, what="part")


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


def _blocks(source: bytes | Path, start: float, end: float | None) -> Iterator[tuple[int, np.ndarray]]:
    """Mono blocks of the part with their rate: by seeking, or out of the whole where the format cannot."""
    started = False
    try:
        for rate, block in _sought(source, start, end):
            started = True
            yield rate, block
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as error:
        if started:
            _logger.warning("a recording is damaged and was read in part: %s", error)
            return
        for block in cut(audio.stream(source), start, end):
            started = True
            yield SAMPLE_RATE, block
    if not started:
        raise UnusableAudio(f"the recording ends before {start:g} s", seconds=0.0)


def _sought(source: bytes | Path, start: float, end: float | None) -> Iterator[tuple[int, np.ndarray]]:
    """The part by seeking; raises what soundfile raises, and `ValueError` where the format cannot."""
    with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
        if not file.seekable() or not file.frames:
            raise ValueError("no place to seek")
        first = round(start * file.samplerate)
        if first < file.frames:
            file.seek(first)
            last = file.frames if end is None else round(end * file.samplerate)
            yield from audio.mono_blocks(file, last - first)
