"""Recognition tasks: payload -> samples -> vector -> best speaker -> JSON, in steps that a test can take one by one.

A task may run twice (delivery is at least once); the job's record lets only the first outcome in. What a user can mend
ends the job as a typed failure and is never tried again; only a Redis server that is away sends the message back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import redis
from celery import shared_task
from celery.exceptions import Reject
from celery.utils.log import get_task_logger

from banks.bank import Bank, check_model
from banks.matching import match_speakers
from speaker_tasks.embedding import audio as sound
from speaker_tasks.errors import EmptyBank, Malformed, SpeakerTasksError
from speaker_tasks.payloads import Audio, Encoding
from speaker_tasks.tasks.context import WorkerContext, current

logger = get_task_logger(__name__)

Work = Callable[[WorkerContext, bytes], dict[str, Any]]


@shared_task(name="speaker_tasks.recognize")
def recognize(job_id: str, audio: str) -> dict[str, Any]:
    """Who of the current bank speaks in the recording under the key `audio`."""
    return run_job(job_id, audio, recognize_payload)


@shared_task(name="speaker_tasks.embed")
def embed(job_id: str, audio: str) -> dict[str, Any]:
    """The vector of the recording under the key `audio`."""
    return run_job(job_id, audio, embed_payload)


def run_job(job_id: str, key: str, work: Work) -> dict[str, Any]:
    """Do the work of one job on one recording, once, and write how it ended to its record.

    Gives a short envelope, which is what Flower shows: `{"ok": true}` or `{"ok": false, "error": {...}}`.
    """
    context = current()
    try:
        if not context.jobs.start(job_id):
            context.audio.delete(key)
            return {"ok": True, "skipped": "the job had ended"}
        result, error = _outcome(context, key, work)
        context.jobs.finish(job_id, "failed" if error else "succeeded", result=result, error=error, drop=[key])
    except (redis.ConnectionError, redis.TimeoutError) as away:
        time.sleep(1)
        raise Reject(f"Redis is away: {away}", requeue=True) from away
    return {"ok": False, "error": error} if error else {"ok": True}


def recognize_payload(context: WorkerContext, payload: bytes) -> dict[str, Any]:
    """The steps of a recognition. The bank is looked at before the network runs: a wrong one costs no computing."""
    samples = decode(context, payload)
    mode, bank = context.active.get()
    check_bank(bank, mode, context.embedder.model_id)
    vector = vector_of(context, samples)
    best = match_speakers(bank, vector)[0]
    return {
        "name": best.label,
        "score": two_decimals(best.score),
        "cosine": round(best.score, 6),
        "feats_mode": mode,
        "model": context.embedder.model_id,
    }


def embed_payload(context: WorkerContext, payload: bytes) -> dict[str, Any]:
    """The recording's vector, as the first server showed it: a list of one list of 512 numbers."""
    vector = vector_of(context, decode(context, payload))
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


def _outcome(context: WorkerContext, key: str, work: Work) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    try:
        return work(context, context.audio.get(key)), None
    except SpeakerTasksError as error:
        return None, error.to_dict()
    except (redis.ConnectionError, redis.TimeoutError):
        raise
    except Exception:
        logger.exception("a recognition failed for a reason that is ours")
        return None, SpeakerTasksError("internal error; the worker's log has the reason").to_dict()
