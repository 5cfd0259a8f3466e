"""What every task of a worker shares: the model, the banks, the stores; put here once when the worker starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import redis
from celery import Celery

from banks.active import ActiveMode
from banks.index import IndexRules
from banks.store import BankStore
from speaker_tasks.bankkeeper import BankKeeper
from speaker_tasks.celery_app import RECOGNIZE_QUEUE, redis_client
from speaker_tasks.embedding.batcher import Batcher
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.embedding.limits import Limits, measured, threads_for
from speaker_tasks.embedding.machine import share_of_processors
from speaker_tasks.intake import Intake
from speaker_tasks.jobs import JobStore
from speaker_tasks.outbox import Outbox
from speaker_tasks.payloads import AudioStore, RedisAudioStore
from speaker_tasks.recent import Recent
from speaker_tasks.settings import Settings
from speaker_tasks.tasks.gate import Gate
from speaker_tasks.tasks.terms import TermsKeeper

SPARE_CONNECTIONS = 4
"""Connections to Redis beyond those of threads: heartbeat, banks."""


@dataclass(frozen=True)
class WorkerContext:
    """One worker's parts; all of them may be used by several threads at once."""

    app: Celery
    settings: Settings
    embedder: Embedder
    recent: Recent
    reserved: int
    """Threads that do recognitions, and nothing else."""
    batcher: Batcher
    gate: Gate
    redis: redis.Redis
    audio: AudioStore
    jobs: JobStore
    outbox: Outbox
    intake: Intake
    banks: BankStore
    keeper: BankKeeper
    active: ActiveMode
    terms: TermsKeeper
    token: bytes | None = None
    """The banks' token as the task's message brought it; None: nobody has looked yet."""


_installed: list[WorkerContext] = []


def build(app: Celery, settings: Settings, embedder: Embedder) -> WorkerContext:
    """The context of a worker whose model is loaded. Starts the batcher's thread; connects to Redis at first use."""
    limits = _limits(settings, embedder)
    reserved = settings.reserved_threads or threads_for(embedder, limits.max_batch)
    threads = settings.concurrency + reserved
    client = redis_client(settings, connections=threads + reserved + SPARE_CONNECTIONS)
    keeper = BankKeeper(client, settings)
    banks = keeper.store
    active = ActiveMode(
        banks,
        ai=settings.ai_bank,
        moring=settings.moring_bank,
        legacy_model=settings.legacy_model,
        index=IndexRules(settings.match_storage, settings.approximate_from),
    )
    return WorkerContext(
        app=app,
        settings=settings,
        embedder=embedder,
        recent=Recent(client, settings.recent_seconds, embedder.model_id),
        reserved=reserved,
        batcher=Batcher(embedder, **asdict(limits), max_queue=2 * threads + 16),
        gate=Gate(max(1, share_of_processors(settings.workers) - 1)),
        redis=client,
        audio=RedisAudioStore(client, settings.payload_ttl),
        jobs=JobStore(client, settings.job_ttl),
        outbox=Outbox(client),
        intake=Intake(client, RECOGNIZE_QUEUE, banks.token_key),
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
