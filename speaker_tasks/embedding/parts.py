"""Parts of recordings: the samples from one second to another, by seeking where the format can."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from speaker_tasks.embedding import audio, decoding
from speaker_tasks.embedding.audio import SAMPLE_RATE
from speaker_tasks.embedding.containers import survey
from speaker_tasks.embedding.fileparts import Part
from speaker_tasks.embedding.reading import Reading
from speaker_tasks.errors import TooLarge, UnusableAudio


def stream(
    source: bytes | Path,
    start: float,
    end: float | None,
    *,
    max_seconds: float | None = None,
    setting: str = "",
    reading: Reading | None = None,
) -> Iterator[np.ndarray]:
    """The samples from `start` to `end` seconds (None: to the end), in blocks of float32 at 16 kHz.

    Where sound is lost, time has gone on: a part never holds what was said later. `reading` tells what of the part is
    lost. Raises `TooLarge` for a part beyond `max_seconds`, naming the `setting`, `UnusableAudio` for one that begins
    after the recording ends, and what `audio.stream` raises.
    """
    limit = f" ({setting})" if setting else ""
    if max_seconds is not None and end is not None and end - start > max_seconds:
        raise TooLarge(f"the part is longer than {max_seconds:g} s{limit}", max_seconds=max_seconds)
    reading = Reading() if reading is None else reading
    part = _cut(source, start, end, reading)
    for samples in audio.resampled(part, max_seconds=max_seconds, what="part", setting=setting):
        yield samples
        reading.seconds += len(samples) / SAMPLE_RATE


def _cut(source: bytes | Path, start: float, end: float | None, reading: Reading) -> Iterator[tuple[int, np.ndarray]]:
    """Mono blocks of the part with their rate: by seeking, or out of the whole where the format cannot."""
    at, has_data = start, False
    try:
        for rate, block in _sought(source, start, end):
            has_data = True
            yield rate, block
            at += len(block) / rate
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError):
        whole = Reading()
        for time, rate, block in _in_time(source, whole):
            if end is not None and time >= end:
                break
            last = None if end is None else round((end - time) * rate)
            piece = block[max(0, round((at - time) * rate)) : last]
            if len(piece):
                has_data = True
                yield rate, piece
        reading.losses += whole.within(start, end)
    if not has_data:
        raise UnusableAudio(f"the recording ends before {start:g} s", seconds=0.0)


def _in_time(source: bytes | Path, reading: Reading) -> Iterator[tuple[float, int, np.ndarray]]:
    """All mono blocks with the second at which each was recorded, and their rate: what is lost took its time too."""
    read = 0.0
    for rate, block in decoding.blocks(source, reading):
        first, lost = 0, sum(loss.seconds for loss in reading.losses if loss.at < read)
        for loss in [one for one in reading.losses if read <= one.at < read + len(block) / rate]:
            last = round((loss.at - read) * rate)
            if last > first:
                yield read + first / rate + lost, rate, block[first:last]
            first, lost = last, lost + loss.seconds
        yield read + first / rate + lost, rate, block[first:]
        read += len(block) / rate


def _sought(source: bytes | Path, start: float, end: float | None) -> Iterator[tuple[int, np.ndarray]]:
    """The part by seeking; raises what soundfile raises, and `ValueError` where the whole has to be read from there."""
    recordings = _surveyed(source)
    if len(recordings) > 1 or not recordings[0].by_soundfile:
        raise ValueError("no place to seek")
    with (
        io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as opened,
        soundfile.SoundFile(opened) as file,
    ):
        if not file.seekable() or not file.frames:
            raise ValueError("no place to seek")
        first = round(start * file.samplerate)
        last = file.frames if end is None else round(end * file.samplerate)
        if first < file.frames:
            file.seek(first)
            yield from decoding.mono_blocks(file, last - first)
        behind = file.format == "FLAC" and opened.tell() < opened.seek(0, 2)
        if (end is None or last > file.frames) and (behind or recordings[0].fault):
            raise ValueError("what lies behind the length that the header tells has to be looked at")


def _surveyed(source: bytes | Path) -> list[Part]:
    if isinstance(source, bytes):
        with io.BytesIO(source) as file:
            return survey(file)
    status = source.stat()
    return _surveyed_file(source, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=16)
def _surveyed_file(path: Path, _size: int, _modified: int) -> list[Part]:
    """Once for the many parts of a long recording."""
    with path.open("rb") as file:
        return survey(file)
