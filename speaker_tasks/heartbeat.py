"""Worker records in Redis: who is alive, with which model, on what device; each lasts while its worker renews it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson
import redis

MISSED_BEATS = 3
"""A worker that stays silent for so many beats counts as gone."""


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
    warm: bool = True
    network: dict[str, float] = field(default_factory=dict)
    """What its batcher has done: see `embedding.batcher.Metrics.to_dict`."""


class WorkerRegistry:
    """The records of the living workers: a key each with a short life, and a sorted set that names them."""

    key_template = "speaker:worker:{id}"
    index_key = "speaker:workers"

    def __init__(self, client: redis.Redis, interval: float) -> None:
        self.client = client
        self.life = MISSED_BEATS * interval

    def beat(self, record: WorkerRecord) -> None:
        """Say that the worker is alive, for `life` seconds."""
        now = time.time()
        pipe = self.client.pipeline()
        pipe.set(self.key_template.format(id=record.id), orjson.dumps(asdict(record)), px=int(self.life * 1000))
        pipe.zadd(self.index_key, {record.id: now})
        pipe.zremrangebyscore(self.index_key, 0, now - 3600)
        pipe.execute()

    def leave(self, worker_id: str) -> None:
        """Say that the worker ends."""
        pipe = self.client.pipeline()
        pipe.unlink(self.key_template.format(id=worker_id))
        pipe.zrem(self.index_key, worker_id)
        pipe.execute()

    def alive(self) -> list[WorkerRecord]:
        """The living workers, by id."""
        ids: Any = self.client.zrange(self.index_key, 0, -1)
        if not ids:
            return []
        stored = self.client.mget([self.key_template.format(id=worker.decode()) for worker in ids])
        records = [orjson.loads(one) for one in stored if one]
        return sorted((WorkerRecord(**one | {"queues": tuple(one["queues"])}) for one in records), key=lambda w: w.id)
