"""What the web process and the command line call: submit, wait, poll, cancel. Knows task names, never their code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import islice
from typing import Any

import orjson
import redis
from celery import Celery

from speaker_tasks.celery_app import ENROLL_QUEUE, make_celery, redis_client
from speaker_tasks.errors import Conflict, NoWorker, RedisAway, Unavailable, from_dict
from speaker_tasks.heartbeat import WorkerRecord, WorkerRegistry
from speaker_tasks.jobs import JobRecord, JobStore
from speaker_tasks.outbox import Message, Outbox
from speaker_tasks.payloads import Audio, RedisAudioStore
from speaker_tasks.settings import Settings
from speaker_tasks.submission import Submitter

RECOGNIZE_TASK = "speaker_tasks.recognize"
EMBED_TASK = "speaker_tasks.embed"
ENROLL_TASK = "speaker_tasks.enroll_start"
IDENTIFY, VERIFY, VECTOR, COMPARE = "identify", "verify", "vector", "compare"
"""Kinds of `ask`; each is the task of that name."""


class TaskClient:
    """Sends work to the workers and brings back what came of it. Thread-safe; connects at first use."""

    def __init__(self, settings: Settings, *, who: str | None = None) -> None:
        """`who` stands in the records of enrollments, and so in the audit log."""
        self.settings, self.who = settings, who
        self.redis = redis_client(settings, connections=settings.web_threads + 4)
        self.audio = RedisAudioStore(self.redis, settings.payload_ttl)
        self.short_jobs = JobStore(self.redis, settings.result_ttl)
        self.long_jobs = JobStore(self.redis, settings.job_ttl)
        self.outbox = Outbox(self.redis)
        self._submitter = Submitter(self.redis, settings, self.short_jobs, self.audio)
        self.registry = WorkerRegistry(self.redis, settings.heartbeat_seconds)

    @cached_property
    def celery(self) -> Celery:
        """The Celery application, for what asks the broker in its own words; sending needs none."""
        return make_celery(self.settings)

    def recognize(self, audio: Audio, *, about: dict[str, Any] | None = None, wait: float = 0.0) -> JobRecord:
        """Ask who speaks: the job, or how it ended if it did so at once. Raises `Unavailable` if the queue is full.

        `wait` is for how many seconds the caller will `wait` for it, who alone is then to know of it.
        """
        return self._submitter.submit(RECOGNIZE_TASK, "recognize", [audio], _only, about=about, wait=wait)

    def embed(self, audio: Audio, *, about: dict[str, Any] | None = None, wait: float = 0.0) -> JobRecord:
        """Ask for the recording's vector. As `recognize`."""
        return self._submitter.submit(EMBED_TASK, "embed", [audio], _only, about=about, wait=wait)

    def ask(
        self,
        kind: str,
        recordings: Sequence[Audio | str],
        options: dict[str, Any],
        *,
        about: dict[str, Any] | None = None,
        webhook: str | None = None,
        job_id: str | None = None,
        wait: float = 0.0,
    ) -> JobRecord:
        """A question of `/v1` about recordings, each its audio or a path that the workers can read.

        `options` goes to the task, `about` into the job's record. As `recognize`.
        """
        more: dict[str, Any] = {"ask": options} | ({"webhook": webhook} if webhook else {})
        return self._submitter.submit(
            f"speaker_tasks.{kind}",
            kind,
            recordings,
            lambda sources: {"audio": sources, **more},
            about=about,
            job_id=job_id,
            wait=wait,
        )

    def enroll(self, about: dict[str, Any], *, job_id: str | None = None, **arguments: Any) -> JobRecord:
        """Start an enrollment; `about` goes into the job's record, `arguments` to the task."""
        about = about | {"who": self.who} if self.who else about
        job = self.long_jobs.create("enroll", about=about, job_id=job_id)
        try:
            self.outbox.send(Message(job.id, ENROLL_TASK, ENROLL_QUEUE, {"job_id": job.id, **arguments}))
        except RedisAway:
            with suppress(redis.RedisError):  # else it expires by itself
                self.long_jobs.forget(job.id)
            raise
        return job

    def enroll_manifest(self, manifest: dict[str, Any], *, bank: str, **arguments: Any) -> JobRecord:
        """Start the enrollment of a manifest (`Manifest.to_dict()`), whose paths the workers can read, into a bank."""
        about = {"bank": bank, "recordings": len(manifest["entries"]), "speakers": len(manifest["speakers"])}
        return self.enroll(about, bank=bank, source={"manifest": self.keep(orjson.dumps(manifest))}, **arguments)

    def keep(self, payload: bytes) -> str:
        """Keep bytes for as long as a long job may take: their key."""
        return RedisAudioStore(self.redis, self.settings.job_ttl).put(payload)

    def wait(
        self, job: JobRecord, seconds: float, give_up: Callable[[], bool] = lambda: False
    ) -> dict[str, Any] | None:
        """The result of a job that this process has just submitted, or None when the time runs out: then it is kept.

        It also gives up, within a second, when `give_up` says so. Raises the error that the job ended with.
        """
        if job.over:
            return outcome(job)
        ended = self.short_jobs.wait(job.id, seconds, give_up)
        if ended is None:
            self.short_jobs.keep(job.id)
        return None if ended is None else outcome(ended)

    def job(self, job_id: str) -> JobRecord:
        """The job's record. Raises `NotFound`, `Gone`."""
        return self.short_jobs.get(job_id)

    def jobs(
        self,
        wanted: Callable[[JobRecord], bool] = lambda job: True,
        *,
        limit: int = 50,
        before: str | None = None,
    ) -> list[JobRecord]:
        """The newest jobs that are wanted, at most `limit`; those made before the job `before` if one is named."""
        return list(islice((job for job in self.short_jobs.recent(before=before) if wanted(job)), limit))

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job that has not ended. Raises `NotFound`, `Gone`."""
        return self.short_jobs.cancel(job_id)

    def workers(self) -> list[WorkerRecord]:
        """The workers that are alive, each with a warm model."""
        return self.registry.alive()

    def model(self) -> str:
        """The id of the model that the workers run. Raises `NoWorker`, or `Unavailable` if they run several."""
        models = sorted({worker.model for worker in self.workers()})
        if not models:
            raise NoWorker("no worker with a warm model is alive, so the vectors' model is unknown", retry_after=5)
        if len(models) > 1:
            raise Unavailable(f"the workers run several models: {', '.join(models)}", models=models, retry_after=30)
        return models[0]


def _only(sources: list[str]) -> dict[str, Any]:
    return {"audio": sources[0]}


def outcome(job: JobRecord) -> dict[str, Any]:
    """The result of a job that has ended; raises its error, or `Conflict` if it was canceled."""
    if job.error is not None:
        raise from_dict(job.error)
    if job.result is None:
        raise Conflict(f"job {job.id} was {job.state}", job=job.id, state=job.state)
    return job.result


def __getattr__(name: str) -> Any:
    """`SpeakerTasks` and `AsyncSpeakerTasks`, the HTTP client; `speaker_tasks.http_client` has it without Celery."""
    if name in {"SpeakerTasks", "AsyncSpeakerTasks"}:
        from speaker_tasks import http_client

        return getattr(http_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
