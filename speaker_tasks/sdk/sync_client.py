"""The HTTP client of `/v1` that blocks. Made of `async_client.py` by `tools/make_sync_client.py`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Self

import httpx

from speaker_tasks.errors import Unavailable
from speaker_tasks.sdk.calls import (
    ATTEMPTS,
    JOB_SECONDS,
    LOOK_SECONDS,
    RETRIED,
    SAMPLE_RATE,
    Call,
    Progress,
    Recording,
    accepted,
    away,
    bank_check,
    checked,
    comparison,
    connection,
    is_job,
    job_page,
    late,
    part,
    pause,
    plain,
    question,
    repeatable,
    telling_the_address,
    timeline,
)
from speaker_tasks.sdk.results import Identification, Job, Timeline, Vector, Verification


class SpeakerTasks:
    """A service at `url`; `key` is one of its API keys. Safe to share between threads; close it, or use `with`."""

    def __init__(self, url: str = "http://127.0.0.1:6001", key: str | None = None, *, attempts: int = ATTEMPTS) -> None:
        self.url, self.attempts = url.rstrip("/"), attempts
        with telling_the_address(self.url):
            self._http = httpx.Client(**connection(self.url, key))

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

    def timeline(
        self,
        recording: Recording,
        *,
        bank: str | None = None,
        roster: Sequence[str] | None = None,
        speakers: int | None = None,
        min_speakers: int | None = None,
        max_speakers: int | None = None,
        overlap: bool | None = None,
        in_place: bool = False,
        rate: int = SAMPLE_RATE,
        seconds: float = JOB_SECONDS,
        progress: Progress | None = None,
    ) -> Timeline:
        """Who of a bank speaks when in a long recording; waits for it, and tells `progress` of the job meanwhile.

        With `in_place` the recording is a path that the workers can read, and nothing is sent.
        """
        counts = {"speakers": speakers, "min_speakers": min_speakers, "max_speakers": max_speakers}
        call = timeline(recording, rate, in_place=in_place, bank=bank, roster=roster, overlap=overlap, **counts)
        job = Job.of((self.call(call))["job"])
        return Timeline.of(job.id, (self.wait(job.id, seconds=seconds, progress=progress)).outcome())

    def timeline_of(self, job_id: str) -> Timeline:
        """A timeline as it was corrected so far."""
        return Timeline.of(job_id, self.call(plain("GET", f"/v1/timelines/{part(job_id)}")))

    def timeline_as(self, job_id: str, form: str, *, exclusive: bool = False) -> bytes:
        """A timeline as `rttm`, `srt`, `vtt` or `png`."""
        call = plain("GET", f"/v1/timelines/{part(job_id)}", format=form, exclusive=str(exclusive).lower())
        return (self.send(call)).content

    def correct(self, job_id: str, action: str, **said: Any) -> Timeline:
        """Correct a timeline: `name` (speaker, name), `reassign` (turn, speaker), `merge` (speaker, into), `undo`."""
        call = plain("POST", f"/v1/timelines/{part(job_id)}/corrections", {"action": action, **said})
        return Timeline.of(job_id, (self.call(call))["timeline"])

    def enroll_from(
        self, job_id: str, speaker: str, bank: str, *, name: str | None = None, force: bool = False
    ) -> dict[str, Any]:
        """Enrol a speaker of a timeline by the turns in which they speak alone: the bank's new version and clips."""
        body = {"speaker": speaker, "bank": bank, "force": force} | ({"name": name} if name else {})
        return self.call(plain("POST", f"/v1/timelines/{part(job_id)}/enrollments", body))

    def submit(self, kind: str, recording: Recording, *, rate: int = SAMPLE_RATE, **params: Any) -> Job:
        """Ask `identify`, `verify` or `embed` without waiting: the job."""
        return Job.of((self.call(question(kind, recording, rate, wait=0, **params)))["job"])

    def job(self, job_id: str) -> Job:
        """A job as it is now."""
        return Job.of((self.call(plain("GET", f"/v1/jobs/{part(job_id)}")))["job"])

    def jobs(self, *, kind: str | None = None, state: str | None = None, limit: int = 50) -> list[Job]:
        """The newest jobs first, at most `limit`; more than a page are asked for page by page."""
        jobs: list[Job] = []
        before: str | None = None
        while True:
            page = self.call(job_page(limit - len(jobs), before, kind=kind, state=state))
            jobs += [Job.of(one) for one in page["jobs"]]
            before = page["next"]
            if before is None or len(jobs) >= limit:
                return jobs

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended."""
        return Job.of((self.call(plain("DELETE", f"/v1/jobs/{part(job_id)}")))["job"])

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
                raise late(job, seconds)
            time.sleep(LOOK_SECONDS)

    def banks(self) -> list[dict[str, Any]]:
        """All banks."""
        return list((self.call(plain("GET", "/v1/banks")))["banks"])

    def speakers(self, bank: str) -> list[dict[str, Any]]:
        """The speakers of a bank."""
        return list((self.call(plain("GET", f"/v1/banks/{part(bank)}/speakers")))["speakers"])

    def check(self, bank: str, speaker: str | None = None) -> dict[str, Any]:
        """Who of a bank would be recognised: `speakers`, each with `named` of `clips`, and `warnings`."""
        return dict(self._answer(bank_check(bank, speaker)))

    def models(self) -> list[dict[str, Any]]:
        """The models that are loaded."""
        return list((self.call(plain("GET", "/v1/models")))["models"])

    def workers(self) -> list[dict[str, Any]]:
        """The workers that are alive."""
        return list((self.call(plain("GET", "/v1/workers")))["workers"])

    def call(self, call: Call) -> dict[str, Any]:
        """Any call of the API: its JSON. Raises the service's error, `Unavailable` if it does not answer."""
        return checked(self.send(call))

    def send(self, call: Call) -> httpx.Response:
        """Any call of the API: its answer, which is no error. Raises as `call`."""
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
                return accepted(answer)
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
        answer = self.call(call)
        return (self.wait(answer["job"]["id"])).outcome() if is_job(answer) else answer
