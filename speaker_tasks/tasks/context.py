"""What every task of a worker shares: the model, the banks, the stores; put here once when the worker starts."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field

import numpy as np
import redis
from celery import Celery

from banks.active import ActiveMode
from banks.index import IndexRules
from banks.store import BankStore
from speaker_tasks.celery_app import redis_client
from speaker_tasks.embedding.batcher import Batcher
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.embedding.limits import Limits, measured, threads_for
from speaker_tasks.embedding.machine import share_of_processors
from speaker_tasks.errors import Busy
from speaker_tasks.jobs import JobStore
from speaker_tasks.jobs.audio import AudioStore
from speaker_tasks.jobs.delivery import Deliveries
from speaker_tasks.jobs.heartbeat import WorkerRegistry
from speaker_tasks.jobs.places import Places, place_of, visible
from speaker_tasks.operations.banks import BankKeeper
from speaker_tasks.settings import Settings
from speaker_tasks.tasks.gate import Gate
from speaker_tasks.tasks.thresholds import TermsKeeper
from speaker_tasks.tasks.turns import Turns

WAITING_FOR_A_TURN = 2
"""Threads that may wait while another one decodes a recording that takes long."""
BULK_SECONDS = 600.0
"""How long bulk work waits for a network that is busy with people who wait."""
RETRY_SECONDS = 0.2
SPARE_CONNECTIONS = 4
"""Connections to Redis beyond those of threads: heartbeat, banks."""


@dataclass(frozen=True)
class WorkerContext:
    """One worker's parts; all of them may be used by several threads at once."""

    app: Celery
    settings: Settings
    worker: str
    """Its id, by which its heartbeat and what it runs are known."""
    embedder: Embedder
    roots: tuple[str, ...]
    """The folders of recordings that it sees."""
    place: str
    """Its place, and that of all workers that can do the same."""
    places: Places
    threads: int
    """Of its pool."""
    bulk: threading.BoundedSemaphore
    """Who does bulk work has one of so many places; the other threads are for who waits for an answer."""
    batcher: Batcher
    gate: Gate
    redis: redis.Redis
    audio: AudioStore
    jobs: JobStore
    questions: JobStore
    """The same jobs, whose records are kept for a short time."""
    deliveries: Deliveries
    banks: BankStore
    keeper: BankKeeper
    active: ActiveMode
    terms: TermsKeeper
    turns: Turns = field(default_factory=lambda: Turns(WAITING_FOR_A_TURN))
    leaving: threading.Event = field(default_factory=threading.Event)
    """The worker is about to end: what can stop stops."""

    def submit_bulk(
        self, spectrograms: Sequence[np.ndarray], check: Callable[[], None] = lambda: None
    ) -> Future[np.ndarray]:
        """As `Batcher.submit`, for work that nobody waits for: while there is no room it tries again.

        `check` is called between the tries; what it raises ends them. Raises Busy after `BULK_SECONDS`.
        """
        deadline = time.monotonic() + BULK_SECONDS
        while True:
            try:
                return self.batcher.submit(spectrograms, timeout=BULK_SECONDS, bulk=True)
            except Busy:
                if time.monotonic() > deadline:
                    raise
                check()
                time.sleep(RETRY_SECONDS)


_installed: list[WorkerContext] = []


def build(app: Celery, settings: Settings, embedder: Embedder) -> WorkerContext:
    """The context of a worker whose model is loaded. Starts the batcher's thread; connects to Redis at first use."""
    limits = _limits(settings, embedder)
    threads = settings.concurrency + (settings.reserved_threads or threads_for(embedder, limits.max_batch))
    client = redis_client(settings, connections=threads + SPARE_CONNECTIONS)
    host = socket.gethostname()
    keeper = BankKeeper(client, settings)
    banks = keeper.store
    active = ActiveMode(
        banks,
        ai=settings.ai_bank,
        moring=settings.moring_bank,
        legacy_model=settings.legacy_model,
        size=embedder.embedding_size,
        index=IndexRules(settings.match_storage, settings.approximate_from),
        model=lambda: embedder.model_id,
    )
    roots = visible(settings.data_roots)
    place = place_of(embedder.model_id, roots)
    return WorkerContext(
        app=app,
        roots=roots,
        place=place,
        places=Places(WorkerRegistry(client, settings.heartbeat_seconds).alive, place),
        settings=settings,
        worker=f"{host}-{os.getpid()}-{int(time.time()):x}",
        embedder=embedder,
        threads=threads,
        bulk=threading.BoundedSemaphore(settings.concurrency),
        batcher=Batcher(embedder, **asdict(limits), max_queue=2 * threads + 16),
        gate=Gate(max(1, share_of_processors(settings.workers) - 1)),
        redis=client,
        audio=AudioStore(client, settings.payload_ttl),
        jobs=JobStore(client, settings.job_ttl),
        questions=JobStore(client, settings.result_ttl),
        deliveries=Deliveries(client, app, settings.job_ttl),
        banks=banks,
        keeper=keeper,
        active=active,
        terms=TermsKeeper(settings, embedder, keeper),
    )


def _limits(settings: Settings, embedder: Embedder) -> Limits:
    limits = measured(embedder)
    max_wait = limits.max_wait_ms if settings.max_wait_ms is None else settings.max_wait_ms
    return Limits(settings.max_batch or limits.max_batch, max_wait)


def install(context: WorkerContext) -> None:
    """Make `context` the one of this process."""
    _installed[:] = [context]


def current() -> WorkerContext:
    """The context of this process. Raises `RuntimeError` outside of a worker."""
    if not _installed:
        raise RuntimeError("no worker was started in this process")
    return _installed[0]
