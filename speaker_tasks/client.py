"""What the web process and the command line call: submit, wait, poll, cancel. Knows task names, never their code."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import redis
from kombu.exceptions import OperationalError

from speaker_tasks.celery_app import ENROLL_QUEUE, RECOGNIZE_QUEUE, make_celery, redis_client
from speaker_tasks.errors import Conflict, NoWorker, RedisAway, SpeakerTasksError, Unavailable, from_dict
from speaker_tasks.heartbeat import WorkerRecord, WorkerRegistry
from speaker_tasks.jobs import JobRecord, JobStore
from speaker_tasks.payloads import Audio, RedisAudioStore
from speaker_tasks.settings import Settings

RECOGNIZE_TASK = "speaker_tasks.recognize"
EMBED_TASK = "speaker_tasks.embed"
ENROLL_TASK = "speaker_tasks.enroll_start"


class TaskClient:
    """Sends work to the workers and brings back what came of it. Thread-safe; connects at first use."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.redis = redis_client(settings, connections=settings.web_threads + 4)
        self.celery = make_celery(settings)
        self.audio = RedisAudioStore(self.redis, settings.payload_ttl)
        self.short_jobs = JobStore(self.redis, settings.result_ttl)
        self.long_jobs = JobStore(self.redis, settings.job_ttl)
        self.registry = WorkerRegistry(self.redis, settings.heartbeat_seconds)

    def recognize(self, audio: Audio) -> JobRecord:
        """Ask who speaks. Raises `Unavailable` if the queue is full, `RedisAway`."""
        return self._submit_audio(RECOGNIZE_TASK, "recognize", audio)

    def embed(self, audio: Audio) -> JobRecord:
        """Ask for the recording's vector. Raises as `recognize`."""
        return self._submit_audio(EMBED_TASK, "embed", audio)

    def enroll(self, about: dict[str, Any], **arguments: Any) -> JobRecord:
        """Start an enrollment; `about` goes into the job's record, `arguments` to the task."""
        job = self.long_jobs.create("enroll", about=about)
        self._send(ENROLL_TASK, ENROLL_QUEUE, job, arguments)
        return job

    def wait(self, job: JobRecord, seconds: float) -> dict[str, Any] | None:
        """The result of a job that this process has just submitted, or None when the time runs out.

        Raises the error that the job ended with.
        """
        ended = self.short_jobs.wait(job.id, seconds)
        return None if ended is None else outcome(ended)

    def job(self, job_id: str) -> JobRecord:
        """The job's record. Raises `NotFound`."""
        return self.short_jobs.get(job_id)

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job that has not ended. Raises `NotFound`."""
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

    def _submit_audio(self, task: str, kind: str, audio: Audio) -> JobRecord:
        waiting = int(self.redis.llen(RECOGNIZE_QUEUE))
        if waiting >= self.settings.max_queued:
            raise Unavailable(f"{waiting} recognitions wait already; try again later", waiting=waiting, retry_after=5)
        pipe = self.redis.pipeline(transaction=False)
        key = self.audio.put(audio.pack(), pipeline=pipe)
        job = self.short_jobs.create(kind, start_within=self.settings.payload_ttl, pipeline=pipe)
        pipe.execute()
        try:
            self._send(task, RECOGNIZE_QUEUE, job, {"audio": key}, expires=self.settings.payload_ttl)
        except SpeakerTasksError:
            self.audio.delete(key)
            raise
        return job

    def _send(self, task: str, queue: str, job: JobRecord, arguments: dict[str, Any], **options: Any) -> None:
        arguments = {"job_id": job.id, **arguments}
        try:
            self.celery.send_task(task, kwargs=arguments, queue=queue, task_id=job.id, ignore_result=True, **options)
        except (OperationalError, redis.RedisError) as error:
            self._forget(job)
            raise RedisAway("the Redis server does not take the job", retry_after=2) from error

    def _forget(self, job: JobRecord) -> None:
        with suppress(redis.RedisError):  # it expires by itself
            self.short_jobs.forget(job.id)


def outcome(job: JobRecord) -> dict[str, Any]:
    """The result of a job that has ended; raises its error, or `Conflict` if it was canceled."""
    if job.error is not None:
        raise from_dict(job.error)
    if job.result is None:
        raise Conflict(f"job {job.id} was {job.state}", job=job.id, state=job.state)
    return job.result
