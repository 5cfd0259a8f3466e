"""The master that sentinels watch: how a `sentinel://` URL is read, and connections that go where the master goes.

After a failover the old master may live on for ten seconds before it learns that it is a replica, and what is written
to it meanwhile is lost. So a connection asks the sentinels once a second where the master is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import redis
from redis.connection import SSLConnection
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

from speaker_tasks.settings import Settings
from speaker_tasks.tls import tls_options

SCHEME = "sentinel://"
PORT = 26379
LOOK_SECONDS = 1.0
"""How often a process asks the sentinels, for each of its pools of connections."""
ANSWER_SECONDS = 1.0
"""How long one sentinel may take to answer before the next one is asked."""

_looking = threading.Lock()
_masters: dict[str, tuple[float, tuple[str, int] | None]] = {}
"""When this process last looked for each master, and its address then."""


@dataclass(frozen=True)
class Watched:
    """What a `sentinel://` URL says: the sentinels, and how the master is spoken to."""

    sentinels: tuple[tuple[str, int], ...]
    username: str | None
    password: str | None
    database: int

    @classmethod
    def of(cls, url: str) -> Watched:
        """The first user, password and database of the URL's parts count."""
        parts = [urlsplit(one if "://" in one else SCHEME + one) for one in url.split(";")]
        return cls(
            sentinels=tuple((part.hostname or "localhost", part.port or PORT) for part in parts),
            username=_first(parts, "username"),
            password=_first(parts, "password"),
            database=next((int(part.path[1:]) for part in parts if part.path[1:].isdigit()), 0),
        )


def is_watched(settings: Settings) -> bool:
    """Whether the settings name sentinels."""
    return (settings.redis_url or "").startswith(SCHEME)


def sentinel_options(settings: Settings) -> dict[str, Any]:
    """How the sentinels themselves are spoken to, which may have another password than the servers."""
    options: dict[str, Any] = {"socket_timeout": ANSWER_SECONDS, "socket_connect_timeout": ANSWER_SECONDS}
    if settings.sentinel_password:
        options["password"] = settings.sentinel_password
    if settings.sentinel_user:
        options["username"] = settings.sentinel_user
    return options | ({"ssl": True} | tls_options(settings) if settings.redis_tls else {})


def master_client(url: str, settings: Settings, connections: int, options: Mapping[str, Any]) -> redis.Redis:
    """A client of the master, wherever it is."""
    watched = Watched.of(url)
    access = {"username": watched.username, "password": watched.password, "db": watched.database}
    sentinel = Sentinel(watched.sentinels, sentinel_kwargs=sentinel_options(settings))
    kind: type[SentinelManagedConnection] = FollowingConnection
    if settings.redis_tls:
        kind, access = FollowingTLSConnection, access | tls_options(settings)
    pool = SentinelConnectionPool(
        settings.redis_master, sentinel, max_connections=connections, connection_class=kind, **access, **options
    )
    return redis.Redis(connection_pool=pool)


def has_moved(connection: SentinelManagedConnection) -> bool:
    """Whether the master has moved away from the connection's address; False if no sentinel answers.

    The connections of a process share the answer.
    """
    pool: Any = connection.connection_pool
    watched = f"{pool.service_name}@{pool.sentinel_manager!r}"
    with _looking:
        looked, address = _masters.get(watched, (float("-inf"), None))
        if time.monotonic() - looked > LOOK_SECONDS:
            with suppress(redis.RedisError):
                address = pool.get_master_address()
            _masters[watched] = time.monotonic(), address
    return address is not None and address != (connection.host, connection.port)


class MasterConnection(SentinelManagedConnection):
    """Asks the sentinels whenever it connects: redis-py's own goes back to where it was, if it connects to send."""

    greeting = False
    """Whether it is connecting: what it sends then is part of that."""

    def connect(self) -> None:
        """Connect to the master of this moment. Raises `redis.ConnectionError`."""
        self.greeting = True
        try:
            super().connect()
        finally:
            self.greeting = False

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send a command."""
        if not self.greeting and not self.is_connected:
            self.connect()
        super().send_packed_command(command, check_health=check_health)


class FollowingConnection(MasterConnection):
    """Looks where the master is before each command, and connects anew where it has moved."""

    def follows(self) -> bool:
        """Whether it does so."""
        return True

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send a command to the master of this moment."""
        if self.follows() and not self.greeting and self.is_connected and has_moved(self):
            self.disconnect()
        super().send_packed_command(command, check_health=check_health)


class FollowingTLSConnection(FollowingConnection, SSLConnection):
    """The same, encrypted."""


class BrokerConnection(FollowingConnection):
    """For kombu. Its event loop waits at the socket of one connection, of a class that it derives from this one.

    That connection must not reconnect by itself, since the loop would wait on at the old socket: if nothing came and
    the master has moved, it fails, and Celery's consumer starts again. All others reconnect by themselves.
    """

    @property
    def is_waited_at(self) -> bool:
        """Whether it is the event loop's."""
        return type(self) not in (BrokerConnection, BrokerTLSConnection)

    def follows(self) -> bool:
        """Whether it reconnects by itself when the master moves."""
        return not self.is_waited_at

    def read_response(self, *args: Any, **options: Any) -> Any:
        """The next answer. Raises `redis.ConnectionError` if there is none and the master has moved."""
        answer = super().read_response(*args, **options)
        if answer is None and self.is_waited_at and not self.greeting and has_moved(self):
            self.disconnect()
            raise redis.ConnectionError("the sentinels name another master")
        return answer


class BrokerTLSConnection(BrokerConnection, SSLConnection):
    """The same, encrypted."""


def _first(parts: list[SplitResult], name: str) -> str | None:
    return next((unquote(value) for part in parts if (value := getattr(part, name))), None)
