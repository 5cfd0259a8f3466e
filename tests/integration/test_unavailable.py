"""What `/v1` says when something behind it is missing: no worker, no Redis."""

from __future__ import annotations

from pathlib import Path

from tests.integration.stack import Stack

OGG = {"Content-Type": "audio/ogg"}


def test_without_a_worker_who_waits_is_told_and_who_does_not_is_served_later(fresh: Stack, demo_speakers: Path) -> None:
    web = fresh.web(workers=1, threads=4)
    clip = (demo_speakers / "Alice" / "1.ogg").read_bytes()
    waiting = web.post("/v1/embed", data=clip, headers=OGG)
    assert waiting.status_code == 503
    assert waiting.json()["error"]["code"] == "no_worker"
    assert int(waiting.headers["Retry-After"]) >= 1
    later = web.post("/v1/embed?wait=0", data=clip, headers=OGG)
    assert later.status_code == 202
    assert web.get("/v1/models").json() == {"models": []}
    assert web.get(later.headers["Location"]).json()["job"]["state"] == "queued"


def test_a_full_queue_is_refused_and_names_when_to_come_back(fresh: Stack, demo_speakers: Path) -> None:
    web = fresh.web(workers=1, threads=4, SPEAKER_MAX_QUEUED="2")
    clip = (demo_speakers / "Alice" / "1.ogg").read_bytes()
    answers = [web.post("/v1/embed?wait=0", data=clip, headers=OGG) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 202, 503]
    assert answers[-1].json()["error"]["code"] == "unavailable"
    assert int(answers[-1].headers["Retry-After"]) >= 1
