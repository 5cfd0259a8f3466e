"""Listening: from a request's source to samples, measures and a vector, with what each step took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import soxr

from enrollment.roots import inside
from speaker_tasks.embedding import audio as sound
from speaker_tasks.embedding.batcher import WINDOWS_AT_A_TIME
from speaker_tasks.embedding.embedder import pool
from speaker_tasks.embedding.speech import measure
from speaker_tasks.errors import Malformed, TooLarge
from speaker_tasks.payloads import PAYLOAD_PREFIX, Audio, Encoding
from speaker_tasks.tasks.context import WorkerContext

HEARD = "heard"
"""What is kept for a while of what was heard: the vector with its measures."""
DECODE_SECONDS = 30.0
"""What decoding one recording may take; a file that is made to be slow is given up then."""
LOW_SNR_DB = 10.0
CLIPPED_SHARE = 0.01
SHORT_SPEECH_SECONDS = 3.0


class Timings:
    """Milliseconds by step; a step that comes twice adds up."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the time of the block to a step."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, (time.perf_counter() - started) * 1000)

    def add(self, name: str, milliseconds: float) -> None:
        """Count milliseconds to a step."""
        self.ms[name] = self.ms.get(name, 0.0) + milliseconds

    def to_dict(self) -> dict[str, float]:
        """The steps, rounded, in the order in which they came, and their sum."""
        shown = {name: round(value, 2) for name, value in self.ms.items()}
        return shown | {"total": round(sum(self.ms.values()), 2)}


@dataclass(frozen=True)
class Heard:
    """One recording after the network."""

    vector: np.ndarray
    """(512,) float32 unit vector."""
    seconds: float
    speech_seconds: float
    quality: dict[str, Any] = field(default_factory=dict)


def hear(context: WorkerContext, source: str, timings: Timings) -> Heard:
    """Fetch, decode, measure and embed one recording: the key of a payload, or a path below the allowed roots.

    Raises what `decode`, `audio.check` and `inside` raise, `PayloadGone`, and `Busy` if the model is overrun.
    """
    if (known := context.recent.get(HEARD, source)) is not None:
        return Heard(known[0], **known[1])
    with timings.step("decode"):
        samples = sound.check(fetch(context, source))
    with timings.step("speech"):
        measured = measure(samples)
    vector = embed(context, samples, timings)
    seconds = len(samples) / sound.SAMPLE_RATE
    spoken = round(float(measured.speech), 2)
    quality = {
        "snr_db": round(float(measured.snr), 1),
        "clipped": round(float(measured.clipped), 4),
        "warnings": _warnings(spoken, measured.snr, measured.clipped),
    }
    told = {"seconds": round(seconds, 2), "speech_seconds": spoken, "quality": quality}
    context.recent.put(HEARD, source, vector, told)
    return Heard(vector, **told)  # type: ignore[arg-type]


def fetch(context: WorkerContext, source: str) -> np.ndarray:
    """The samples of a source, `(T,)` float32 at 16 kHz, within the limits of length and of decoding time."""
    limit = context.settings.max_audio_seconds
    if not source.startswith(PAYLOAD_PREFIX):
        return _decode(inside(source, context.settings.data_roots), limit)
    audio = Audio.unpack(context.audio.get(source))
    if audio.encoding is Encoding.FILE:
        return _decode(bytes(audio.data), limit)
    if audio.rate not in sound.RATES:
        raise Malformed(f"a rate of {audio.rate} Hz; {sound.RATES[0]} to {sound.RATES[-1]} Hz are taken")
    samples = audio.samples()
    if len(samples) > limit * audio.rate:
        raise TooLarge(f"the recording is longer than {limit:g} s", max_seconds=limit)
    return samples if audio.rate == sound.SAMPLE_RATE else soxr.resample(samples, audio.rate, sound.SAMPLE_RATE)


def embed(context: WorkerContext, samples: np.ndarray, timings: Timings) -> np.ndarray:
    """The unit vector (512,) of checked samples, a few windows at a time, front end and network timed apart.

    The wait is longer than a stall may be: the worker ends itself first, and another one gets the task.
    """
    patience = 2 * context.settings.stall_seconds
    spectrograms = context.embedder.spectrograms([samples])
    vectors: list[np.ndarray] = []
    while True:
        with timings.step("features"):
            part = list(islice(spectrograms, WINDOWS_AT_A_TIME))
        if not part:
            return pool(np.stack(vectors))
        with timings.step("network"):
            vectors.extend(context.batcher.run(part, timeout=patience))


def _decode(source: Any, limit: float) -> np.ndarray:
    started, blocks = time.monotonic(), []
    for block in sound.stream(source, max_seconds=limit):
        blocks.append(block)
        if time.monotonic() - started > DECODE_SECONDS:
            raise TooLarge(f"the recording takes more than {DECODE_SECONDS:g} s to decode")
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _warnings(spoken: float, snr: float, clipped: float) -> list[str]:
    found = []
    if spoken < SHORT_SPEECH_SECONDS:
        found.append(f"only {spoken:.1f} s of speech: the answer is less sure")
    if snr < LOW_SNR_DB:
        found.append(f"noisy: about {snr:.0f} dB of signal over noise")
    if clipped > CLIPPED_SHARE:
        found.append(f"clipped: {100 * clipped:.1f} % of the samples are cut off")
    return found
