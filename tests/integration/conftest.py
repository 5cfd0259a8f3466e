"""Real processes for the tests: one stack for all that leave it as they found it, and a fresh one for the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from banks.active import ActiveMode
from banks.store import BankStore
from speaker_tasks.client import TaskClient
from speaker_tasks.launcher.server import EmbeddedServer
from speaker_tasks.settings import Settings
from tests.integration.stack import Stack, Web


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The shared stack: a server and a warm worker, which may read recordings below the folder `data`."""
    with _running(tmp_path_factory) as running:
        running.worker(SPEAKER_DATA_ROOTS=str(running.folder / "data"))
        yield running


@pytest.fixture(scope="session")
def shared_web(stack: Stack) -> Web:
    """The shared stack's gunicorn, with two processes."""
    return stack.web()


@pytest.fixture
def web(stack: Stack, shared_web: Web) -> Iterator[Web]:
    """The shared gunicorn; the mode and the banks that a test made are taken away after it."""
    yield shared_web
    store = BankStore(stack.client().redis)
    ActiveMode(store).reset()
    for name in store.names():
        store.delete(name)


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server of the test's own; the test starts the rest."""
    with _running(tmp_path_factory) as running:
        yield running


@pytest.fixture(scope="session")
def bare_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server on which nothing runs."""
    with EmbeddedServer(tmp_path_factory.mktemp("bare") / "redis") as server:
        yield server


@pytest.fixture
def client(bare_server: EmbeddedServer) -> TaskClient:
    """A client of an empty server without workers."""
    found = TaskClient(Settings(redis_url=bare_server.url, max_queued=3))
    found.redis.flushdb()
    return found


@contextmanager
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    with EmbeddedServer(folder / "redis") as server:
        running = Stack(folder, server.url)
        try:
            yield running
        finally:
            running.stop()
