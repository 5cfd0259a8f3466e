"""The Celery application and the Redis client: queues, serializers, delivery guarantees. No model, no tasks.

Delivery is at least once: a message is acknowledged after its task has returned. What a dead worker held, or a server
lost, is sent again by the sweep of the job records (jobs/sweep.py); kombu's own way, the visibility timeout, is longer
than the longest task, and what comes back by it finds its job ended.

`app` is the application of the environment's settings, for whoever names this module: `celery -A
speaker_tasks.celery_app inspect active`. It is made when it is first asked for.
"""

from __future__ import annotations

from functools import cache
from ssl import CERT_REQUIRED
from typing import Any

import redis
from celery import Celery, signals
from kombu import Exchange, Queue
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.redis_server import checked_url, with_options
from speaker_tasks.sentinels import is_watched, master_client, sentinel_options
from speaker_tasks.settings import Settings
from speaker_tasks.tls import tls_options

RECOGNIZE_QUEUE = "recognize"
"""Someone is waiting for these."""
ENROLL_QUEUE = "enroll"
"""Bulk work."""
QUEUES = (RECOGNIZE_QUEUE, ENROLL_QUEUE)
ROUTES = {
    "speaker_tasks.enroll*": {"queue": ENROLL_QUEUE},
    "speaker_tasks.timeline": {"queue": ENROLL_QUEUE},
    "speaker_tasks.*": {"queue": RECOGNIZE_QUEUE},
}

VISIBILITY_SECONDS = 6 * 3600
"""After so long kombu gives an unacknowledged message to another worker; no task takes longer."""
CONNECT_SECONDS = 2.0
"""How long a new connection to Redis may take before the server counts as away."""
ANSWER_SECONDS = 10.0
"""How long Redis may take to answer; blocking reads ask for less at a time."""
BLOCK_SECONDS = 2.0
"""How long a worker waits for a message in one command."""
SOFT_SHUTDOWN_SECONDS = 10.0


def make_celery(settings: Settings) -> Celery:
    """The application that the worker, the client and Flower share. Raises `ConfigurationError` without a Redis URL."""
    app = Celery("speaker_tasks", set_as_current=False)
    app.conf.update(_delivery(settings), **_messages(settings), **_worker(settings))
    return app


def __getattr__(name: str) -> Any:
    if name == "app":
        return _app_of_environment()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _app_of_environment() -> Celery:
    from speaker_tasks.launcher.claim import running_stack

    settings = Settings()
    running = None if settings.redis_url else running_stack(settings.data_dir)
    if running:
        settings = settings.model_copy(update={"redis_url": running.redis_url})
    signals.worker_init.connect(_refuse, weak=False)
    return make_celery(settings)


def _refuse(**_: Any) -> None:
    """A worker without a model would take messages and throw them away."""
    raise SystemExit("`celery worker` loads no model; start one by `speaker-tasks worker`")


def redis_url(settings: Settings) -> str:
    """The URL of the Redis server. Raises `ConfigurationError` if there is none, or it cannot be read."""
    return checked_url(settings.redis_url)


def redis_client(settings: Settings, *, connections: int = 16) -> redis.Redis:
    """A client whose pool holds at most `connections`; who wants one more waits. Connects at the first command."""
    url = redis_url(settings)
    options: dict[str, Any] = {
        "socket_timeout": ANSWER_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": 30,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
    }
    if is_watched(settings):
        return master_client(url, settings, connections, options)
    if url.startswith("rediss://"):
        options |= {"ssl_cert_reqs": "required"} | tls_options(settings)  # what the URL says goes before
    try:
        pool = redis.BlockingConnectionPool.from_url(
            url, max_connections=connections, timeout=ANSWER_SECONDS, **options
        )
    except ValueError as error:
        raise ConfigurationError(f"the options of the Redis URL cannot be read: {error}") from None
    return redis.Redis(connection_pool=pool)


def refuse_cluster(client: redis.Redis) -> None:
    """Raise `ConfigurationError` if the server is a Redis Cluster node, which Celery cannot use as a broker."""
    if client.info("cluster").get("cluster_enabled"):
        raise ConfigurationError(
            "the server of SPEAKER_REDIS_URL is a Redis Cluster, which cannot be a Celery broker; "
            "use a single server or sentinels"
        )


def _delivery(settings: Settings) -> dict[str, Any]:
    url = redis_url(settings)
    if url.startswith("rediss://"):
        url = with_options(url, tls_options(settings))
    visibility = {"visibility_timeout": VISIBILITY_SECONDS}
    watched = is_watched(settings)
    sentinel: dict[str, Any] = {}
    if watched:
        sentinel = {"master_name": settings.redis_master, "sentinel_kwargs": sentinel_options(settings)}
    sockets = {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": ANSWER_SECONDS, "socket_keepalive": True}
    return _tls(settings) | {
        "broker_url": url,
        "broker_transport": f"speaker_tasks.jobs.transport:{'SentinelTransport' if watched else 'Transport'}",
        "result_backend": url,
        "broker_transport_options": {
            **visibility,
            **sentinel,
            **sockets,
            "polling_interval": BLOCK_SECONDS,
            "priority_steps": [0],
            "max_connections": max(settings.web_threads, settings.concurrency) + 16,
        },
        "result_backend_transport_options": {**visibility, **sentinel},
        "broker_pool_limit": settings.web_threads,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A server that refuses a write, or unblocks whoever waits after a failover, ends no worker.
        "broker_channel_error_retry": True,
        "task_acks_late": True,
        "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2},
    }


def _tls(settings: Settings) -> dict[str, Any]:
    """Celery's own settings of TLS to the master that sentinels name; a `rediss://` URL says it by itself."""
    if not settings.redis_tls:
        return {}
    options = {"ssl_cert_reqs": CERT_REQUIRED} | tls_options(settings)
    return {"broker_use_ssl": options, "redis_backend_use_ssl": options}


def _messages(settings: Settings) -> dict[str, Any]:
    return {
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "result_expires": settings.result_ttl,
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        "task_default_queue": RECOGNIZE_QUEUE,
        "task_create_missing_queues": False,
        "task_routes": ROUTES,
    }


def _worker(settings: Settings) -> dict[str, Any]:
    return {
        "worker_pool": "threads",
        "worker_concurrency": settings.concurrency,
        "worker_prefetch_multiplier": 1,
        # Three messages a task, a millisecond of the worker's one thread of Python: sent while Flower asks for them.
        "worker_send_task_events": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_enable_prefetch_count_reduction": False,
        "worker_soft_shutdown_timeout": SOFT_SHUTDOWN_SECONDS,
        "worker_detect_quorum_queues": False,
        "worker_disable_rate_limits": True,
    }
