"""The first server's recognition: recording -> vector -> best row of the current list -> JSON, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from celery import shared_task

from banks.bank import Bank, check_model
from banks.matching import match_speakers
from speaker_tasks.embedding import audio as sound
from speaker_tasks.errors import EmptyBank, Malformed
from speaker_tasks.payloads import Audio, Encoding
from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.tasks.running import run_job

VECTOR = "vector"
"""What is kept for a while of what was heard: the vector alone."""


@shared_task(name="speaker_tasks.recognize")
def recognize(job_id: str, audio: str) -> dict[str, Any]:
    """Who of the current bank speaks in the recording under the key `audio`."""
    return run_job(job_id, [audio], recognize_payload)


@shared_task(name="speaker_tasks.embed")
def embed(job_id: str, audio: str) -> dict[str, Any]:
    """The vector of the recording under the key `audio`."""
    return run_job(job_id, [audio], embed_payload)


def recognize_payload(context: WorkerContext, keys: Sequence[str]) -> dict[str, Any]:
    """The steps of a recognition. The bank is looked at before the network runs: a wrong one costs no computing."""
    known = context.recent.get(VECTOR, keys[0])
    samples = None if known else decode(context, context.audio.get(keys[0]))
    mode, bank = context.active.get(context.token)
    check_bank(bank, mode, context.embedder.model_id)
    vector = known[0] if known else _embedded(context, keys[0], samples)
    best = match_speakers(bank, vector)[0]
    return {
        "name": best.label,
        "score": two_decimals(best.score),
        "cosine": round(best.score, 6),
        "feats_mode": mode,
        "model": context.embedder.model_id,
    }


def embed_payload(context: WorkerContext, keys: Sequence[str]) -> dict[str, Any]:
    """The recording's vector, as the first server showed it: a list of one list of 512 numbers."""
    known = context.recent.get(VECTOR, keys[0])
    vector = known[0] if known else _embedded(context, keys[0], decode(context, context.audio.get(keys[0])))
    return {"feats": vector[np.newaxis], "model": context.embedder.model_id}


def decode(context: WorkerContext, payload: bytes) -> np.ndarray:
    """The payload as (T,) float32 samples at 16 kHz that a voice can be taken from.

    Raises what `embedding.audio` raises in `decode` and `check`, and `Malformed`.
    """
    audio = Audio.unpack(payload)
    if audio.encoding is Encoding.FILE:
        return sound.check(sound.decode(bytes(audio.data), max_seconds=context.settings.max_audio_seconds))
    if audio.rate != sound.SAMPLE_RATE:
        raise Malformed(f"bare samples are taken at {sound.SAMPLE_RATE} Hz, these have {audio.rate} Hz")
    return sound.check(audio.samples())


def vector_of(context: WorkerContext, samples: np.ndarray) -> np.ndarray:
    """The unit vector (512,) of the samples. Raises `Busy` if the model is overrun.

    The wait is longer than a stall may be: the worker ends itself first, and another one gets the task.
    """
    return context.batcher.embed(samples, timeout=2 * context.settings.stall_seconds)


def _embedded(context: WorkerContext, key: str, samples: Any) -> np.ndarray:
    vector = vector_of(context, samples)
    context.recent.put(VECTOR, key, vector)
    return vector


def check_bank(bank: Bank, mode: str, model: str) -> None:
    """Raise `EmptyBank` or `ModelMismatch` if no vector of `model` can be matched against the bank."""
    if not len(bank):
        raise EmptyBank(
            f"nobody is enrolled in the current list {mode!r}; enroll speakers or choose another", mode=mode
        )
    check_model(bank, model)


def two_decimals(score: float) -> str:
    """The score as the first server wrote it: text with two decimals, and no minus before a zero."""
    return f"{round(score, 2) + 0.0:.2f}"
