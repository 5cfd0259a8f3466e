"""JobRecord in Redis: the state, progress, report and outcome of one job, and the wake-up of whoever waits for it.

Celery's PENDING means both "queued" and "never heard of"; this record is what the service answers by. A job ends once:
of several workers that ran it (delivery is at least once) the first to finish is believed, in one step with the
deletion of its audio and the wake-up of the request that waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import orjson
import redis

from speaker_tasks import jobscripts
from speaker_tasks.errors import Gone, NotFound
from speaker_tasks.jobrecord import JobRecord, State, from_hash, new_id
from speaker_tasks.wire import UNACKED_INDEX, UNACKED_KEY

__all__ = ["JobRecord", "JobStore", "State", "new_id"]

REPLY_SECONDS = 60
"""How long an outcome that nobody took lies ready for the request that waits."""
REMEMBERED = 100_000
"""Ids of the newest jobs that are kept, so that a forgotten job is told from an unknown one, and jobs can be listed."""
PAGE = 200
LOOK_SECONDS = 0.1
POP_SECONDS = 1.0
"""One blocking read of a longer wait, well under the client's socket timeout."""


class Asked(TypedDict, total=False):
    """What `JobStore.described` takes beside the kind of job."""

    about: dict[str, Any] | None
    total: int
    start_within: float | None
    job_id: str | None
    brief: int


@dataclass(frozen=True)
class Ending:
    """How a job ended, to be written by `jobscripts.FINISH`."""

    keys: list[str]
    values: list[Any]
    tag: str
    """Of the message that a thread took by itself, which is acknowledged in the same step; or nothing."""


def ended(job_id: str, outcome: bytes) -> JobRecord:
    """The record of a job by what woke its waiter."""
    return JobRecord(job_id, "", **orjson.loads(outcome))


class JobStore:
    """Job records in Redis: a hash each, a hash of report entries beside it; forgotten `ttl` seconds after the end.

    A brief job is one whose outcome goes out with the request that made it: once it has ended nobody asks for it, so
    it is forgotten at once but for a few seconds, and leaves the list of jobs. `keep` makes it one like the others.
    """

    key_template = "speaker:job:{id}"
    report_template = "speaker:job:{id}:report"
    reply_template = "speaker:reply:{id}"
    index_key = "speaker:jobs"
    """Sorted set of job ids by the time they were made."""

    def __init__(self, client: redis.Redis, ttl: int) -> None:
        self.client, self.ttl = client, ttl
        self._start = client.register_script(jobscripts.START)
        self._begin_writing = client.register_script(jobscripts.BEGIN_WRITING)
        self._finish = client.register_script(jobscripts.FINISH)
        self._record = client.register_script(jobscripts.RECORD)
        self._keep = client.register_script(jobscripts.KEEP)

    def create(self, kind: str, **asked: Unpack[Asked]) -> JobRecord:
        """A new queued job."""
        job, fields = self.described(kind, **asked)
        key, pipe = self.key(job.id), self.client.pipeline()
        pipe.hset(key, mapping=fields)
        pipe.expire(key, self.ttl)
        pipe.zadd(self.index_key, {job.id: job.created})
        pipe.zremrangebyrank(self.index_key, 0, -REMEMBERED - 1)
        pipe.execute()
        return job

    def described(
        self,
        kind: str,
        *,
        about: dict[str, Any] | None = None,
        total: int = 0,
        start_within: float | None = None,
        job_id: str | None = None,
        brief: int = 0,
    ) -> tuple[JobRecord, dict[Any, Any]]:
        """What `create` writes: the job, and the fields of its record.

        `brief` is for how many seconds after its end a brief job is remembered.
        """
        now = time.time()
        expires = now + start_within if start_within else None
        job = JobRecord(job_id or new_id(now), kind, created=now, expires=expires, total=total, about=about or {})
        fields: dict[Any, Any] = {"kind": kind, "state": "queued", "created": now, "total": total, "ttl": self.ttl}
        fields |= {"expires": expires} if expires else {}
        fields |= {"brief": brief} if brief else {}
        fields |= {"about": orjson.dumps(about)} if about else {}
        return job, fields

    def get(self, job_id: str) -> JobRecord:
        """The job. Raises `NotFound` for an unknown id, `Gone` for a job that was forgotten."""
        if stored := self._stored(job_id):
            return from_hash(job_id, stored)
        if self.client.zscore(self.index_key, job_id) is not None:
            if stored := self._stored(job_id):  # it was made between the two looks
                return from_hash(job_id, stored)
            raise Gone(f"job {job_id!r} has ended long ago and is forgotten", job=job_id)
        raise NotFound(f"there is no job {job_id!r}", job=job_id)

    def look(self, job_id: str, pipeline: redis.client.Pipeline) -> None:
        """Ask for the job's state alone; the pipeline gives its name as bytes, or None."""
        pipeline.hget(self.key(job_id), "state")

    def recent(self, *, before: str | None = None) -> Iterator[JobRecord]:
        """The jobs that are remembered, the newest first; those older than the job `before` if one is named."""
        start: Any = time.time()
        if before is not None:
            made: Any = self.client.zscore(self.index_key, before)
            start = start if made is None else f"({made!r}"
        offset = 0
        while page := self._page(start, offset):
            offset += len(page)
            pipe = self.client.pipeline(transaction=False)
            for job_id in page:
                pipe.hgetall(self.key(job_id))
            for job_id, stored in zip(page, pipe.execute(), strict=True):
                if stored:
                    yield from_hash(job_id, stored)

    def start(self, job_id: str) -> bool:
        """Mark the job as running; False if it has ended, was canceled or is unknown: then there is nothing to do."""
        return bool(self._start([self.key(job_id)], [time.time()]))

    def begin_writing(self, job_id: str) -> bool:
        """Say that the job writes what no cancel can take back: from now on none ends it; False if it has ended."""
        return bool(self._begin_writing([self.key(job_id)]))

    def set_total(self, job_id: str, total: int) -> None:
        """Say how many pieces of work the job has."""
        self.client.hset(self.key(job_id), "total", total)

    def record(
        self,
        job_id: str,
        key: str,
        entry: dict[str, Any],
        *,
        ok: bool,
        pipeline: redis.client.Pipeline | None = None,
    ) -> bool:
        """Add one piece of work to the report and count it; False if `key` was there, which counts nothing twice.

        With a pipeline it is written when the caller executes it, and False says nothing.
        """
        keys = [self.key(job_id), self.report_template.format(id=job_id)]
        values: list[Any] = [key, orjson.dumps(entry), "done" if ok else "failed", self.ttl, time.time()]
        if pipeline is None:
            return bool(self._record(keys, values))
        pipeline.eval(jobscripts.RECORD, len(keys), *keys, *values)
        return False

    def entries(self, job_id: str, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those entries of the report that are there already, by their keys."""
        if not keys:
            return {}
        stored: Any = self.client.hmget(self.report_template.format(id=job_id), list(keys))
        return {key: orjson.loads(entry) for key, entry in zip(keys, stored, strict=True) if entry is not None}

    def amend(self, job_id: str, entries: dict[str, dict[str, Any]]) -> None:
        """Write entries of the report, new or over the old ones, without counting them."""
        if entries:
            key, old = self.report_template.format(id=job_id), self.entries(job_id, list(entries))
            self.client.hset(key, mapping={name: orjson.dumps(old.get(name, {}) | entries[name]) for name in entries})
            self.client.expire(key, self.ttl)

    def purge(self, speaker: str, clips: Collection[str]) -> set[str]:
        """Take a speaker's recordings, by name and by clip, out of all reports; gives the clips of all that are theirs.

        A clip under an earlier name tells of that name; what else the report has under it is theirs, too.
        """
        found: set[str] = set()
        for key in self.client.scan_iter(self.report_template.format(id="*")):
            stored: Any = self.client.hgetall(key)
            entries = {field: orjson.loads(entry) for field, entry in stored.items()}
            names = {speaker, *(one["speaker"] for one in entries.values() if one.get("clip") in clips)}
            theirs = [field for field, one in entries.items() if one["speaker"] in names]
            found.update(entries[field]["clip"] for field in theirs if entries[field].get("clip"))
            named = [one for one in theirs if entries[one]["speaker"] == speaker or entries[one].get("clip") in clips]
            if named:
                self.client.hdel(key, *named)
        return found

    def report(self, job_id: str) -> list[dict[str, Any]]:
        """The report's entries, in the order of their keys."""
        stored = self.client.hgetall(self.report_template.format(id=job_id))
        return [orjson.loads(stored[key]) for key in sorted(stored)]

    def finish(
        self,
        job_id: str,
        state: State,
        *,
        result: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        drop: Sequence[str] = (),
    ) -> bool:
        """End the job, delete the keys in `drop` and wake who waits; False if it had ended already."""
        return self.end(self.ending(job_id, state, result=result, error=error, drop=drop))

    def end(self, ending: Ending) -> bool:
        """Write how a job ended; False if it had ended already."""
        return bool(self._finish(ending.keys, ending.values))

    def ending(
        self,
        job_id: str,
        state: State,
        *,
        result: dict[str, Any] | None = None,
        error: dict[str, Any] | None = None,
        drop: Sequence[str] = (),
        tag: str = "",
    ) -> Ending:
        """What `finish` writes, for `end` or for the step that takes the next message (`Intake.take`)."""
        outcome = orjson.dumps({"state": state, "result": result, "error": error}, option=orjson.OPT_SERIALIZE_NUMPY)
        name, value = ("error", error) if result is None else ("result", result)
        stored = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
        keys = [self.key(job_id), self.reply_template.format(id=job_id), *drop]
        values = [state, time.time(), name, stored, outcome, REPLY_SECONDS, tag, UNACKED_KEY, UNACKED_INDEX]
        return Ending(keys, [*values, self.index_key, job_id], tag)

    def keep(self, job_id: str) -> None:
        """A brief job that was not answered in time, or has to be found later, is remembered as others are."""
        self._keep([self.key(job_id), self.index_key], [job_id])

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job; one that has ended, or writes what it found, stays as it is. Raises `NotFound`."""
        self.finish(job_id, "canceled")
        return self.get(job_id)

    def wait(self, job_id: str, seconds: float, give_up: Callable[[], bool] = lambda: False) -> JobRecord | None:
        """Wait for the end of a job that was just submitted: its record, or None when the time runs out.

        A blocking read; each outcome wakes one waiter. Between reads it looks whether to `give_up`.
        """
        deadline = time.monotonic() + seconds
        key = self.reply_template.format(id=job_id)
        while (left := deadline - time.monotonic()) > 0 and not give_up():
            popped: Any = self.client.blpop([key], timeout=max(0.01, min(left, POP_SECONDS)))
            if popped:
                return ended(job_id, popped[1])
        return None

    def follow(self, job_id: str, seconds: float) -> JobRecord:
        """Wait for the end of a job that others may wait for too: the record when it ended, or when the time ran out.

        Looks every `LOOK_SECONDS`; who has just submitted a job uses `wait`, which is quicker.
        """
        deadline = time.monotonic() + seconds
        while True:
            job = self.get(job_id)
            if job.over or time.monotonic() >= deadline:
                return job
            time.sleep(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))

    def forget(self, job_id: str) -> None:
        """Delete the record, its report and its outcome."""
        templates = (self.key_template, self.report_template, self.reply_template)
        self.client.unlink(*(template.format(id=job_id) for template in templates))
        self.client.zrem(self.index_key, job_id)

    def _stored(self, job_id: str) -> dict[bytes, bytes]:
        found: Any = self.client.hgetall(self.key(job_id))
        return found

    def _page(self, start: Any, offset: int) -> list[str]:
        found: Any = self.client.zrevrangebyscore(self.index_key, start, "-inf", start=offset, num=PAGE)
        return [job_id.decode() for job_id in found]

    def key(self, job_id: str) -> str:
        """Where the job's record lies."""
        return self.key_template.format(id=job_id)
