"""Real processes for the tests that need some of their own; `tests/conftest.py` has the stack that all share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from speaker_tasks.client import TaskClient
from speaker_tasks.launcher.server import EmbeddedServer
from speaker_tasks.settings import Settings
from tests.integration.stack import QUICK_BEAT, Stack, running_stack


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server of the test's own; the test starts the rest. Its workers have the light model: they start often, and
    are soon missed when they are killed.
    """
    with running_stack(tmp_path_factory, heartbeat_seconds=QUICK_BEAT) as running:
        running.model = "compact"
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
