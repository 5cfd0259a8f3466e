"""Worker records in Redis: who is alive, with which model, on what device; each lasts while its worker renews it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import orjson
import redis

from speaker_tasks.jobs.delivery import GRACE_KEY, WORKER_KEY

MISSED_BEATS = 3
"""A worker that stays silent for so many beats counts as gone."""
NAMED_SECONDS = 60.0
"""How often a worker's name is written again, in case that Redis lost it."""


@dataclass(frozen=True)
class WorkerRecord:
    """What a worker says of itself. It says so only after the network has run, so a record means: warm."""

    id: str
    host: str
    pid: int
    model: str
    """Model id: name and hash of the weights."""
    device: str
    runtime: str
    precision: str
    started: float
    """Seconds since 1970."""
    queues: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    """The folders of recordings that it sees."""
    place: str = ""
    """Shared by workers that can do the same: see `jobs.places`."""
    warm: bool = True
    leaving: bool = False
    """It takes no more, but ends what it has."""
    skew: float = 0.0
    """Seconds that its machine's clock is ahead of Redis'."""
    network: dict[str, float] = field(default_factory=dict)
    """What its batcher has done: see `embedding.batcher.Metrics.to_dict`."""

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> WorkerRecord:
        """The record of what `asdict` gave; fields that a newer version writes are passed over."""
        values: dict[str, Any] = {one.name: stored[one.name] for one in fields(cls) if one.name in stored}
        return cls(**values | {name: tuple(values.get(name, ())) for name in ("queues", "roots")})


class WorkerRegistry:
    """The records of the living workers: a key each that Redis forgets when its worker is silent, and their names."""

    key_template = WORKER_KEY + "{id}"
    index_key = "speaker:workers"

    def __init__(self, client: redis.Redis, interval: float) -> None:
        self.client = client
        self.life = MISSED_BEATS * interval
        self._named: dict[str, float] = {}

    def beat(self, record: WorkerRecord) -> None:
        """Say that the worker is alive, for `life` seconds.

        If it could not say so in time, others could not either, most likely: they have as long before they count as
        dead. Only once in two `life`s, so that a worker which is always late does not keep dead ones from being missed.
        """
        pipe = self.client.pipeline(transaction=False)
        again = "again" if record.id in self._named else ""
        values = (orjson.dumps(asdict(record)), int(self.life * 1000), again)
        pipe.eval(_BEAT, 3, self.key_template.format(id=record.id), GRACE_KEY, GRACE_KEY + ":lately", *values)
        if time.monotonic() - self._named.get(record.id, float("-inf")) > NAMED_SECONDS:
            self._named[record.id] = time.monotonic()
            pipe.eval(_NAME, 1, self.index_key, record.id)
        pipe.execute()

    def ages(self, workers: Sequence[WorkerRecord]) -> list[float]:
        """Seconds since the last beat of each, by Redis' clock."""
        pipe = self.client.pipeline(transaction=False)
        for worker in workers:
            pipe.pttl(self.key_template.format(id=worker.id))
        return [max(0.0, self.life - max(0, left) / 1000) for left in pipe.execute()] if workers else []

    def skew(self) -> float:
        """Seconds that this machine's clock is ahead of Redis', give or take half a round trip."""
        before = time.time()
        seconds, micros = self.client.time()
        return (before + time.time()) / 2 - (seconds + micros / 1e6)

    def leave(self, worker_id: str) -> None:
        """Say that the worker ends."""
        pipe = self.client.pipeline()
        pipe.unlink(self.key_template.format(id=worker_id))
        pipe.zrem(self.index_key, worker_id)
        pipe.execute()

    def alive(self) -> list[WorkerRecord]:
        """The living workers that take work, by id."""
        ids: Any = self.client.zrange(self.index_key, 0, -1)
        if not ids:
            return []
        stored: Any = self.client.mget([self.key_template.format(id=worker.decode()) for worker in ids])
        records = [WorkerRecord.from_dict(orjson.loads(one)) for one in stored if one]
        return sorted((one for one in records if not one.leaving), key=lambda worker: worker.id)


_BEAT = """
if ARGV[3] ~= '' and redis.call('EXISTS', KEYS[1]) == 0 and redis.call('SET', KEYS[3], '', 'PX', 2 * ARGV[2], 'NX') then
  redis.call('SET', KEYS[2], '', 'PX', ARGV[2])
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
"""

_NAME = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], 0, now - 3600)
"""
