"""One caller's jobs do not fill the queue for all others."""

from __future__ import annotations

import time

import pytest

from speaker_tasks.apikeys import entry, new_key
from speaker_tasks.client import TaskClient
from speaker_tasks.errors import TooManyRequests
from speaker_tasks.jobs.quota import SUBMITTED_SECONDS, Quota
from speaker_tasks.jobs.record import new_id
from speaker_tasks.launcher.server import EmbeddedServer
from speaker_tasks.settings import Settings
from web import create_app


def test_what_has_ended_makes_room_and_what_waits_does_not(client: TaskClient) -> None:
    quota = Quota(client.redis, kind="questions", most=2, life=60, pause=2)
    jobs = [client.short_jobs.create("identify") for _ in range(2)]
    for job in jobs:
        quota.enter("key:a", job.id)
    with pytest.raises(TooManyRequests, match="2 questions of key:a"):
        quota.enter("key:a", new_id(time.time()))
    quota.enter("key:b", new_id(time.time()))
    client.short_jobs.finish(jobs[0].id, "succeeded", result={})
    quota.enter("key:a", new_id(time.time()))
    with pytest.raises(TooManyRequests):
        quota.enter("key:a", new_id(time.time()))


def test_a_job_without_a_record_counts_for_a_moment_only(client: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = Quota(client.redis, kind="questions", most=1, life=60, pause=2)
    quota.enter("key:a", "its request has not written it down yet")
    with pytest.raises(TooManyRequests):
        quota.enter("key:a", "x")
    later = time.time() + SUBMITTED_SECONDS + 1
    monkeypatch.setattr(time, "time", lambda: later)
    quota.enter("key:a", "x")


def test_none_are_counted_without_a_limit(client: TaskClient) -> None:
    quota = Quota(client.redis, kind="questions", most=0, life=60, pause=2)
    for _ in range(3):
        quota.enter("key:a", new_id(time.time()))


def test_each_key_has_its_own_and_is_told_when_to_come_again(bare_server: EmbeddedServer, client: TaskClient) -> None:
    keys = {name: new_key() for name in ("a", "b")}
    entries = " ".join(entry(name, ["recognize", "enroll"], key) for name, key in keys.items())
    settings = Settings(redis_url=bare_server.url, api_keys=entries, key_questions=1, key_enrollments=1, legacy="key")
    web = create_app(settings).test_client()

    def ask(key: str, path: str, body: dict[str, object]) -> tuple[int, str]:
        answer = web.post(path, json=body, headers={"X-API-Key": keys[key]})
        return answer.status_code, answer.headers.get("Retry-After", "")

    sound = {"samples": [0.1, -0.1] * 4000}
    for path, body, pause in (
        ("/v1/embed?wait=0", sound, "2"),
        ("/v1/banks/x/enrollments", {"path": "/nowhere"}, "30"),
    ):
        assert ask("a", path, body)[0] == 202
        assert ask("a", path, body) == (429, pause)
        assert ask("b", path, body)[0] == 202
    assert ask("a", "/speaker", {"speaker": [0.1, -0.1] * 4000}) == (429, "2")
    private = create_app(Settings(redis_url=bare_server.url, key_questions=1)).test_client()
    assert [private.post("/v1/embed?wait=0", json=sound).status_code for _ in range(3)] == [202] * 3
