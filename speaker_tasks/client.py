"""What the web process and the command line call: submit, wait, poll, cancel. Knows task names, never their code."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import orjson
import redis
from kombu.exceptions import OperationalError

from speaker_tasks.celery_app import ENROLL_QUEUE, QUEUES, RECOGNIZE_QUEUE, make_celery, redis_client
from speaker_tasks.errors import NoWorker, Unavailable
from speaker_tasks.jobs import JobRecord, JobStore
from speaker_tasks.jobs.audio import Audio, AudioStore
from speaker_tasks.jobs.delivery import Deliveries, Message
from speaker_tasks.jobs.heartbeat import WorkerRecord, WorkerRegistry
from speaker_tasks.jobs.record import outcome
from speaker_tasks.redis_server import check_writable, refusal
from speaker_tasks.settings import Settings

__all__ = ["TaskClient", "outcome"]

IDENTIFY, VERIFY, VECTOR, COMPARE, CHECK = "identify", "verify", "vector", "compare", "check"
SPEAKER, FEATS = "recognize", "embed"
"""The first server's questions."""
TASKS = {
    IDENTIFY: "speaker_tasks.identify",
    VERIFY: "speaker_tasks.verify",
    VECTOR: "speaker_tasks.embed",
    COMPARE: "speaker_tasks.compare",
    CHECK: "speaker_tasks.check",
    SPEAKER: "speaker_tasks.speaker",
    FEATS: "speaker_tasks.feats",
}
"""The task of each kind of recognition."""
ENROLL_TASK = "speaker_tasks.enroll"
TIMELINE_TASK = "speaker_tasks.timeline"
LOOKED_AT = 2_000
"""Records of jobs that one call of `jobs` reads at most, whatever it looks for."""

WRITABLE_SECONDS = 3.0
"""How long it is believed that Redis takes changes: probes ask each second, and its file keeps every write."""


class TaskClient:
    """Sends work to the workers and brings back what came of it. Thread-safe; connects at first use."""

    def __init__(self, settings: Settings, *, who: str | None = None) -> None:
        """`who` stands in the records of enrollments, and so in the audit log."""
        self.settings, self.who = settings, who
        self.redis = redis_client(settings, connections=settings.web_threads + 4)
        self.app = make_celery(settings)
        self.audio = AudioStore(self.redis, settings.payload_ttl)
        self.short_jobs = JobStore(self.redis, settings.result_ttl)
        self.long_jobs = JobStore(self.redis, settings.job_ttl)
        self.deliveries = Deliveries(self.redis, self.app, settings.job_ttl)
        self.registry = WorkerRegistry(self.redis, settings.heartbeat_seconds)
        self._wrote = float("-inf")

    def recognize(self, audio: Audio, **more: Any) -> JobRecord:
        """Ask who speaks. As `ask`."""
        return self.ask(SPEAKER, [audio], {}, **more)

    def embed(self, audio: Audio, **more: Any) -> JobRecord:
        """Ask for the recording's vector, as the first server gave it. As `ask`."""
        return self.ask(FEATS, [audio], {}, **more)

    def ask(
        self,
        kind: str,
        recordings: Sequence[Audio | str],
        options: dict[str, Any],
        *,
        about: dict[str, Any] | None = None,
        webhook: str | None = None,
        job_id: str | None = None,
        brief: bool = False,
    ) -> JobRecord:
        """A question about recordings, each its audio or a path that the workers can read: the job.

        `options` goes to the task, `about` into the job's record. The record of a brief job is forgotten soon after its
        end: for who will `wait` for it, and alone is to know of it. Raises `Unavailable` if the queue is full.
        """
        pipe = self.redis.pipeline(transaction=False)
        sources = [one if isinstance(one, str) else self.audio.put(one.pack(), pipeline=pipe) for one in recordings]
        kept = [key for key, one in zip(sources, recordings, strict=True) if not isinstance(one, str)]
        job, fields = self.short_jobs.described(
            kind,
            about=about,
            start_within=self.settings.payload_ttl,
            job_id=job_id,
            brief=self.settings.answered_ttl if brief else 0,
        )
        kwargs = {"audio": sources, **options} | ({"webhook": webhook} if webhook else {})
        message = Message(job.id, job.id, TASKS[kind], RECOGNIZE_QUEUE, kwargs)
        at_most = self.settings.max_queued
        self.short_jobs.submit(job, fields, message, at_most=at_most, payloads=kept, pipeline=pipe)
        self._send(message, self.short_jobs)
        return job

    def enroll(self, about: dict[str, Any], *, job_id: str | None = None, **arguments: Any) -> JobRecord:
        """Start an enrollment; `about` goes into the job's record, `arguments` to the task. Raises `RedisAway`."""
        return self._bulk("enroll", ENROLL_TASK, about, job_id, arguments)

    def timeline(
        self,
        recording: Audio | str,
        options: dict[str, Any],
        *,
        about: dict[str, Any] | None = None,
        webhook: str | None = None,
        job_id: str | None = None,
    ) -> JobRecord:
        """Ask who speaks when in a long recording, its audio or a path that the workers can read: the job.

        `options` goes to the task, `about` into the job's record. Raises `RedisAway`, `TooLarge`.
        """
        source = recording if isinstance(recording, str) else self.keep(recording.pack())
        arguments = {"audio": [source], **options} | ({"webhook": webhook} if webhook else {})
        return self._bulk("timeline", TIMELINE_TASK, about or {}, job_id, arguments)

    def _bulk(
        self, kind: str, task: str, about: dict[str, Any], job_id: str | None, arguments: dict[str, Any]
    ) -> JobRecord:
        about = about | {"who": self.who} if self.who else about
        job, fields = self.long_jobs.described(kind, about=about, job_id=job_id)
        message = Message(job.id, job.id, task, ENROLL_QUEUE, arguments)
        try:
            self.long_jobs.submit(job, fields, message)
        except redis.RedisError as error:
            raise refusal(error) from error
        self._send(message, self.long_jobs)
        return job

    def _send(self, message: Message, jobs: JobStore) -> None:
        """Send what was written down; what cannot be sent is no job."""
        try:
            self.deliveries.send(message)
        except (redis.RedisError, OperationalError) as error:
            with suppress(redis.RedisError):  # else it is sent later, by a worker
                jobs.forget(message.job)
            raise refusal(error) from error

    def enroll_manifest(self, manifest: dict[str, Any], *, bank: str, **arguments: Any) -> JobRecord:
        """Start the enrollment of a manifest (`Manifest.to_dict()`), whose paths the workers can read, into a bank."""
        about = {"bank": bank, "recordings": len(manifest["entries"]), "speakers": len(manifest["speakers"])}
        return self.enroll(about, bank=bank, source={"manifest": self.keep(orjson.dumps(manifest))}, **arguments)

    def keep(self, payload: bytes) -> str:
        """Keep bytes for as long as a long job may take: their key."""
        return AudioStore(self.redis, self.settings.job_ttl).put(payload)

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
    ) -> tuple[list[JobRecord], str | None]:
        """The newest jobs that are wanted, at most `limit`, and the id to go on from; None if there are no more.

        With `before`, those made before that job. One call looks at `LOOKED_AT` jobs: it may find fewer than there are,
        or none, and the next call goes on. Raises `NotFound` if `before` is forgotten.
        """
        page: list[JobRecord] = []
        for number, (job_id, job) in enumerate(self.short_jobs.recent(before=before), 1):
            if job is not None and wanted(job):
                page.append(job)
            if len(page) == limit or number == LOOKED_AT:
                return page, job_id
        return page, None

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job that has not ended. Raises `NotFound`, `Gone`."""
        return self.short_jobs.cancel(job_id)

    def workers(self) -> list[WorkerRecord]:
        """The workers that are alive, each with a warm model."""
        return self.registry.alive()

    def check_writable(self) -> None:
        """Raise what redis-py raises if Redis takes no changes; that it does is believed for `WRITABLE_SECONDS`."""
        if time.monotonic() - self._wrote >= WRITABLE_SECONDS:
            check_writable(self.redis)
            self._wrote = time.monotonic()

    def doubt_writable(self) -> None:
        """Redis refused something: the next `check_writable` writes."""
        self._wrote = float("-inf")

    def no_worker(self) -> Unavailable:
        """Why no worker is alive: a server that refuses changes takes no heartbeats either."""
        try:
            self.check_writable()
        except redis.RedisError as error:
            return refusal(error)
        return NoWorker("no worker with a warm model is alive", retry_after=5)

    def waiting(self) -> dict[str, int]:
        """The messages that wait in each queue for a worker."""
        with self.redis.pipeline(transaction=False) as pipe:
            for name in QUEUES:
                pipe.llen(name)
            return dict(zip(QUEUES, pipe.execute(), strict=True))

    def model(self) -> str:
        """The id of the model that the workers run. Raises `NoWorker`, or `Unavailable` if they run several."""
        models = sorted({worker.model for worker in self.workers()})
        if not models:
            raise NoWorker("no worker with a warm model is alive, so the vectors' model is unknown", retry_after=5)
        if len(models) > 1:
            raise Unavailable(f"the workers run several models: {', '.join(models)}", models=models, retry_after=30)
        return models[0]


def __getattr__(name: str) -> Any:
    """`SpeakerTasks` and `AsyncSpeakerTasks`, the HTTP client; `speaker_tasks.sdk.client` has it without Celery."""
    if name in {"SpeakerTasks", "AsyncSpeakerTasks"}:
        from speaker_tasks.sdk import client as http_client

        return getattr(http_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
