"""The same recording again is answered from its vector, if that is configured."""

from __future__ import annotations

import numpy as np
import pytest

from speaker_tasks.client import TaskClient
from speaker_tasks.payloads import Audio, new_key
from speaker_tasks.recent import Recent
from tests.integration.sounds import RATE, voice
from tests.integration.stack import Stack

VECTOR = np.arange(4, dtype=np.float32)


@pytest.fixture
def recent(client: TaskClient) -> Recent:
    return Recent(client.redis, 60, "compact-0123456789ab")


def test_the_same_bytes_have_the_same_vector_for_a_while(client: TaskClient, recent: Recent) -> None:
    recent.put("heard", new_key(b"sound"), VECTOR, {"seconds": 1.5})
    found = recent.get("heard", new_key(b"sound"))
    assert found is not None
    assert found[0].tolist() == VECTOR.tolist()
    assert found[1] == {"seconds": 1.5}
    (key,) = client.redis.keys("speaker:recent:*")
    assert 0 < client.redis.ttl(key) <= 60


def test_other_bytes_models_and_kinds_have_none(client: TaskClient, recent: Recent) -> None:
    recent.put("heard", new_key(b"sound"), VECTOR)
    assert recent.get("heard", new_key(b"another")) is None
    assert recent.get("vector", new_key(b"sound")) is None
    assert Recent(client.redis, 60, "vgg-0123456789ab").get("heard", new_key(b"sound")) is None


def test_files_are_never_remembered_for_they_may_change(client: TaskClient, recent: Recent) -> None:
    recent.put("heard", "/data/a.wav", VECTOR)
    assert recent.get("heard", "/data/a.wav") is None
    assert client.redis.keys("speaker:recent:*") == []


def test_nothing_is_kept_unless_configured(client: TaskClient) -> None:
    off = Recent(client.redis, 0, "compact-0123456789ab")
    off.put("heard", new_key(b"sound"), VECTOR)
    assert client.redis.keys("speaker:recent:*") == []
    assert off.get("heard", new_key(b"sound")) is None


def test_a_worker_asks_the_network_once_for_the_same_recording(fresh: Stack) -> None:
    client = fresh.client()
    process = fresh.worker(SPEAKER_RECENT_SECONDS="60")
    audio = Audio.of_samples(voice(1), RATE)
    answers = [client.wait(client.ask("vector", [audio], {}), 30) for _ in range(3)]
    older = [client.wait(client.embed(audio), 30) for _ in range(2)]
    assert all(answers)
    assert answers[0]["vector"] == answers[1]["vector"] == answers[2]["vector"]  # type: ignore[index]
    assert answers[0]["quality"] == answers[1]["quality"]  # type: ignore[index]
    assert older[0]["feats"] == older[1]["feats"]  # type: ignore[index]
    assert "network" not in answers[1]["timings_ms"]  # type: ignore[index]
    before = fresh.wait_warm(process).network["requests"]

    def requests() -> float:
        return fresh.wait_warm(process).network["requests"]

    assert max(before, requests()) <= 2
