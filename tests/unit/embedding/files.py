"""Recordings as bytes, made by soundfile and PyAV, and what becomes of them on their way: joined, cut, damaged."""

from __future__ import annotations

import io

import av
import numpy as np
import soundfile


def tone(frequency: float, seconds: float, rate: int = 16_000) -> np.ndarray:
    """(T,) float32, loud enough for any codec."""
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def pitch(samples: np.ndarray, rate: int = 16_000) -> float:
    """The strongest frequency in (T,) samples, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * rate / len(samples)


def written(kind: str, sound: np.ndarray, rate: int = 16_000, **how: str | float) -> bytes:
    """A file that soundfile writes: `WAV`, `FLAC`, `OGG`, `OPUS` (in Ogg), `MP3`, `AIFF` ..."""
    file = io.BytesIO()
    if kind == "OPUS":
        kind, how = "OGG", {"subtype": "OPUS", **how}
    soundfile.write(file, sound, rate, format=kind, **how)  # type: ignore[arg-type]
    return file.getvalue()


def encoded(
    container: str, codec: str, *tracks: np.ndarray, rate: int = 16_000, default: int | None = None, **options: str
) -> bytes:
    """A file that PyAV writes, of a sound track (T,) or (T, 2) each; one of them may be marked as the default."""
    file = io.BytesIO()
    with av.open(file, "w", format=container, options=options) as output:
        streams = []
        for number, sound in enumerate(tracks):
            layout = "mono" if sound.ndim == 1 else "stereo"
            stream = output.add_stream(codec, rate=rate, layout=layout)
            stream.bit_rate = 64_000
            if default is not None:
                stream.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
            streams.append((stream, layout, sound))
        for stream, layout, sound in streams:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound).reshape(1, -1), format="flt", layout=layout)
            frame.sample_rate = rate
            resampler = av.AudioResampler(stream.format, stream.layout, rate, frame_size=stream.frame_size or 960)
            for part in [*resampler.resample(frame), *resampler.resample(None), None]:
                output.mux(stream.encode(part))
    return file.getvalue()


def made(kind: str, sound: np.ndarray, rate: int = 16_000) -> bytes:
    """A file of any kind that the tests know."""
    if kind == "WEBM":
        return encoded("webm", "libopus", np.repeat(sound, 48_000 // rate), rate=48_000)
    by_av = {"ADTS": ("adts", "aac"), "M4A": ("ipod", "aac"), "WMA": ("asf", "wmav2"), "TS": ("mpegts", "aac")}
    if kind in by_av:
        return encoded(*by_av[kind], sound, rate=rate)
    return written(kind, sound, rate)


def damaged(content: bytes, at: float, count: int = 1500) -> bytes:
    """The file with noise in place of so many bytes, from a share of its length on."""
    first = int(at * len(content))
    noise = np.random.default_rng(0).bytes(count)
    return content[:first] + noise + content[first + count :]


def with_flac_total(content: bytes, samples: int) -> bytes:
    """A FLAC file whose header says that it holds so many samples; 0: it does not know, as from a pipe."""
    head = bytearray(content)
    head[21] = head[21] & 0xF0 | samples >> 32
    head[22:26] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(head)


def with_wav_length(content: bytes, count: int) -> bytes:
    """A WAV file whose header says that its sound has so many bytes."""
    at = content.index(b"data") + 4
    return content[:at] + count.to_bytes(4, "little") + content[at + 4 :]
