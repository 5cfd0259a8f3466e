"""What a dead worker held, and what was lost on its way, comes back: on a real server, without workers."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from speaker_tasks.celery_app import QUEUES
from speaker_tasks.client import TaskClient
from speaker_tasks.jobs import sweep
from speaker_tasks.jobs.audio import Audio
from speaker_tasks.jobs.delivery import GRACE_KEY, WORKER_KEY, Message
from speaker_tasks.jobs.heartbeat import WorkerRecord
from speaker_tasks.jobs.sweep import Sweep
from tests.integration.test_records import begun

AUDIO = Audio.of_samples(np.zeros(160, np.float32), 16_000)
WORKER = WorkerRecord("w", "host", 1, "compact-0123456789ab", "cpu", "openvino", "bf16", 0.0, QUEUES)


@pytest.fixture
def swept(client: TaskClient, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """A worker's sweep, for which a moment is long."""
    monkeypatch.setattr(sweep, "LOST_SECONDS", 0.1)
    monkeypatch.setattr(sweep, "LOOK_SECONDS", -1)
    monkeypatch.setattr(sweep, "OVERTAKEN_SECONDS", 0.05)
    return Sweep(client.app, client.redis, client.deliveries, QUEUES, interval=0.01)


def sweep_once(swept: Sweep) -> None:
    time.sleep(0.15)
    swept()


def waiting(client: TaskClient) -> list[bytes]:
    found: list[bytes] = client.redis.lrange("recognize", 0, -1)
    return found


def test_what_a_living_worker_runs_is_left_to_it(client: TaskClient, swept: Sweep) -> None:
    client.registry.beat(WORKER)
    job = client.embed(AUDIO)
    assert begun(client, job, worker="w") == 1
    client.redis.delete("recognize")
    sweep_once(swept)
    assert waiting(client) == []
    assert begun(client, job, worker="another") == b"held", "and nobody else may begin it"


def test_what_a_dead_worker_ran_is_sent_again_once(client: TaskClient, swept: Sweep) -> None:
    job = client.embed(AUDIO)
    assert begun(client, job, worker="dead") == 1
    client.redis.delete("recognize")
    assert client.job(job.id).worker == "dead"
    client.redis.hset(f"speaker:task:{job.id}", "mood", "good")  # as a newer version may write
    sweep_once(swept)
    (message,) = waiting(client)
    assert job.id.encode() in message
    swept()
    assert len(waiting(client)) == 1
    assert begun(client, job, worker="w") == 2
    assert client.job(job.id).worker == "w"


def test_after_an_outage_workers_have_time_to_say_that_they_live(client: TaskClient, swept: Sweep) -> None:
    """Nobody could beat while Redis refused: who comes back first must not take the others for dead."""
    other = replace(WORKER, id="other")
    client.registry.beat(WORKER)
    client.registry.beat(other)
    job = client.embed(AUDIO)
    assert begun(client, job, worker="w") == 1
    client.redis.delete("recognize", WORKER_KEY + "w", WORKER_KEY + "other")
    assert begun(client, job, worker="other") == b"held", "the one that asks has not beaten yet either"
    client.registry.beat(other)
    sweep_once(swept)
    assert waiting(client) == []
    assert begun(client, job, worker="other") == b"held"
    client.redis.delete(GRACE_KEY)
    sweep_once(swept)
    assert len(waiting(client)) == 1, "it has had its time"


def test_a_worker_that_starts_gives_no_time_to_the_dead(client: TaskClient, swept: Sweep) -> None:
    job = client.embed(AUDIO)
    assert begun(client, job, worker="dead") == 1
    client.redis.delete("recognize")
    client.registry.beat(WORKER)
    sweep_once(swept)
    assert len(waiting(client)) == 1


def test_a_worker_that_is_always_late_keeps_no_dead_one_from_being_missed(client: TaskClient, swept: Sweep) -> None:
    client.registry.beat(WORKER)
    job = client.embed(AUDIO)
    assert begun(client, job, worker="dead") == 1
    client.redis.delete("recognize")
    for _ in range(2):
        client.redis.delete(WORKER_KEY + "w", GRACE_KEY)
        client.registry.beat(WORKER)
    sweep_once(swept)
    assert len(waiting(client)) == 1


def test_who_asks_again_because_the_answer_was_lost_has_begun_once(client: TaskClient) -> None:
    client.registry.beat(WORKER)
    job = client.embed(AUDIO)
    assert [begun(client, job, worker="w", call=call) for call in ("a", "a", "b")] == [1, 1, b"held"]


def test_a_message_that_is_nowhere_is_sent_again(client: TaskClient, swept: Sweep) -> None:
    client.embed(AUDIO)
    sweep_once(swept)
    assert len(waiting(client)) == 1, "it lies in its queue"
    client.redis.delete("recognize")
    sweep_once(swept)
    assert len(waiting(client)) == 1
    sweep_once(swept)
    assert len(waiting(client)) == 1, "it lies in its queue again"


def test_a_message_that_others_overtook_is_lost_though_the_queue_is_never_empty(
    client: TaskClient, swept: Sweep
) -> None:
    lost = client.embed(AUDIO)
    client.redis.delete("recognize")
    time.sleep(0.15)
    later = client.embed(AUDIO)
    assert client.redis.llen("recognize") == 1
    swept()
    assert client.redis.llen("recognize") == 1, "nothing that was sent later has begun"
    client.registry.beat(WORKER)
    begun(client, later)
    sweep_once(swept)
    assert any(lost.id.encode() in message for message in waiting(client))


def test_what_waits_in_a_long_queue_is_not_taken_for_lost(client: TaskClient, swept: Sweep) -> None:
    client.registry.beat(WORKER)
    jobs = [client.embed(AUDIO) for _ in range(3)]
    client.redis.rpop("recognize")
    begun(client, jobs[0])
    sweep_once(swept)
    assert client.redis.llen("recognize") == 2


@pytest.mark.parametrize("how", ["canceled", "ended", "expired"])
def test_what_nobody_wants_any_more_is_not_sent_for_ever(client: TaskClient, swept: Sweep, how: str) -> None:
    job = client.embed(AUDIO)
    client.redis.delete("recognize")
    if how == "canceled":
        client.cancel(job.id)
    elif how == "ended":
        client.short_jobs.finish(job.id, "succeeded", result={}, message_id=job.id)
    else:
        client.redis.hset(client.short_jobs.key(job.id), "expires", time.time() - 1)
    sweep_once(swept)
    begun(client, job)
    client.redis.delete("recognize")
    sweep_once(swept)
    assert waiting(client) == []
    left = set(client.redis.keys("speaker:task*:*")) - {b"speaker:tasks:sweep"}  # who sweeps holds this lock
    assert left in (set(), {b"speaker:tasks:reached"})


def test_one_worker_sweeps_at_a_time(client: TaskClient) -> None:
    sweeps = [Sweep(client.app, client.redis, client.deliveries, QUEUES, interval=60) for _ in range(2)]
    job = client.embed(AUDIO)
    client.redis.delete("recognize")
    sweeps[0]()
    begun(client, job, worker="dead")
    sweeps[1]()
    assert waiting(client) == [], "the lock is another's"


def test_a_step_that_is_handed_on_is_done_once(client: TaskClient) -> None:
    job = client.enroll({}, bank="staff", source={"path": "/x"})
    client.registry.beat(WORKER)
    assert begun(client, job, worker="w") == 1
    following = Message(f"{job.id}.0", job.id, "speaker_tasks.enroll_chunk", "enroll", {"chunk": 0})
    client.redis.delete("enroll")
    assert client.deliveries.hand_on(job.id, [following])
    assert not client.deliveries.hand_on(job.id, [following])
    assert client.redis.llen("enroll") == 1
    assert begun(client, job, worker="w") == b"over", "the start is done, though the job is not"
