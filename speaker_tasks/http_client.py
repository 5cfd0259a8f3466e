"""The HTTP client of `/v1`: `SpeakerTasks(url, key).identify("x.wav")`, and its async twin. Imports nothing heavy.

A call that is cut off or told to come later is sent again; a question that takes longer than the service waits becomes
a job, which is asked for until it ends. Errors are those of `speaker_tasks.errors`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Self

import httpx

from speaker_tasks.errors import Unavailable
from speaker_tasks.http_calls import (
    RETRIED,
    Call,
    Recording,
    away,
    checked,
    comparison,
    part,
    pause,
    plain,
    question,
    repeatable,
)
from speaker_tasks.http_results import Candidate, Identification, Job, Vector, Verification

__all__ = ["AsyncSpeakerTasks", "Candidate", "Identification", "Job", "SpeakerTasks", "Vector", "Verification"]

SAMPLE_RATE = 16_000
TIMEOUT = httpx.Timeout(75.0, connect=5.0)
"""More than the service waits for an answer."""
ATTEMPTS = 4
JOB_SECONDS = 3600.0
LOOK_SECONDS = 0.5
Progress = Callable[[Job], None]


class SpeakerTasks:
    """A service at `url`; `key` is one of its API keys. Safe to share between threads; close it, or use `with`."""

    def __init__(self, url: str = "http://127.0.0.1:6001", key: str | None = None, *, attempts: int = ATTEMPTS) -> None:
        self.url, self.attempts = url.rstrip("/"), attempts
        self._http = httpx.Client(base_url=self.url, headers=_headers(key), timeout=TIMEOUT)

    def identify(
        self,
        recording: Recording,
        *,
        bank: str | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
        rate: int = SAMPLE_RATE,
    ) -> Identification:
        """Who of a bank speaks; `rate` is of bare samples."""
        call = question("identify", recording, rate, bank=bank, top_k=top_k, threshold=threshold)
        return Identification.of(self._answer(call))

    def verify(
        self,
        recording: Recording,
        speaker: str,
        *,
        bank: str | None = None,
        threshold: float | None = None,
        rate: int = SAMPLE_RATE,
    ) -> Verification:
        """Whether the claimed speaker speaks."""
        call = question("verify", recording, rate, speaker=speaker, bank=bank, threshold=threshold)
        return Verification.of(self._answer(call))

    def compare(
        self, first: Recording, second: Recording, *, threshold: float | None = None, rate: int = SAMPLE_RATE
    ) -> Verification:
        """Whether two recordings are of one voice."""
        return Verification.of(self._answer(comparison(first, second, rate, threshold=threshold)))

    def embed(self, recording: Recording, *, rate: int = SAMPLE_RATE) -> Vector:
        """The recording's unit vector."""
        return Vector.of(self._answer(question("embed", recording, rate)))

    def submit(self, kind: str, recording: Recording, *, rate: int = SAMPLE_RATE, **params: Any) -> Job:
        """Ask `identify`, `verify` or `embed` without waiting: the job."""
        return Job.of(self.call(question(kind, recording, rate, wait=0, **params))["job"])

    def job(self, job_id: str) -> Job:
        """A job as it is now."""
        return Job.of(self.call(plain("GET", f"/v1/jobs/{part(job_id)}"))["job"])

    def jobs(self, *, kind: str | None = None, state: str | None = None, limit: int = 50) -> list[Job]:
        """The newest jobs first."""
        found = self.call(plain("GET", "/v1/jobs", kind=kind, state=state, limit=limit))
        return [Job.of(one) for one in found["jobs"]]

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended."""
        return Job.of(self.call(plain("DELETE", f"/v1/jobs/{part(job_id)}"))["job"])

    def wait(self, job_id: str, *, seconds: float = JOB_SECONDS, progress: Progress | None = None) -> Job:
        """The job once it has ended; `progress` is called each time it was asked for. Raises `Unavailable` if late."""
        deadline = time.monotonic() + seconds
        while True:
            job = self.job(job_id)
            if progress is not None:
                progress(job)
            if job.over:
                return job
            if time.monotonic() > deadline:
                raise _late(job, seconds)
            time.sleep(LOOK_SECONDS)

    def banks(self) -> list[dict[str, Any]]:
        """All banks."""
        return list(self.call(plain("GET", "/v1/banks"))["banks"])

    def speakers(self, bank: str) -> list[dict[str, Any]]:
        """The speakers of a bank."""
        return list(self.call(plain("GET", f"/v1/banks/{part(bank)}/speakers"))["speakers"])

    def models(self) -> list[dict[str, Any]]:
        """The models that are loaded."""
        return list(self.call(plain("GET", "/v1/models"))["models"])

    def workers(self) -> list[dict[str, Any]]:
        """The workers that are alive."""
        return list(self.call(plain("GET", "/v1/workers"))["workers"])

    def call(self, call: Call) -> dict[str, Any]:
        """Any call of the API: its JSON. Raises the service's error, `Unavailable` if it does not answer."""
        for attempt in range(self.attempts):
            last = attempt == self.attempts - 1 or not repeatable(call)
            try:
                answer = self._http.request(call.method, call.path, **call.options())
            except httpx.TransportError as error:
                if last:
                    raise away(self.url, error) from error
                time.sleep(pause(call, None, attempt))
                continue
            if last or answer.status_code not in RETRIED:
                return checked(answer)
            time.sleep(pause(call, answer, attempt))
        raise Unavailable("no attempt was allowed")

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, call: Call) -> Any:
        found = self.call(call)
        return self.wait(found["job"]["id"]).outcome() if _is_job(found) else found


class AsyncSpeakerTasks:
    """The same calls for asyncio; use `async with`, or `await close()`."""

    def __init__(self, url: str = "http://127.0.0.1:6001", key: str | None = None, *, attempts: int = ATTEMPTS) -> None:
        self.url, self.attempts = url.rstrip("/"), attempts
        self._http = httpx.AsyncClient(base_url=self.url, headers=_headers(key), timeout=TIMEOUT)

    async def identify(
        self,
        recording: Recording,
        *,
        bank: str | None = None,
        top_k: int | None = None,
        threshold: float | None = None,
        rate: int = SAMPLE_RATE,
    ) -> Identification:
        """Who of a bank speaks."""
        call = question("identify", recording, rate, bank=bank, top_k=top_k, threshold=threshold)
        return Identification.of(await self._answer(call))

    async def verify(
        self,
        recording: Recording,
        speaker: str,
        *,
        bank: str | None = None,
        threshold: float | None = None,
        rate: int = SAMPLE_RATE,
    ) -> Verification:
        """Whether the claimed speaker speaks."""
        call = question("verify", recording, rate, speaker=speaker, bank=bank, threshold=threshold)
        return Verification.of(await self._answer(call))

    async def compare(
        self, first: Recording, second: Recording, *, threshold: float | None = None, rate: int = SAMPLE_RATE
    ) -> Verification:
        """Whether two recordings are of one voice."""
        return Verification.of(await self._answer(comparison(first, second, rate, threshold=threshold)))

    async def embed(self, recording: Recording, *, rate: int = SAMPLE_RATE) -> Vector:
        """The recording's unit vector."""
        return Vector.of(await self._answer(question("embed", recording, rate)))

    async def submit(self, kind: str, recording: Recording, *, rate: int = SAMPLE_RATE, **params: Any) -> Job:
        """Ask `identify`, `verify` or `embed` without waiting: the job."""
        return Job.of((await self.call(question(kind, recording, rate, wait=0, **params)))["job"])

    async def job(self, job_id: str) -> Job:
        """A job as it is now."""
        return Job.of((await self.call(plain("GET", f"/v1/jobs/{part(job_id)}")))["job"])

    async def jobs(self, *, kind: str | None = None, state: str | None = None, limit: int = 50) -> list[Job]:
        """The newest jobs first."""
        found = await self.call(plain("GET", "/v1/jobs", kind=kind, state=state, limit=limit))
        return [Job.of(one) for one in found["jobs"]]

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended."""
        return Job.of((await self.call(plain("DELETE", f"/v1/jobs/{part(job_id)}")))["job"])

    async def wait(self, job_id: str, *, seconds: float = JOB_SECONDS, progress: Progress | None = None) -> Job:
        """The job once it has ended. Raises `Unavailable` if it takes longer."""
        deadline = time.monotonic() + seconds
        while True:
            job = await self.job(job_id)
            if progress is not None:
                progress(job)
            if job.over:
                return job
            if time.monotonic() > deadline:
                raise _late(job, seconds)
            await asyncio.sleep(LOOK_SECONDS)

    async def banks(self) -> list[dict[str, Any]]:
        """All banks."""
        return list((await self.call(plain("GET", "/v1/banks")))["banks"])

    async def speakers(self, bank: str) -> list[dict[str, Any]]:
        """The speakers of a bank."""
        return list((await self.call(plain("GET", f"/v1/banks/{part(bank)}/speakers")))["speakers"])

    async def models(self) -> list[dict[str, Any]]:
        """The models that are loaded."""
        return list((await self.call(plain("GET", "/v1/models")))["models"])

    async def workers(self) -> list[dict[str, Any]]:
        """The workers that are alive."""
        return list((await self.call(plain("GET", "/v1/workers")))["workers"])

    async def call(self, call: Call) -> dict[str, Any]:
        """Any call of the API: its JSON."""
        for attempt in range(self.attempts):
            last = attempt == self.attempts - 1 or not repeatable(call)
            try:
                answer = await self._http.request(call.method, call.path, **call.options())
            except httpx.TransportError as error:
                if last:
                    raise away(self.url, error) from error
                await asyncio.sleep(pause(call, None, attempt))
                continue
            if last or answer.status_code not in RETRIED:
                return checked(answer)
            await asyncio.sleep(pause(call, answer, attempt))
        raise Unavailable("no attempt was allowed")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _answer(self, call: Call) -> Any:
        found = await self.call(call)
        return (await self.wait(found["job"]["id"])).outcome() if _is_job(found) else found


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}


def _is_job(found: dict[str, Any]) -> bool:
    return set(found) == {"job"}


def _late(job: Job, seconds: float) -> Unavailable:
    return Unavailable(f"job {job.id} is still {job.state} after {seconds:g} s", job=job.id, state=job.state)
