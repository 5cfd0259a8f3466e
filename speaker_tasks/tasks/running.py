"""How a recognition job runs: once, its outcome written to its record, its audio deleted, its webhook called.

A task may run twice (delivery is at least once); the job's record lets only the first outcome in. What a user can mend
ends the job as a typed failure and is never tried again; only a Redis server that is away sends the message back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import redis
from celery.exceptions import Reject
from celery.utils.log import get_task_logger

from speaker_tasks.celery_app import ENROLL_QUEUE
from speaker_tasks.errors import RedisAway, SpeakerTasksError
from speaker_tasks.intake import BroughtAudio, Taken
from speaker_tasks.jobrecord import State, made_at
from speaker_tasks.jobs import Ending
from speaker_tasks.outbox import Message
from speaker_tasks.payloads import PAYLOAD_PREFIX
from speaker_tasks.tasks.context import WorkerContext, current

logger = get_task_logger(__name__)

Work = Callable[[WorkerContext, Sequence[str]], dict[str, Any]]
WEBHOOK_TASK = "speaker_tasks.webhook"

_thread = threading.local()
"""`taken`: the message that this thread took by itself, while its task runs; `ending`: how it ended, unwritten."""


def run_job(job_id: str, sources: Sequence[str], work: Work, webhook: str | None = None) -> dict[str, Any]:
    """Do the work of one job on its recordings, once, and write how it ended to its record.

    A source is the key of a payload, or a path. Gives a short envelope, which is what Flower shows: `{"ok": true}` or
    `{"ok": false, "error": {...}}`.
    """
    context, taken = current(), getattr(_thread, "taken", None)
    if taken is not None:
        context = replace(context, audio=BroughtAudio(context.audio, taken.audio), token=taken.token)
    return _run(context, job_id, sources, work, webhook)


def do(context: WorkerContext, taken: Taken) -> Ending | None:
    """Run the task of a message that this thread took by itself: how it ended, which the caller has to write.

    It is None if that was written already, or the task failed for a reason of ours: such a message is not
    acknowledged, and comes back after the visibility timeout.
    """
    parcel, began = taken.parcel, time.monotonic()
    context.intake.announce("task-received", parcel, name=parcel.task, args="()", kwargs=repr(parcel.kwargs))
    context.intake.announce("task-started", parcel)
    _thread.taken, _thread.ending = taken, None
    try:
        envelope = context.app.tasks[parcel.task].run(**parcel.kwargs)
    except Exception as error:
        if not isinstance(error, Reject):
            logger.exception("task %s failed", parcel.id)
        context.intake.announce("task-failed", parcel, exception=repr(error), traceback="")
    else:
        took = time.monotonic() - began
        context.intake.announce("task-succeeded", parcel, result=repr(envelope), runtime=took)
    finally:
        _thread.taken = None
        if _thread.ending is None:
            context.intake.let_go(parcel.tag)
    ending: Ending | None = _thread.ending
    return ending


def queued_ms(job_id: str) -> float:
    """Milliseconds since the job was made."""
    return max(0.0, 1000 * (time.time() - made_at(job_id)))


def _run(
    context: WorkerContext, job_id: str, sources: Sequence[str], work: Work, webhook: str | None
) -> dict[str, Any]:
    taken: Taken | None = getattr(_thread, "taken", None)
    keys = [source for source in sources if source.startswith(PAYLOAD_PREFIX)]
    try:
        if taken is None and not context.jobs.start(job_id):
            context.audio.delete(*keys)
            return {"ok": True, "skipped": "the job had ended"}
        result, error = _outcome(context, sources, work)
        told = None
        if webhook:  # written down first: what is lost after the job's end is sent again
            told = Message(f"{job_id}-webhook", WEBHOOK_TASK, ENROLL_QUEUE, {"job_id": job_id, "url": webhook})
            context.outbox.put(told)
        state: State = "failed" if error else "succeeded"
        tag = taken.parcel.tag if taken else ""
        ending = context.jobs.ending(job_id, state, result=result, error=error, drop=keys, tag=tag)
        if taken is not None and told is None:
            _thread.ending = ending
        else:
            context.jobs.end(ending)
        if told is not None:
            with suppress(RedisAway):
                context.outbox.publish(told)
    except (redis.ConnectionError, redis.TimeoutError) as away:
        time.sleep(1)
        raise Reject(f"Redis is away: {away}", requeue=True) from away
    return {"ok": False, "error": error} if error else {"ok": True}


def _outcome(
    context: WorkerContext, sources: Sequence[str], work: Work
) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    try:
        return work(context, sources), None
    except SpeakerTasksError as error:
        return None, error.to_dict()
    except (redis.ConnectionError, redis.TimeoutError):
        raise
    except Exception:
        logger.exception("a recognition failed for a reason that is ours")
        return None, SpeakerTasksError("internal error; the worker's log has the reason").to_dict()
