"""A worker's housekeeping: one thread that says "alive", sweeps up what others left, and watches the model."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import redis
from kombu.exceptions import OperationalError

from speaker_tasks import metrics
from speaker_tasks.celery_app import QUEUES
from speaker_tasks.embedding.batchfigures import Metrics
from speaker_tasks.errors import SpeakerTasksError
from speaker_tasks.jobs.forgetting import Forgetting
from speaker_tasks.jobs.heartbeat import WorkerRecord, WorkerRegistry
from speaker_tasks.jobs.sweep import Sweep
from speaker_tasks.tasks.context import WorkerContext

logger = logging.getLogger(__name__)

STALLED_STATUS = 70
"""Exit status of a worker whose network stopped answering."""


FORGET_SECONDS = 15.0
"""How often it is looked whether Redis has recordings to forget."""
SKEW_SECONDS = 30.0


class Every:
    """Says at most once in `seconds` that something is due; the first time at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._last = seconds, float("-inf")

    def __call__(self) -> bool:
        """Whether it is."""
        due = time.monotonic() - self._last >= self._seconds
        if due:
            self._last = time.monotonic()
        return due


class Stall:
    """Tells when a batcher with work to do has finished none of it for `limit` seconds, or one call takes so long."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._batches = -1
        self._since = 0.0

    def seen(self, metrics: Metrics, now: float) -> bool:
        """Whether it is stalled, judged from this look and those before."""
        idle = not metrics.waiting and not metrics.running_for
        if idle or metrics.batches != self._batches:
            self._batches, self._since = metrics.batches, now
        return now - self._since > self.limit or metrics.running_for > self.limit


class Housekeeping:
    """Beats every `heartbeat_seconds` from `start` to `stop`."""

    def __init__(self, context: WorkerContext, record: WorkerRecord) -> None:
        self.context, self.record = context, record
        interval = context.settings.heartbeat_seconds
        self.registry = WorkerRegistry(context.redis, interval)
        self._sweep = Sweep(context.app, context.redis, context.deliveries, QUEUES, interval=interval)
        self._forget = Forgetting(context.redis, context.settings.forget_seconds)
        self._stall = Stall(context.settings.stall_seconds)
        self._forgetting_is_due, self._skew_is_due = Every(FORGET_SECONDS), Every(SKEW_SECONDS)
        self._skew = 0.0
        self._loaded = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin to beat; only after the network has run, and before the first task is taken."""
        if not self._thread.is_alive() and not self._ended.is_set():
            self._try(self._beat)
            self._thread.start()

    def stop(self) -> None:
        """End the thread and the batcher, and take the record away."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        try:
            self.registry.leave(self.record.id)
        except redis.RedisError:
            logger.info("the record of this worker expires by itself")
        self.context.batcher.stop()

    def _run(self) -> None:
        while True:
            self._watch()
            self._try(self._beat)
            self._try(self._sweep)
            if self._forgetting_is_due() or self._forget.damaged:
                self._try(self._forget)
            if self._ended.wait(self.context.settings.heartbeat_seconds):
                return

    def _try(self, do: Callable[[], None]) -> None:
        try:
            do()
        except (redis.RedisError, OperationalError, SpeakerTasksError) as error:
            self._forget.damaged |= "MISCONF" in str(error)
            logger.warning("no heartbeat, or no sweep: %s", error)

    def _beat(self) -> None:
        if not self._loaded:
            self._load_banks()
        leaving, network = self.context.leaving.is_set(), self.context.batcher.metrics().to_dict()
        if self._skew_is_due():
            self._skew = round(self.registry.skew(), 3)
            metrics.SKEW.set(self._skew)
        self.registry.beat(replace(self.record, leaving=leaving, network=network, skew=self._skew))

    def _load_banks(self) -> None:
        context = self.context
        for load in (context.keeper.restore, partial(context.keeper.load_files, context.active)):
            try:
                load()
            except SpeakerTasksError as error:
                logger.error("banks cannot be loaded: %s", error)
        self._loaded = True

    def _watch(self) -> None:
        if self._stall.seen(self.context.batcher.metrics(), time.monotonic()):
            logger.critical("the model has not answered for %g s: this worker ends itself", self._stall.limit)
            logging.shutdown()
            os._exit(STALLED_STATUS)
