"""The worker's pulse: one thread that says "alive", keeps what runs from being given to others, watches the model."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import redis
from celery.worker import state

from speaker_tasks.celery_app import QUEUES
from speaker_tasks.embedding.batchfigures import Metrics
from speaker_tasks.errors import SpeakerTasksError
from speaker_tasks.heartbeat import WorkerRecord, WorkerRegistry
from speaker_tasks.outbox import Outbox
from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.wire import UNACKED_INDEX

logger = logging.getLogger(__name__)

STALLED_STATUS = 70
"""Exit status of a worker whose network stopped answering."""


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


class Lost:
    """Finds messages that lie nowhere, twice in a row and long after they were sent, and sends them again."""

    def __init__(self, outbox: Outbox, patience: float, queues: Sequence[str]) -> None:
        self.outbox, self.patience, self.queues = outbox, patience, queues
        self._suspects: set[str] = set()
        self._looked = float("-inf")

    def look(self, now: float) -> None:
        """Look, if half of the patience has passed since the last look."""
        if now - self._looked < self.patience / 2:
            return
        self._looked = now
        missing = self.outbox.missing(self.patience, self.queues)
        for message in sorted(missing & self._suspects):
            if self.outbox.send_again(message, self.patience):
                logger.warning("task %s was lost on its way and is sent again", message)
        self._suspects = missing


class Pulse:
    """Beats every `heartbeat_seconds` from `start` to `stop`."""

    def __init__(self, context: WorkerContext, record: WorkerRecord) -> None:
        self.context, self.record = context, record
        self.registry = WorkerRegistry(context.redis, context.settings.heartbeat_seconds)
        self._stall = Stall(context.settings.stall_seconds)
        self._loaded = False
        self._lost = Lost(context.outbox, context.settings.visibility_timeout, QUEUES)
        self._leaving, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin to beat; only after the network has run."""
        if not self._thread.is_alive() and not self._ended.is_set():
            self._thread.start()

    def leave(self) -> None:
        """Say no more that work is welcome, but keep what runs. Safe in a signal handler."""
        self._leaving.set()
        self.context.intake.close()

    def stop(self) -> None:
        """End the thread and the batcher, and take the record away."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._leave()
        self.context.batcher.stop()

    def _run(self) -> None:
        while True:
            self._watch()
            try:
                self._beat()
            except (redis.RedisError, SpeakerTasksError) as error:
                logger.warning("no heartbeat: %s", error)
            if self._ended.wait(self.context.settings.heartbeat_seconds):
                return

    def _beat(self) -> None:
        if not self._loaded:
            self._load_banks()
        touch_running(self.context.redis, self.context.intake.held())
        self._lost.look(time.monotonic())
        if self._leaving.is_set():
            self.registry.leave(self.record.id)
        else:
            self.registry.beat(replace(self.record, network=self.context.batcher.metrics().to_dict()))

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

    def _leave(self) -> None:
        try:
            self.registry.leave(self.record.id)
        except redis.RedisError:
            logger.info("the record of this worker expires by itself")


def touch_running(client: redis.Redis, taken: Sequence[str] = ()) -> None:
    """Renew the visibility of the messages that this worker holds, so that only a dead worker's are given to others.

    `taken` are the tags of those that its threads took by themselves.
    """
    try:
        held = [*state.reserved_requests, *state.scheduled_requests]  # type: ignore[attr-defined]  # not in the stubs
        tags = [*taken, *(request.message.delivery_tag for request in held)]
    except RuntimeError:  # the set grew while it was read; the next beat will do
        return
    if tags:
        client.zadd(UNACKED_INDEX, dict.fromkeys(tags, time.time()), xx=True)
