"""The Celery application and the Redis client: queues, serializers, delivery guarantees. No model, no tasks.

Delivery is at least once: a message is acknowledged after its task has returned. On Redis, the message of a killed
worker comes back after the visibility timeout. kombu takes that timeout from the broker's options, Celery's result
backend from its own, and other parts from a setting of that name; all three are given. kombu looks for such messages
every `unacked_restore_interval` seconds, times `unacked_restore_throttle`: by default once in 100 s, here every second.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit

import redis
from celery import Celery
from kombu import Exchange, Queue
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.settings import Settings

RECOGNIZE_QUEUE = "recognize"
"""Someone is waiting for these."""
ENROLL_QUEUE = "enroll"
"""Bulk work."""
OTHER_QUEUE = "recognize-other"
"""Messages of `recognize` that are not of our making (see intake.py); Celery's consumer does them."""
SERVED = (RECOGNIZE_QUEUE, ENROLL_QUEUE)
"""What a worker may be told to serve."""
QUEUES = (*SERVED, OTHER_QUEUE)

CONNECT_SECONDS = 2.0
"""How long a new connection to Redis may take before the server counts as away."""
ANSWER_SECONDS = 10.0
"""How long Redis may take to answer; blocking reads ask for less at a time."""
RESTORE_SECONDS = 1
SOFT_SHUTDOWN_SECONDS = 10.0


def make_celery(settings: Settings) -> Celery:
    """The application that the worker, the client and Flower share. Raises `ConfigurationError` without a Redis URL."""
    app = Celery("speaker_tasks", set_as_current=False)
    app.conf.update(_delivery(settings), **_messages(settings), **_worker(settings))
    return app


def redis_url(settings: Settings) -> str:
    """The URL of the Redis server. Raises `ConfigurationError` if there is none or its scheme is unknown."""
    if not settings.redis_url:
        raise ConfigurationError("SPEAKER_REDIS_URL is not set; `speaker-tasks up` starts a server of its own")
    scheme = settings.redis_url.partition("://")[0]
    if scheme not in ("redis", "rediss", "sentinel"):
        raise ConfigurationError(f"the Redis URL has the scheme {scheme!r}; redis, rediss and sentinel are known")
    return settings.redis_url


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
    if url.startswith("sentinel://"):
        return _sentinel_client(url, settings.redis_master, connections, options)
    try:
        pool = redis.BlockingConnectionPool.from_url(
            url, max_connections=connections, timeout=ANSWER_SECONDS, **options
        )
    except ValueError as error:
        raise ConfigurationError(f"the Redis URL cannot be read: {error}") from None
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
    visibility = {"visibility_timeout": settings.visibility_timeout}
    sentinel = {"master_name": settings.redis_master} if url.startswith("sentinel://") else {}
    sockets = {"socket_connect_timeout": CONNECT_SECONDS, "socket_keepalive": True}
    return {
        "broker_url": url,
        "result_backend": url,
        "broker_transport_options": {
            **visibility,
            **sentinel,
            **sockets,
            "unacked_restore_interval": RESTORE_SECONDS,
            "unacked_restore_throttle": 1,
            # Who dies while it gives messages back keeps others from it for so long; kombu's own choice is 300 s.
            "unacked_mutex_expire": 10,
            "queue_order_strategy": "priority",
            "max_connections": max(settings.web_threads, settings.concurrency) + 16,
        },
        "result_backend_transport_options": {**visibility, **sentinel},
        "visibility_timeout": settings.visibility_timeout,
        "broker_pool_limit": settings.web_threads,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_acks_late": True,
        "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.2},
    }


def _messages(settings: Settings) -> dict[str, Any]:
    return {
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        # The job's record holds the result; see jobs.py.
        "task_ignore_result": True,
        "result_expires": settings.result_ttl,
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        "task_default_queue": RECOGNIZE_QUEUE,
        "task_create_missing_queues": False,
        "task_routes": {"speaker_tasks.enroll_*": {"queue": ENROLL_QUEUE}},
    }


def _worker(settings: Settings) -> dict[str, Any]:
    return {
        "worker_pool": "threads",
        "worker_concurrency": settings.concurrency,
        "worker_prefetch_multiplier": 1,
        # Three messages a task, a millisecond of the worker's one thread of Python: sent while Flower asks for them.
        "worker_send_task_events": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_soft_shutdown_timeout": SOFT_SHUTDOWN_SECONDS,
        "worker_detect_quorum_queues": False,
    }


def _sentinel_client(url: str, master: str, connections: int, options: dict[str, Any]) -> redis.Redis:
    parts = [urlsplit(one if "://" in one else f"sentinel://{one}") for one in url.split(";")]
    password = next((unquote(part.password) for part in parts if part.password), None)
    database = next((int(part.path[1:]) for part in parts if part.path[1:].isdigit()), 0)
    sentinels = [(part.hostname or "localhost", part.port or 26379) for part in parts]
    timeouts = {"socket_timeout": CONNECT_SECONDS, "socket_connect_timeout": CONNECT_SECONDS}
    watched = Sentinel(sentinels, sentinel_kwargs=timeouts, db=database, password=password, **options)
    pool = SentinelConnectionPool(
        master, watched, max_connections=connections, db=database, password=password, **options
    )
    return redis.Redis(connection_pool=pool)
