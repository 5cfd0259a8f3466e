"""Listening: from a request's source to samples, measures and a vector, with what each step took."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soxr

from enrollment.places import Places
from speaker_tasks.embedding import audio as sound
from speaker_tasks.embedding.embedder import pool
from speaker_tasks.embedding.speech import measure
from speaker_tasks.errors import Malformed, TooLarge
from speaker_tasks.jobs.audio import Audio, Encoding
from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.tasks.timings import Timings

WINDOWS_AT_A_TIME = 4
LOW_SNR_DB = 10.0
CLIPPED_SHARE = 0.01
SHORT_SPEECH_SECONDS = 3.0


@dataclass(frozen=True)
class Heard:
    """One recording after the network."""

    vector: np.ndarray
    """(512,) float32 unit vector."""
    seconds: float
    """Seconds that were read."""
    speech_seconds: float
    quality: dict[str, Any] = field(default_factory=dict)
    damaged: bool = False
    seconds_lost: float = 0.0


def hear(context: WorkerContext, recording: Audio | str, timings: Timings) -> Heard:
    """Decode, measure and embed one recording: its audio, or a path or URL below the allowed roots.

    Raises what `decode`, `audio.check` and `Places.local` raise, and `Busy` if the model is overrun.
    """
    reading = sound.Reading()
    with timings.step("decode"):
        samples = sound.check(samples_of(context, recording, reading))
    with timings.step("speech"):
        measured = measure(samples)
    vector = embed(context, samples, timings)
    seconds = len(samples) / sound.SAMPLE_RATE
    spoken = round(float(measured.speech), 2)
    quality = {
        "snr_db": round(float(measured.snr), 1),
        "clipped": round(float(measured.clipped), 4),
        "warnings": reading.warnings + _warnings(spoken, measured.snr, measured.clipped),
    }
    return Heard(vector, round(seconds, 2), spoken, quality, reading.damaged, round(reading.lost, 2))


def samples_of(context: WorkerContext, recording: Audio | str, reading: sound.Reading) -> np.ndarray:
    """The samples of a recording, `(T,)` float32 at 16 kHz, within the limits of length and of decoding time.

    `reading` tells what could not be read.
    """
    if isinstance(recording, str):
        places = Places(context.settings.data_roots, context.settings.data_urls, context.settings.max_body_bytes)
        with places.local(recording) as path:
            return _decode(context, path, reading)
    audio = recording
    if audio.encoding is Encoding.FILE:
        return _decode(context, bytes(audio.data), reading)
    if audio.rate not in sound.RATES:
        raise Malformed(f"a rate of {audio.rate} Hz; {sound.RATES[0]} to {sound.RATES[-1]} Hz are taken")
    samples, limit = audio.samples(), context.settings.max_audio_seconds
    if len(samples) > limit * audio.rate:
        named = context.settings.limit_of_questions
        raise TooLarge(f"the recording is longer than {limit:g} s ({named})", max_seconds=limit)
    return samples if audio.rate == sound.SAMPLE_RATE else soxr.resample(samples, audio.rate, sound.SAMPLE_RATE)


def embed(context: WorkerContext, samples: np.ndarray, timings: Timings) -> np.ndarray:
    """The unit vector (512,) of checked samples, a few windows at a time, front end and network timed apart.

    The wait is longer than a stall may be: the worker ends itself first, and another one gets the task.
    """
    timeout = 2 * context.settings.stall_seconds
    spectrograms = context.embedder.spectrograms([samples])
    vectors: list[np.ndarray] = []
    while True:
        with timings.step("features"):
            part = list(islice(spectrograms, WINDOWS_AT_A_TIME))
        if not part:
            return pool(np.stack(vectors))
        with timings.step("network"):
            vectors.extend(context.batcher.run(part, timeout=timeout))


def _decode(context: WorkerContext, source: bytes | Path, reading: sound.Reading) -> np.ndarray:
    settings = context.settings
    limit, named = settings.max_audio_seconds, settings.limit_of_questions
    blocks = sound.stream(source, max_seconds=limit, setting=named, reading=reading)
    pieces = list(context.turns.through(blocks))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def _warnings(spoken: float, snr: float, clipped: float) -> list[str]:
    warnings = []
    if spoken < SHORT_SPEECH_SECONDS:
        warnings.append(f"only {spoken:.1f} s of speech: the answer is less sure")
    if snr < LOW_SNR_DB:
        warnings.append(f"noisy: about {snr:.0f} dB of signal over noise")
    if clipped > CLIPPED_SHARE:
        warnings.append(f"clipped: {100 * clipped:.1f} % of the samples are cut off")
    return warnings
