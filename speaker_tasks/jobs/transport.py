"""kombu's Redis transport, patient with a server that is away or refuses to write.

kombu 5.7 gives unacknowledged messages back when a channel closes, and acknowledges what ends later, over a connection
that may be gone by then: it fails with an AttributeError, which Celery takes for the end of the worker. It also lets go
of a message that it has just taken if the server refuses to write it down as taken. Neither is needed here: what a
broken connection or a full server leaves behind is sent again by the sweep of the job records, or dropped if its job
has ended. The settings name these classes (`broker_transport`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual

from speaker_tasks.redis_server import check_writable, refusal
from speaker_tasks.sentinels import BrokerConnection, BrokerTLSConnection

logger = logging.getLogger(__name__)

TRY_SECONDS = 0.3
SAY_SECONDS = 10.0
"""How often the log says that a worker waits."""


class RetryingQoS(kombu_redis.QoS):
    """Acknowledges and gives back what it can."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Take a message; without a note in Redis if that refuses to write, since the job's record has one."""
        try:
            super().append(message, delivery_tag)
        except redis.ResponseError as refused:
            logger.warning("a message is taken without a note of it: %s", refused)
            virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge."""
        self._settled(super().ack, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject, or give back."""
        self._settled(super().reject, delivery_tag, requeue)

    def restore_unacked_once(self, stderr: Any = None) -> None:
        """Give messages back if there is a connection to do it by."""
        if self._connected():
            super().restore_unacked_once(stderr)

    def _settled(self, settle: Any, delivery_tag: str, *more: bool) -> None:
        try:
            if self._connected():
                settle(delivery_tag, *more)
                return
        except redis.RedisError as refused:
            logger.warning("a message stays with Redis until its visibility timeout: %s", refused)
        virtual.QoS.ack(self, delivery_tag)

    def _connected(self) -> bool:
        return getattr(self.channel.connection, "client", None) is not None


class KeptClient:
    """A channel that makes its client once and not for each command, which takes longer than the command."""

    pool: redis.ConnectionPool
    Client: Callable[..., redis.Redis]
    connection: Any
    _disconnect_pools: Callable[[], None]
    kept: redis.Redis | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        """Raises what redis-py raises if the server does not answer a worker, or forbids it to write."""
        try:
            super().__init__(*args, **options)
            if self.connection.client.transport_options.get("wait_for_server"):
                with self.conn_or_acquire() as client:
                    check_writable(client)
        except Exception:
            self._leave()
            raise

    def _leave(self) -> None:
        """Close the connections, and give the channel's number back: a worker may try for hours."""
        transport = self.connection
        transport.cycle.discard(self)
        self._disconnect_pools()
        transport.close_channel(self)

    @contextmanager
    def conn_or_acquire(self, client: redis.Redis | None = None) -> Iterator[redis.Redis]:
        """The client that is given, or the channel's own."""
        if client is None:
            pool = self.pool  # another one after each reconnection
            if self.kept is None or self.kept.connection_pool is not pool:
                self.kept = self.Client(connection_pool=pool)
            client = self.kept
        yield client


class Channel(KeptClient, kombu_redis.Channel):  # type: ignore[misc]  # kombu has no types
    """A channel to one server."""

    QoS = RetryingQoS


class SentinelChannel(KeptClient, kombu_redis.SentinelChannel):  # type: ignore[misc]
    """A channel to the master that sentinels watch."""

    QoS = RetryingQoS
    connection_class = BrokerConnection
    connection_class_ssl = BrokerTLSConnection


class WaitingForServer:
    """A transport that keeps trying to connect: the worker's consumer until it is to stop, other threads for a while.

    Celery would pause for longer after each try, up to half a minute: so a worker comes back within a second.
    """

    client: Any

    def establish_connection(self) -> Any:
        """Connect, within `wait_for_server` seconds (a transport option). Raises what the last try raised."""
        timeout = self.client.transport_options.get("wait_for_server", 0.0)
        consumes = timeout and threading.current_thread() is threading.main_thread()
        deadline, said = time.monotonic() + timeout, float("-inf")
        while True:
            try:
                return super().establish_connection()  # type: ignore[misc]
            except (redis.RedisError, OSError) as error:
                if consumes:
                    _stop_if_asked()
                elif time.monotonic() > deadline:
                    raise
                if time.monotonic() - said > SAY_SECONDS:
                    said = time.monotonic()
                    logger.warning("waiting for Redis: %s (%s)", refusal(error).message, error)
                time.sleep(TRY_SECONDS)


def _stop_if_asked() -> None:
    """Leave if the worker is to end, as Celery's own loop does: it has no other way to ask.

    Raises `WorkerShutdown`, `WorkerTerminate`.
    """
    from celery.worker import state

    state.maybe_shutdown()


class Transport(WaitingForServer, kombu_redis.Transport):
    """For `redis://` and `rediss://`."""

    Channel = Channel


class SentinelTransport(WaitingForServer, kombu_redis.SentinelTransport):
    """For `sentinel://`."""

    Channel = SentinelChannel
