"""No byte of a recording stays in Redis' folder once its job has ended; what waits survives a crash."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis

from speaker_tasks.client import TaskClient
from speaker_tasks.jobs.audio import Audio
from speaker_tasks.jobs.forgetting import Forgetting
from speaker_tasks.launcher.server import EmbeddedServer
from speaker_tasks.settings import Settings
from tests.integration.stack import wait_for


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path / "redis") as started:
        yield started


def is_on_disk(voice: bytes, folder: Path) -> bool:
    """Whether a file holds it. The server renames and deletes files meanwhile: then all are looked at again."""
    while True:
        with suppress(FileNotFoundError):
            return any(voice in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_recording_is_on_disk_only_while_its_job_waits(server: EmbeddedServer) -> None:
    client = TaskClient(Settings(redis_url=server.url))
    forget = Forgetting(client.redis, 0.01)
    ended, waiting = os.urandom(4096), os.urandom(4096)
    first, second = (client.embed(Audio.of_file(voice)) for voice in (ended, waiting))
    wait_for("the append-only file", lambda: is_on_disk(waiting, server.folder), 5)
    forget()
    time.sleep(0.2)
    assert is_on_disk(ended, server.folder), "its job has not ended"

    payload = [key.decode() for key in client.redis.keys("speaker:audio:*") if ended in client.redis.get(key)]
    client.short_jobs.finish(first.id, "succeeded", result={}, drop=payload, message_id=first.id)
    forget()
    wait_for("the recording to be gone", lambda: not is_on_disk(ended, server.folder), 10)
    assert is_on_disk(waiting, server.folder)

    assert server.pid is not None
    os.kill(server.pid, 9)
    wait_for("its end", lambda: server.pid is None, 5)
    server.start_again()
    wait_for("its return", lambda: answers(client.redis), 10)
    assert client.job(second.id).state == "queued"
    assert any(waiting in client.redis.get(key) for key in client.redis.keys("speaker:audio:*"))


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def test_the_file_is_written_anew_only_when_there_is_something_to_forget(server: EmbeddedServer) -> None:
    client = TaskClient(Settings(redis_url=server.url, payload_ttl=3))
    done: list[float] = []
    client.redis.bgrewriteaof = lambda: done.append(time.monotonic())  # type: ignore[method-assign,assignment]
    forget = Forgetting(client.redis, 0.3)
    forget()
    assert not done, "nobody spoke"
    key = client.audio.put(b"voice")
    forget()
    assert not done, "it is still wanted"
    client.audio.delete(key)
    for _ in range(8):
        forget()
        time.sleep(0.02)
    assert len(done) == 1
    client.audio.put(b"another, which nobody takes")
    forget()
    assert len(done) == 1, "it has not expired"
    wait_for("what expires by itself to be forgotten", lambda: forget() or len(done) > 1, 20)
    time.sleep(0.4)
    forget()
    assert len(done) == 2
    Forgetting(client.redis, 0)()
    assert len(done) == 2


def test_a_file_that_may_be_damaged_is_written_anew_at_once_and_once(server: EmbeddedServer) -> None:
    client = TaskClient(Settings(redis_url=server.url))
    done: list[int] = []
    client.redis.bgrewriteaof = lambda: done.append(1)  # type: ignore[method-assign,assignment]
    for seconds in (0, 3600):
        forget = Forgetting(client.redis, seconds)
        forget.damaged = True
        forget()
        forget()
    assert len(done) == 2


def test_a_server_that_may_not_do_it_is_asked_once(server: EmbeddedServer, caplog: pytest.LogCaptureFixture) -> None:
    admin = redis.Redis.from_url(server.url)
    admin.acl_setuser("worker", enabled=True, passwords=["+secret"], keys=["*"], categories=["+@all"])
    admin.execute_command("ACL", "SETUSER", "worker", "-bgrewriteaof")
    address = server.url.rpartition("@")[2]
    client = TaskClient(Settings(redis_url=f"redis://worker:secret@{address}"))
    forget = Forgetting(client.redis, 0.001)
    client.audio.delete(client.audio.put(b"voice"))
    forget()
    client.audio.delete(client.audio.put(b"voice"))
    forget()
    assert caplog.text.count("keeps deleted recordings") == 1
