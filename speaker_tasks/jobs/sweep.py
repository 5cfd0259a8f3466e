"""The sweep: what a dead worker held, and what was lost on its way, is sent again.

Every worker sweeps with its heartbeat; a lock lets one at a time. Work comes back at once when the heartbeat of the
worker that runs it is gone, but not just after an outage, in which nobody could beat; and after `LOST_SECONDS` when it
has not begun though its queue is empty, or what was sent later has begun. Tasks are idempotent, and a message whose
work is done or held by another does nothing: to send one too many costs little.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import redis
from celery import Celery

from speaker_tasks import logs, metrics
from speaker_tasks.jobs.delivery import GRACE_KEY, WORKER_KEY, Deliveries
from speaker_tasks.jobs.heartbeat import WorkerRegistry
from speaker_tasks.jobs.places import queue_at

logger = logging.getLogger(__name__)

LOST_SECONDS = 15.0
LOOK_SECONDS = 8.0
"""How often it is looked for what was lost on its way: sent again within 30 s, and few commands of an idle worker."""
OVERTAKEN_SECONDS = 2.0
"""What was sent so much later has begun: then it is no longer a matter of two workers' haste."""


class Sweep:
    """One worker's part in it."""

    lock_key = "speaker:tasks:sweep"

    def __init__(
        self, app: Celery, client: redis.Redis, deliveries: Deliveries, queues: Sequence[str], *, interval: float
    ) -> None:
        """Sweeps at most once in `interval` seconds, all workers together."""
        self._app, self._redis, self._deliveries, self._queues = app, client, deliveries, queues
        self._interval = interval
        self._registry = WorkerRegistry(client, interval)
        self._looked = float("-inf")

    def __call__(self) -> None:
        """Sweep, unless another worker has just done so. Raises `redis.RedisError`, kombu's `OperationalError`."""
        if not self._redis.set(self.lock_key, 1, nx=True, px=int(800 * self._interval)):
            return
        self._bring_back()
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            old = self._deliveries.now() - LOST_SECONDS
            for queue in self._queues:
                self._find_lost(queue, old)

    def _bring_back(self) -> None:
        running = self._deliveries.running()
        if not running or self._redis.exists(GRACE_KEY):
            return
        workers = sorted(set(running.values()))
        beats: Any = self._redis.mget([WORKER_KEY + one for one in workers])
        alive = dict(zip(workers, beats, strict=True))
        for message_id, worker in running.items():
            if alive[worker] is None and (message := self._deliveries.reclaim(message_id, worker=worker)):
                metrics.REDELIVERIES.labels("worker_gone").inc()
                logs.event(logger, "sent again", logging.WARNING, job=message.job, task=message_id, gone=worker)
                self._deliveries.send(message)

    def _find_lost(self, queue: str, old: float) -> None:
        lost = self._deliveries.waiting(queue, old)
        if lost and not self._is_empty(queue):
            lost = self._deliveries.waiting(queue, min(old, self._deliveries.reached(queue) - OVERTAKEN_SECONDS))
        if lost:
            time.sleep(self._interval)  # what a worker has taken this moment begins by then
        for message_id in lost:
            if message := self._deliveries.reclaim(message_id, queue=queue):
                metrics.REDELIVERIES.labels("lost").inc()
                logs.event(logger, "sent again", logging.WARNING, job=message.job, task=message_id, lost_in=queue)
                self._deliveries.send(message)

    def _is_empty(self, queue: str) -> bool:
        """Whether nothing waits in the queue, nor in those of the places where a worker lives."""
        places = sorted({"", *(worker.place for worker in self._registry.alive())})
        with self._app.connection_for_write() as connection:
            channel: Any = connection.default_channel
            return not any(channel.queue_declare(queue_at(queue, place)).message_count for place in places)
