"""Sound as it comes in, to what the front ends take: decoded, mono, 16 kHz, and checked."""

from __future__ import annotations

import io
import logging
import math
import struct
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import soundfile
import soxr

from speaker_tasks.embedding.features import SAMPLE_RATE
from speaker_tasks.errors import NotFinite, NotFound, TooLarge, UnsupportedAudio, Unusable, UnusableAudio

__all__ = ["MIN_SECONDS", "SAMPLE_RATE", "check", "decode", "is_silent", "mono_blocks", "resampled", "stream"]

MIN_SECONDS = 0.4
"""Less speech than this gives no voice; it is also more than what any front end needs."""
SILENT_LEVEL = 1e-4
"""Standard deviation below which a clip is silent: -80 dBFS, three steps of 16-bit sound."""
LOOKED_AT = 256
"""Samples of a clip that nearly always tell that it is not silent."""
MAX_PEAK = 1e10
"""Far above any integer sound handed over unscaled; beyond it, powers overflow float32."""
BLOCK_SECONDS = 10
RATES = range(4_000, 768_001)
"""Outside of it there is no speech; a rate of a few hertz would blow a small file up to hours."""
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,wav,w64,aiff,caf,au,mp3,aac,flac,adts,loas,ac3,eac3,amr,asf,avi,flv,"
    "mpeg,mpegts,oma,wv,ape,tta"
)
"""What PyAV may open. No playlists (HLS, DASH, concat, SDP): they would make the decoder open other files."""

_WAV_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_INT16_SCALE = np.float32(1 / 32768)

_logger = logging.getLogger(__name__)


def decode(source: bytes | Path, *, max_seconds: float | None = None) -> np.ndarray:
    """Decode a file or its bytes: `(T,) float32` at 16 kHz, the channels averaged.

    Values lie in [-1, 1], but for lossy codecs and float files that overshoot, which are left as they are. A file cut
    short gives what can be read of it.

    Raises TooLarge beyond `max_seconds` (without decoding the rest), UnsupportedAudio when no decoder reads it,
    UnusableAudio when it holds no samples, NotFinite for NaN or infinity, NotFound when the path does not exist.
    """
    blocks = list(stream(source, max_seconds=max_seconds))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def stream(source: bytes | Path, *, max_seconds: float | None = None) -> Iterator[np.ndarray]:
    """What `decode` gives, in blocks of at most ten seconds, so that memory stays flat whatever the length."""
    return resampled(_blocks(source), max_seconds=max_seconds)


def resampled(
    blocks: Iterable[tuple[int, np.ndarray]], *, max_seconds: float | None = None, what: str = "recording"
) -> Iterator[np.ndarray]:
    """Mono blocks, given with their rate, as blocks at 16 kHz.

    Raises TooLarge beyond `max_seconds`, UnusableAudio when there are no samples, NotFinite for NaN or infinity.
    """
    given = 0
    resampler: soxr.ResampleStream | None = None
    for rate, block in blocks:
        given += len(block)
        if max_seconds is not None and given > max_seconds * rate:
            raise TooLarge(f"the {what} is longer than {max_seconds:g} s", max_seconds=max_seconds)
        if not _is_finite(block):
            raise NotFinite("the recording holds values that are not finite")
        if rate == SAMPLE_RATE:
            yield block
            continue
        if resampler is None:
            resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
        if len(resampled := resampler.resample_chunk(block)):
            yield resampled
    if not given:
        raise UnusableAudio("the recording holds no samples", seconds=0.0)
    if resampler is not None:
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


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


def mono_blocks(file: soundfile.SoundFile, frames: int = sys.maxsize) -> Iterator[tuple[int, np.ndarray]]:
    """Up to so many frames of an open file from where it stands: mono blocks with their rate.

    A block is the shorter the more channels there are. Raises UnsupportedAudio for a rate of no sound.
    """
    rate = file.samplerate
    _check_rate(rate)
    size = max(1, rate * BLOCK_SECONDS // file.channels)
    while frames > 0 and len(block := file.read(min(size, frames), dtype="float32")):
        frames -= len(block)
        yield rate, _mono(block)


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


def _blocks(source: bytes | Path) -> Iterator[tuple[int, np.ndarray]]:
    """Mono blocks with their rate: soundfile first, PyAV for what soundfile cannot read."""
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
    opened = started = False
    for reader in (_soundfile_blocks, _av_blocks):
        try:
            with closing(reader(source)) as blocks:
                for rate, block in blocks:
                    _check_rate(rate)
                    started = True
                    yield rate, block
            opened = True
        except _Unreadable as error:
            if started:
                _logger.warning("a recording is damaged and was read in part: %s", error)
        if started:
            return
    if not opened:
        raise UnsupportedAudio("not a recording that can be read (wav, flac, ogg, opus, mp3, m4a, webm and others)")


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


class _Unreadable(Exception):
    """This decoder cannot read on."""


def _soundfile_blocks(source: bytes | Path) -> Generator[tuple[int, np.ndarray]]:
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
            yield from mono_blocks(file)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:  # TypeError: a .raw file's name
        raise _Unreadable(str(error)) from error


def _av_blocks(source: bytes | Path) -> Generator[tuple[int, np.ndarray]]:
    import av  # 60 ms, for the few formats that soundfile does not read

    try:
        # Always a file object, never a name: FFmpeg would take some names for URLs.
        with (
            io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file,
            av.open(file, options={"format_whitelist": CONTAINERS}) as container,
        ):
            if not container.streams.audio:
                raise _Unreadable("no sound in it")
            resampler: av.AudioResampler | None = None
            for frame in container.decode(container.streams.audio[0]):
                if resampler is None:
                    # Packed, never planar: PyAV reads past the pointers of eight and more planes.
                    resampler = av.AudioResampler("flt", frame.layout, frame.sample_rate)
                for part in resampler.resample(frame):
                    yield part.sample_rate, _mono(part.to_ndarray().reshape(-1, part.layout.nb_channels))
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _Unreadable(str(error)) from error


def _mono(block: np.ndarray) -> np.ndarray:
    return block if block.ndim == 1 else block.mean(axis=1, dtype=np.float32)
