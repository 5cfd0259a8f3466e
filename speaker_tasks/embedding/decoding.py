"""Files to mono blocks at their own rate: libsndfile where it can be believed, PyAV for the rest."""

from __future__ import annotations

import io
import logging
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from speaker_tasks.embedding import packets
from speaker_tasks.embedding.channels import mono
from speaker_tasks.embedding.containers import lacks_index, survey
from speaker_tasks.embedding.fileparts import CUT_SHORT, Part
from speaker_tasks.embedding.packets import BLOCK_SECONDS, Unreadable
from speaker_tasks.embedding.reading import Reading
from speaker_tasks.errors import NotFound, UnsupportedAudio

RATES = range(4_000, 768_001)
"""Outside of it there is no speech; a rate of a few hertz would blow a small file up to hours."""
LONGEST_SECONDS = 30 * 24 * 3600
"""A header that claims more does not know the length."""
FEWEST_BYTES = 64
"""For each second of sound; no speech codec takes less, and a smaller file is soon read."""
CODEC_DELAY = 0.5
"""Seconds that codecs put before and behind the sound at most, which decoders take away."""

_WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_INT16_SCALE = np.float32(1 / 32768)

_logger = logging.getLogger(__name__)


def blocks(source: bytes | Path, reading: Reading) -> Iterator[tuple[int, np.ndarray]]:
    """Mono blocks with their rate: all recordings in the file, read past what is damaged, which `reading` tells.

    Raises `NotFound`, and `UnsupportedAudio` for what nothing here reads.
    """
    for rate, block in _of_source(source, reading):
        yield rate, block
        reading.seconds += len(block) / rate


def seconds_claimed(source: bytes | Path) -> float:
    """How long a recording is as its header tells, which may be wrong; 0 where it tells nothing."""
    with suppress(OSError), _file(source) as file:
        return _claimed(file)
    return 0.0


def is_longer(source: bytes | Path, seconds: float) -> bool:
    """Whether a recording is longer than so many seconds for certain, without decoding it.

    Its header has to say so, and so much sound has to be in its packets, of which damaged ones count. False where only
    reading it would tell: if a part is missing or several recordings are joined, and for formats without a length.
    """
    enough = seconds + CODEC_DELAY
    with suppress(OSError), _file(source) as file:
        if file.seek(0, 2) < seconds * FEWEST_BYTES or _claimed(file) < enough:
            return False
        recordings = survey(file)
        is_whole = len(recordings) == 1 and not recordings[0].fault
        return is_whole and packets.seconds_held(file, recordings[0], enough) >= enough
    return False


def _claimed(file: BinaryIO) -> float:
    file.seek(0)
    with suppress(RuntimeError, TypeError, ValueError):  # soundfile's errors are of the first
        return float(soundfile.info(file).duration)
    return packets.seconds_claimed(file)


def _file(source: bytes | Path) -> BinaryIO:
    return Bytes(source) if isinstance(source, bytes) else source.open("rb")


def _of_source(source: bytes | Path, reading: Reading) -> Iterator[tuple[int, np.ndarray]]:
    if isinstance(source, Path) and not source.is_file():
        raise NotFound(f"no such file: {source}")
    if not (source if isinstance(source, bytes) else source.stat().st_size):
        raise UnsupportedAudio("the recording is empty (0 bytes)")
    if isinstance(source, bytes) and (plain := _plain_wav(source)) is not None:
        rate, samples = plain
        _check_rate(rate)
        for start in range(0, len(samples), rate * BLOCK_SECONDS):
            yield rate, samples[start : start + rate * BLOCK_SECONDS] * _INT16_SCALE
        return
    with _file(source) as file:
        parts = survey(file)
        refused: list[Part] = []
        for part in parts:
            whole = len(parts) == 1 and not part.patches
            window: BinaryIO = file if whole else Window(file, part)  # type: ignore[assignment]
            try:
                yield from _of_part(window, part, reading)
            except Unreadable:
                refused.append(part)
        if len(refused) == len(parts):
            raise UnsupportedAudio(_refusal(file))
        if refused:
            unread = sum(part.end - part.start for part in refused)
            reading.lose(reading.seconds * unread / (parts[-1].end - unread), "a part of it cannot be read")


def _refusal(file: BinaryIO) -> str:
    if lacks_index(file):
        return "the file is cut short: its index, which is written last (moov), is missing, and nothing can be read"
    return "not a recording that can be read (wav, flac, ogg, opus, mp3, m4a, webm and others)"


def _of_part(file: BinaryIO, part: Part, reading: Reading) -> Iterator[tuple[int, np.ndarray]]:
    """The blocks of one recording: libsndfile where it is believed, PyAV from where it stops. Raises `Unreadable`."""
    losses_before = len(reading.losses)
    whole = Reading(reading.seconds, reading.losses)  # as PyAV sees it, who reads from the beginning
    tried = _Trial()
    if part.by_soundfile:
        yield from tried.blocks(file)
    if not tried.whole:
        try:
            yield from _checked(_behind(packets.blocks(file, part, whole), tried.seconds))
        except Unreadable as error:
            if not tried.seconds:
                raise
            _logger.info("what is left of a recording cannot be read: %s", error)
            reading.lose(max(0.0, tried.promised - tried.seconds), "the rest of it cannot be read")
        if tried.fault and len(reading.losses) == losses_before:
            reading.lose(0.0, tried.fault)
    if part.fault and (part.missing or len(reading.losses) == losses_before):
        share = part.missing / max(1, part.end - part.start)
        reading.lose(share * (reading.seconds - whole.seconds), part.fault)
    reading.track, reading.tracks = max(reading.track, whole.track), max(reading.tracks, whole.tracks)


class _Trial:
    """libsndfile's reading of a file: how far it came, and whether that is all."""

    def __init__(self) -> None:
        self.seconds = self.promised = 0.0
        self.whole = False
        self.fault = ""

    def blocks(self, file: BinaryIO) -> Iterator[tuple[int, np.ndarray]]:
        """Mono blocks with their rate, as far as libsndfile reads them."""
        size = file.seek(0, 2)
        file.seek(0)
        frames = 0
        try:
            with soundfile.SoundFile(file) as sound:
                self.promised = sound.frames / sound.samplerate
                for rate, block in mono_blocks(sound):
                    frames += len(block)
                    self.seconds = frames / rate
                    yield rate, block
                # A FLAC file may hold more than its header says; libsndfile stops there.
                self.whole = frames >= sound.frames and (sound.format != "FLAC" or file.tell() == size)
                if frames < sound.frames:
                    self.fault = CUT_SHORT
        except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError):
            self.fault = "a piece of it is damaged" if self.promised else ""
        if self.promised > LONGEST_SECONDS:
            self.promised = 0.0


def _behind(blocks: Iterable[tuple[int, np.ndarray]], seconds: float) -> Iterator[tuple[int, np.ndarray]]:
    """The blocks without their first seconds."""
    at = 0.0
    for rate, block in blocks:
        first = max(0, round((seconds - at) * rate))
        at += len(block) / rate
        if first < len(block):
            yield rate, block[first:]


def _checked(blocks: Iterable[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    for rate, block in blocks:
        _check_rate(rate)
        yield rate, block


class Bytes(io.BytesIO):
    """Bytes as a file, in which a place before the beginning is the beginning, as in `Window`.

    libsndfile looks for such places in damaged files, and an error in its callback is printed with a trace.
    """

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a place."""
        return super().seek(max(0, offset) if whence == 0 else offset, whence)


class Window(io.RawIOBase):
    """The bytes of one recording in a file, with its patches, as a file."""

    def __init__(self, file: BinaryIO, part: Part) -> None:
        self._file, self._start, self._end, self._at = file, part.start, part.end, 0
        self._patches = part.patches

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Bytes from the window's start."""
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a place in the window."""
        self._at = max(0, offset + (0, self._at, self._end - self._start)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from where the window stands."""
        view = memoryview(buffer).cast("B")
        self._file.seek(self._start + self._at)
        data = self._file.read(max(0, min(len(view), self._end - self._start - self._at)))
        view[: len(data)] = data
        for place, patch in self._patches:
            first = place - self._start - self._at
            if -len(patch) < first < len(data):
                patch = patch[max(0, -first) : len(data) - first]  # noqa: PLW2901
                view[max(0, first) : max(0, first) + len(patch)] = patch
        self._at += len(data)
        return len(data)


def mono_blocks(file: soundfile.SoundFile, frames: int = sys.maxsize) -> Iterator[tuple[int, np.ndarray]]:
    """Up to so many frames of an open file from where it stands: mono blocks with their rate.

    A block is the shorter the more channels there are. Raises UnsupportedAudio for a rate of no sound, and for more
    samples a second than are taken.
    """
    rate = file.samplerate
    _check_rate(rate)
    packets.check_size(rate, file.channels)
    size = max(1, rate * BLOCK_SECONDS // file.channels)
    while frames > 0 and len(block := file.read(min(size, frames), dtype="float32")):
        frames -= len(block)
        yield rate, mono(block)


def _plain_wav(data: bytes) -> tuple[int, np.ndarray] | None:
    """Rate and samples (T,) int16 of the commonest file, read where they lie; None for any other.

    That is a WAV file of 16-bit mono sound behind 44 bytes, nothing missing: half a millisecond less than soundfile
    takes, which asks Python for each piece.
    """
    if len(data) < _WAV_HEADER.size:
        return None
    riff, _, wave, fmt, fmt_size, code, channels, rate, _, align, bits, tag, size = _WAV_HEADER.unpack_from(data)
    kind = (riff, wave, fmt, fmt_size, code, channels, align, bits, tag)
    if kind != (b"RIFF", b"WAVE", b"fmt ", 16, 1, 1, 2, 16, b"data"):
        return None
    if not size or size % 2 or _WAV_HEADER.size + size != len(data):
        return None
    return rate, np.frombuffer(data, "<i2", offset=_WAV_HEADER.size)


def _check_rate(rate: int) -> None:
    if rate not in RATES:
        raise UnsupportedAudio(f"a sample rate of {rate} Hz; {RATES[0]} to {RATES[-1]} Hz can be used", rate=rate)
