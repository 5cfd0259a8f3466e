"""A real, empty Redis for each test that asks: one embedded server for the session, emptied between tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from speaker_tasks.launcher.server import server_binary


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a server without persistence."""
    folder = tmp_path_factory.mktemp("valkey")
    socket = folder / "s"
    command = [server_binary(), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    retry = Retry(ConstantBackoff(0.02), retries=3000, supported_errors=(RedisConnectionError, FileNotFoundError))
    Redis(unix_socket_path=str(socket), retry=retry).ping()
    yield socket
    server.terminate()
    server.wait(30)


@pytest.fixture
def redis(redis_server: Path) -> Iterator[Redis]:
    client = Redis(unix_socket_path=str(redis_server))
    client.flushall()
    yield client
    client.close()
