"""How a recognition is sent: audio, record and message in one round trip, which may wait for the answer too.

Each round trip costs the web process as much as a third of all that HTTP does, so whoever waits for the answer asks
for it with the same bytes that submit the question.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from speaker_tasks import jobscripts
from speaker_tasks.celery_app import RECOGNIZE_QUEUE
from speaker_tasks.errors import Unavailable
from speaker_tasks.jobs import POP_SECONDS, REMEMBERED, JobRecord, JobStore, ended
from speaker_tasks.outbox import Message, Outbox
from speaker_tasks.payloads import Audio, RedisAudioStore
from speaker_tasks.settings import Settings


class Submitter:
    """Sends recognitions. Thread-safe."""

    def __init__(self, client: redis.Redis, settings: Settings, jobs: JobStore, audio: RedisAudioStore) -> None:
        self._client, self._settings, self._jobs, self._audio = client, settings, jobs, audio

    def submit(
        self,
        task: str,
        kind: str,
        recordings: Sequence[Audio | str],
        arguments: Callable[[list[str]], dict[str, Any]],
        *,
        about: dict[str, Any] | None = None,
        job_id: str | None = None,
        wait: float = 0.0,
    ) -> JobRecord:
        """Send a recognition: the job, or how it ended if it did within `wait` seconds, and within `POP_SECONDS`.

        `arguments` makes those of the task from its recordings, each the key of a payload or a path. With `wait` the
        job is brief. Raises `Unavailable` if the queue is full, `redis.RedisError`.
        """
        pipe = self._client.pipeline(transaction=False)
        sources = [one if isinstance(one, str) else self._audio.put(one.pack(), pipeline=pipe) for one in recordings]
        kept = [key for key, one in zip(sources, recordings, strict=True) if not isinstance(one, str)]
        job, fields = self._jobs.described(
            kind,
            about=about,
            start_within=self._settings.payload_ttl,
            job_id=job_id,
            brief=self._settings.answered_ttl if wait else 0,
        )
        kwargs = {"job_id": job.id, **arguments(sources)}
        message = Message(job.id, task, RECOGNIZE_QUEUE, kwargs, expires=job.expires, audio=kept)
        reply = self._jobs.reply_template.format(id=job.id)
        keys = [RECOGNIZE_QUEUE, self._jobs.key(job.id), self._jobs.index_key]
        keys += [Outbox.messages_key, Outbox.times_key, reply, *kept]
        values: list[Any] = [self._settings.max_queued, message.encoded(), job.id, time.time(), self._jobs.ttl]
        values += [message.stored(), -REMEMBERED - 1, "wait" if wait else ""]
        values += [part for field in fields.items() for part in field]
        pipe.eval(jobscripts.SUBMIT, len(keys), *keys, *values)  # not by its hash, which a new server would not know
        if wait:
            pipe.blpop([reply], timeout=max(0.01, min(wait, POP_SECONDS)))
        found = pipe.execute()
        answer = found.pop() if wait else None
        waiting = found[-1]
        if waiting is not None:
            told = f"{waiting} recognitions wait already; try again later"
            raise Unavailable(told, waiting=waiting, retry_after=5)
        return ended(job.id, answer[1]) if answer else job
