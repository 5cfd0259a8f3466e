"""JobRecord in Redis: the state, progress, report and outcome of one job, and the wake-up of whoever waits for it.

Celery's PENDING means both "queued" and "never heard of"; this record is what the service answers by. A job ends once:
of several workers that ran it (delivery is at least once) the first to finish is believed, in one step with the
deletion of its audio and the wake-up of the request that waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypedDict, Unpack

import orjson
import redis

from speaker_tasks.errors import Gone, Lost, NotFound, Unavailable
from speaker_tasks.jobs.delivery import FORGET, RUNNING_KEY, Message, task_key, waiting_key
from speaker_tasks.jobs.forgetting import MARK_DELETED
from speaker_tasks.jobs.record import JobRecord, State, from_hash, new_id

REPLY_SECONDS = 60
"""How long an outcome that nobody took lies ready for the request that waits."""
REMEMBERED = 100_000
"""Ids of the newest jobs that are kept, so that a forgotten job differs from an unknown one, and jobs can be listed."""
PAGE = 200
LOOK_SECONDS = 0.1
POP_SECONDS = 1.0
"""One blocking read of a longer wait, well under the client's socket timeout."""


class NewJob(TypedDict, total=False):
    """What `JobStore.create` takes beside the kind of job."""

    about: dict[str, Any] | None
    total: int
    start_within: float | None
    job_id: str | None
    brief: int


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
        self._begin_writing = client.register_script(_BEGIN_WRITING)
        self._finish = client.register_script(_FINISH)
        self._record = client.register_script(_RECORD)
        self._keep = client.register_script(_KEEP)
        self._advance = client.register_script(_ADVANCE)

    def create(self, kind: str, **given: Unpack[NewJob]) -> JobRecord:
        """A new queued job that no message belongs to yet."""
        job, fields = self.described(kind, **given)
        key, pipe = self.key(job.id), self.client.pipeline()
        pipe.hset(key, mapping=fields)
        pipe.expire(key, self.ttl)
        pipe.zadd(self.index_key, {job.id: job.created})
        pipe.execute()
        return job

    def submit(
        self,
        job: JobRecord,
        fields: dict[Any, Any],
        message: Message,
        *,
        at_most: int = 0,
        payloads: Sequence[str] = (),
        pipeline: redis.client.Pipeline | None = None,
    ) -> None:
        """Write down a described job and the message that does its work, in one step; the message is still to be sent.

        From here on the job's times are those of Redis' clock. What the pipeline holds already, such as the job's
        payloads, goes out with it. Raises `Unavailable`, and deletes the payloads, if `at_most` messages wait in the
        queue already.
        """
        pipe = self.client.pipeline(transaction=False) if pipeline is None else pipeline
        keys = [waiting_key(message.queue), self.key(job.id), self.index_key, task_key(message.id), *payloads]
        described = [part for field in fields.items() for part in field]
        within = job.expires - job.created if job.expires else 0
        values = [at_most, job.id, within, self.ttl, -REMEMBERED - 1, message.id, len(described), *described]
        values += [part for field in message.fields().items() for part in field]
        pipe.eval(_SUBMIT, len(keys), *keys, *values)  # not by its hash, which a new server would not know
        waiting = pipe.execute()[-1]
        if waiting is not None:
            reason = f"{waiting} recognitions wait already; try again later"
            raise Unavailable(reason, waiting=waiting, retry_after=5)

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
        """What is written of a new job: its record, and the fields of that.

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
        if stored := self.stored(job_id):
            return stored
        if self.client.zscore(self.index_key, job_id) is not None:
            if stored := self.stored(job_id):  # it was made between the two looks
                return stored
            raise Gone(f"job {job_id!r} has ended long ago and is forgotten", job=job_id)
        raise NotFound(f"there is no job {job_id!r}", job=job_id)

    def state(self, job_id: str) -> str:
        """The job's state alone; nothing for an unknown job."""
        stored: Any = self.client.hget(self.key(job_id), "state")
        return stored.decode() if stored else ""

    def recent(self, *, before: str | None = None) -> Iterator[tuple[str, JobRecord | None]]:
        """Ids and records of the jobs that are remembered, the newest first; None where only the id is left.

        With `before`, those older than that job. Raises `NotFound` if nobody knows it any more.
        """
        start: Any = "+inf"
        if before is not None:
            made: Any = self.client.zscore(self.index_key, before)
            if made is None:
                raise NotFound(f"there is no job {before!r} to go on from; begin with the newest", before=before)
            start = f"({made!r}"
        offset = 0
        while page := self._page(start, offset):
            offset += len(page)
            pipe = self.client.pipeline(transaction=False)
            for job_id in page:
                pipe.hgetall(self.key(job_id))
            pipe.time()
            *records, now = pipe.execute()
            for job_id, stored in zip(page, records, strict=True):
                yield job_id, from_hash(job_id, stored, _seconds(now)) if stored else None

    def begin_writing(self, job_id: str) -> bool:
        """Say that the job writes what no cancel can take back: from now on none ends it; False if it has ended."""
        return bool(self._begin_writing([self.key(job_id)]))

    def set_total(self, job_id: str, total: int) -> None:
        """Say how many pieces of work the job has."""
        self.client.hset(self.key(job_id), "total", total)

    def advance(self, job_id: str, done: int) -> None:
        """Say how many pieces of its work are done; of a job that runs."""
        self._advance([self.key(job_id)], [done, time.time()])

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
        values: list[Any] = [key, orjson.dumps(entry), "done" if ok else "failed", self.ttl]
        if pipeline is None:
            return bool(self._record(keys, values))
        pipeline.eval(_RECORD, len(keys), *keys, *values)
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
        keys: set[str] = set()
        for key in self.client.scan_iter(self.report_template.format(id="*")):
            stored: Any = self.client.hgetall(key)
            entries = {field: orjson.loads(entry) for field, entry in stored.items()}
            names = {speaker, *(one["speaker"] for one in entries.values() if one.get("clip") in clips)}
            theirs = [field for field, one in entries.items() if one["speaker"] in names]
            keys.update(entries[field]["clip"] for field in theirs if entries[field].get("clip"))
            named = [one for one in theirs if entries[one]["speaker"] == speaker or entries[one].get("clip") in clips]
            if named:
                self.client.hdel(key, *named)
        return keys

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
        message_id: str = "",
    ) -> bool:
        """End the job, delete the keys in `drop` and wake who waits; False if it had ended already.

        `message_id` is that of the task message whose work is done by this.
        """
        outcome = orjson.dumps({"state": state, "result": result, "error": error}, option=orjson.OPT_SERIALIZE_NUMPY)
        name, value = ("error", error) if result is None else ("result", result)
        stored = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
        keys = [self.key(job_id), self.reply_template.format(id=job_id), self.index_key]
        keys += [task_key(message_id), RUNNING_KEY, *drop]
        values: list[Any] = [state, name, stored, outcome, REPLY_SECONDS, job_id, message_id, waiting_key("")]
        return bool(self._finish(keys, values))

    def keep(self, job_id: str) -> None:
        """A brief job that was not answered in time, or has to be found later, is remembered as others are."""
        self._keep([self.key(job_id), self.index_key], [job_id])

    def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job; one that has ended, or writes what it found, stays as it is. Raises `NotFound`."""
        self.finish(job_id, "canceled")
        return self.get(job_id)

    def wait(self, job_id: str, seconds: float, give_up: Callable[[], bool] = lambda: False) -> JobRecord | None:
        """Wait for the end of a job that was just submitted: its record, or None when the time runs out.

        A blocking read; each outcome wakes one waiter. Between reads it looks whether to `give_up`. Raises `Lost`.
        """
        deadline = time.monotonic() + seconds
        key = self.reply_template.format(id=job_id)
        while (left := deadline - time.monotonic()) > 0 and not give_up():
            popped: Any = self.client.blpop([key], timeout=max(0.01, min(left, POP_SECONDS)))
            if popped:
                return JobRecord(job_id, "", **orjson.loads(popped[1]))
            if not self.client.exists(self.key(job_id)):
                raise Lost("Redis lost the job, as in a failover; send it again", job=job_id, retry_after=1)
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
        """Delete the record, its report and its outcome, and its first message's: it is not to be done."""
        self.finish(job_id, "canceled", message_id=job_id)
        templates = (self.key_template, self.report_template, self.reply_template)
        self.client.unlink(*(template.format(id=job_id) for template in templates))
        self.client.zrem(self.index_key, job_id)

    def stored(self, job_id: str) -> JobRecord | None:
        """The job's record; None if there is none, or no longer."""
        pipe = self.client.pipeline(transaction=False)
        pipe.hgetall(self.key(job_id))
        pipe.time()
        stored, now = pipe.execute()
        return from_hash(job_id, stored, _seconds(now)) if stored else None

    def _page(self, start: Any, offset: int) -> list[str]:
        ids: Any = self.client.zrevrangebyscore(self.index_key, start, "-inf", start=offset, num=PAGE)
        return [job_id.decode() for job_id in ids]

    def key(self, job_id: str) -> str:
        """Where the job's record lies."""
        return self.key_template.format(id=job_id)


def _seconds(time: tuple[int, int]) -> float:
    """Redis' answer to TIME in seconds since 1970."""
    return time[0] + time[1] / 1e6


_SUBMIT = """
local waiting, at_most = redis.call('ZCARD', KEYS[1]), tonumber(ARGV[1])
if at_most > 0 and waiting >= at_most then
  if #KEYS > 4 then redis.call('UNLINK', unpack(KEYS, 5)) end
  return waiting
end
local last = 7 + tonumber(ARGV[7])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('HSET', KEYS[2], unpack(ARGV, 8, last))
redis.call('HSET', KEYS[2], 'created', now)
if tonumber(ARGV[3]) > 0 then redis.call('HSET', KEYS[2], 'expires', now + ARGV[3]) end
redis.call('EXPIRE', KEYS[2], ARGV[4])
redis.call('ZADD', KEYS[3], now, ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[3], 0, ARGV[5])
redis.call('HSET', KEYS[4], unpack(ARGV, last + 1))
redis.call('EXPIRE', KEYS[4], ARGV[4])
redis.call('ZADD', KEYS[1], now, ARGV[6])
return false
"""

_BEGIN_WRITING = """
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
redis.call('HSET', KEYS[1], 'writing', 1)
return 1
"""

_FINISH = f"""
{FORGET}
{MARK_DELETED}
if #KEYS > 5 then
  redis.call('UNLINK', unpack(KEYS, 6))
  mark_deleted()
end
if ARGV[7] ~= '' then forget(ARGV[7], KEYS[4], KEYS[5], ARGV[8]) end
local state = redis.call('HGET', KEYS[1], 'state')
if state ~= 'queued' and state ~= 'running' then return 0 end
if ARGV[1] == 'canceled' and redis.call('HEXISTS', KEYS[1], 'writing') == 1 then return 0 end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'finished', time[1] + time[2] / 1000000, ARGV[2], ARGV[3])
local ttl, brief = unpack(redis.call('HMGET', KEYS[1], 'ttl', 'brief'))
if brief then redis.call('ZREM', KEYS[3], ARGV[6]) end
redis.call('EXPIRE', KEYS[1], brief or ttl)
redis.call('RPUSH', KEYS[2], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[5])
return 1
"""

_KEEP = """
if redis.call('HDEL', KEYS[1], 'brief') == 0 then return end
local ttl, created = unpack(redis.call('HMGET', KEYS[1], 'ttl', 'created'))
redis.call('EXPIRE', KEYS[1], ttl)
redis.call('ZADD', KEYS[2], created, ARGV[1])
"""

_ADVANCE = """
if redis.call('HGET', KEYS[1], 'state') ~= 'running' then return end
redis.call('HSET', KEYS[1], 'done', ARGV[1], 'moved', ARGV[2])
"""

_RECORD = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2]) == 0 then return 0 end
redis.call('HINCRBY', KEYS[1], ARGV[3], 1)
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'moved', time[1] + time[2] / 1000000)
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
"""
