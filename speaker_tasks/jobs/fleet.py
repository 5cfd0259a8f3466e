"""The whole service's figures from Redis, for Prometheus: queues, heartbeats, running enrollments, memory."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

import redis
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from speaker_tasks.jobs.delivery import RUNNING_KEY, task_key, waiting_key
from speaker_tasks.jobs.heartbeat import WorkerRegistry
from speaker_tasks.jobs.store import JobStore

QUEUES = ("recognize", "enroll")

logger = logging.getLogger(__name__)


class Fleet(Collector):
    """Reads the figures at each scrape; while Redis does not answer, `speaker_redis_up` is 0, the rest missing."""

    def __init__(self, client: redis.Redis, registry: WorkerRegistry) -> None:
        self._redis, self._registry = client, registry

    def describe(self) -> Iterator[Metric]:
        """Nothing: registration needs no scrape."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The metric families now."""
        try:
            gauges = [*self._queues(), *self._workers(), *self._enrollments(), *self._memory()]
        except redis.RedisError as error:
            logger.warning("metrics of the queues are missing: %s", error)
            gauges = []
        yield GaugeMetricFamily("speaker_redis_up", "Whether Redis answers.", int(bool(gauges)))
        yield from gauges

    def _queues(self) -> Iterator[Metric]:
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        pipe.hlen(RUNNING_KEY)
        for queue in QUEUES:
            pipe.zcount(waiting_key(queue), "-inf", "+inf")
            pipe.zrange(waiting_key(queue), 0, 0, withscores=True)
        (seconds, micros), running, *seen = pipe.execute()
        now = seconds + micros / 1e6
        depth = GaugeMetricFamily("speaker_queue_depth", "Task messages that have not begun.", labels=["queue"])
        oldest = GaugeMetricFamily("speaker_queue_oldest_seconds", "How long the oldest waits.", labels=["queue"])
        for queue, count, first in zip(QUEUES, seen[::2], seen[1::2], strict=True):
            depth.add_metric([queue], count)
            oldest.add_metric([queue], max(0.0, now - float(first[0][1])) if first else 0.0)
        yield from (depth, oldest, GaugeMetricFamily("speaker_tasks_running", "Tasks that workers run.", running))

    def _workers(self) -> Iterator[Metric]:
        alive = self._registry.alive()
        many = GaugeMetricFamily("speaker_workers", "Workers with a warm model.", labels=["model", "device"])
        for (model, device), count in Counter((one.model, one.device) for one in alive).items():
            many.add_metric([model, device], count)
        yield many
        age = GaugeMetricFamily("speaker_heartbeat_age_seconds", "Since the last heartbeat.", labels=["worker"])
        skew = GaugeMetricFamily("speaker_worker_skew_seconds", "Its clock ahead of Redis'.", labels=["worker"])
        for worker, since in zip(alive, self._registry.ages(alive), strict=True):
            age.add_metric([worker.id], since)
            skew.add_metric([worker.id], worker.skew)
        yield from (age, skew)

    def _enrollments(self) -> Iterator[Metric]:
        """Recordings of the enrollments whose tasks run or wait at this moment."""
        messages: Any = self._redis.hkeys(RUNNING_KEY)
        waiting: Any = self._redis.zrange(waiting_key("enroll"), 0, 200)
        pipe = self._redis.pipeline(transaction=False)
        for message in {*messages, *waiting}:
            pipe.hget(task_key(message.decode()), "job")
        jobs = {job.decode() for job in pipe.execute() if job}
        for job in jobs:
            pipe.hmget(JobStore.key_template.format(id=job), "kind", "total", "done", "failed")
        counts: Counter[str] = Counter()
        for kind, *numbers in pipe.execute() if jobs else ():
            if kind == b"enroll":
                counts["jobs"] += 1
                counts.update(dict(zip(("total", "done", "failed"), (int(one or 0) for one in numbers), strict=True)))
        yield GaugeMetricFamily("speaker_enrollments_running", "Enrollments under way.", counts["jobs"])
        progress = GaugeMetricFamily("speaker_enrollment_recordings", "Their recordings.", labels=["state"])
        for state in ("total", "done", "failed"):
            progress.add_metric([state], counts[state])
        yield progress

    def _memory(self) -> Iterator[Metric]:
        about: Any = self._redis.info("memory")
        yield GaugeMetricFamily("speaker_redis_memory_used_bytes", "Memory of Redis.", about["used_memory"])
        yield GaugeMetricFamily("speaker_redis_memory_max_bytes", "Its bound; 0: none.", about.get("maxmemory", 0))
