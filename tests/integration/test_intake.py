"""Threads that take recognitions from the queue by themselves: what they get, what they leave, what comes back."""

from __future__ import annotations

import time

import numpy as np
import pytest

from banks.store import BankStore
from speaker_tasks.celery_app import OTHER_QUEUE, QUEUES
from speaker_tasks.client import TaskClient
from speaker_tasks.intake import BroughtAudio, Intake, Taken
from speaker_tasks.jobs import Ending, JobStore
from speaker_tasks.payloads import Audio
from tests.integration.sounds import RATE, voice
from tests.integration.stack import Stack, wait_for

AUDIO = Audio.of_samples(np.zeros(16_000, np.float32), 16_000)


@pytest.fixture
def intake(client: TaskClient) -> Intake:
    return Intake(client.redis, "recognize", BankStore(client.redis).token_key)


def ending(client: TaskClient, taken: Taken) -> Ending:
    return client.short_jobs.ending(
        taken.parcel.kwargs["job_id"], "succeeded", result={}, drop=list(taken.audio), tag=taken.parcel.tag
    )


def test_a_message_is_taken_with_its_audio_and_marked_as_running(client: TaskClient, intake: Intake) -> None:
    job = client.embed(AUDIO)
    taken = intake.take()
    assert taken is not None
    assert taken.parcel.kwargs["job_id"] == job.id
    (key,) = taken.audio
    assert BroughtAudio(client.audio, taken.audio).get(key) == AUDIO.pack()
    assert client.job(job.id).state == "running"
    assert intake.held() == (taken.parcel.tag,)
    assert client.redis.llen("recognize") == 0
    assert client.outbox.missing(-1, QUEUES) == set(), "it has begun"


def test_the_end_of_the_job_acknowledges_the_message(client: TaskClient, intake: Intake) -> None:
    client.embed(AUDIO)
    taken = intake.take()
    assert taken is not None
    assert client.redis.hlen("unacked") == 1
    assert client.short_jobs.end(ending(client, taken))
    assert client.redis.hlen("unacked") == client.redis.zcard("unacked_index") == 0


def test_the_step_that_ends_a_job_takes_the_next(client: TaskClient, intake: Intake) -> None:
    jobs = [client.embed(AUDIO) for _ in range(2)]
    first = intake.take()
    assert first is not None
    second = intake.take(ending(client, first))
    assert second is not None
    assert client.job(jobs[0].id).state == "succeeded"
    assert client.job(jobs[1].id).state == "running"
    assert list(second.audio.values()) == [AUDIO.pack()]
    assert intake.held() == (second.parcel.tag,)
    assert intake.take(ending(client, second)) is None
    assert intake.held() == ()
    assert [client.job(job.id).state for job in jobs] == ["succeeded"] * 2
    assert client.redis.hlen("unacked") == client.redis.zcard("unacked_index") == 0


def test_a_worker_that_leaves_writes_its_last_end(client: TaskClient, intake: Intake) -> None:
    jobs = [client.embed(AUDIO) for _ in range(2)]
    taken = intake.take()
    assert taken is not None
    intake.close()
    assert intake.take(ending(client, taken)) is None
    assert [client.job(job.id).state for job in jobs] == ["succeeded", "queued"]
    assert client.redis.llen("recognize") == 1


def test_the_oldest_comes_first_and_who_waits_is_woken(client: TaskClient, intake: Intake) -> None:
    jobs = [client.embed(AUDIO) for _ in range(2)]
    first, second = intake.take(), intake.wait(0.1)
    assert [one.parcel.kwargs["job_id"] for one in (first, second) if one] == [job.id for job in jobs]
    assert intake.take() is intake.wait(0.01) is None


def test_what_nobody_wants_is_dropped_with_its_audio(client: TaskClient, intake: Intake) -> None:
    canceled, expired, wanted = (client.embed(AUDIO) for _ in range(3))
    client.cancel(canceled.id)
    client.redis.hset(JobStore.key_template.format(id=expired.id), "expires", time.time() - 1)
    taken = intake.take()
    assert taken is not None
    assert taken.parcel.kwargs["job_id"] == wanted.id
    assert client.job(expired.id).state == "expired"
    assert client.redis.keys("speaker:audio:*") == [key.encode() for key in taken.audio]
    assert client.redis.hlen("unacked") == 1


def test_audio_that_expired_is_told_as_missing(client: TaskClient, intake: Intake) -> None:
    client.embed(AUDIO)
    client.redis.delete(*client.redis.keys("speaker:audio:*"))
    taken = intake.take()
    assert taken is not None
    assert list(taken.audio.values()) == [None]


@pytest.mark.parametrize("raw", [b"not JSON", b'{"headers": {"id": "x", "task": "t"}, "properties": {}}', b"[]"])
def test_what_is_not_of_our_making_is_left_to_celery(client: TaskClient, intake: Intake, raw: bytes) -> None:
    for take in (intake.take, lambda: intake.wait(0.1)):
        client.redis.lpush("recognize", raw)
        job = client.embed(AUDIO)
        taken = take()
        assert taken is not None
        assert taken.parcel.kwargs["job_id"] == job.id, "the next one is of our making"
    assert client.redis.llen("recognize") == 0
    assert client.redis.lrange(OTHER_QUEUE, 0, -1) == [raw, raw]


def test_a_task_that_celery_itself_sent_is_done(fresh: Stack) -> None:
    client = fresh.client()
    fresh.worker()
    job = client.short_jobs.create("embed")
    key = client.audio.put(Audio.of_samples(voice(1), RATE).pack())
    client.celery.send_task("speaker_tasks.embed", kwargs={"job_id": job.id, "audio": key}, queue="recognize")
    assert client.wait(job, 30) is not None
    wait_for("the acknowledgement", lambda: not client.redis.hlen("unacked"), 10)


def test_a_worker_that_leaves_takes_no_more(client: TaskClient, intake: Intake) -> None:
    client.embed(AUDIO)
    intake.close()
    assert intake.take() is intake.wait(0.01) is None
    assert client.redis.llen("recognize") == 1


def test_a_short_one_is_answered_beside_a_long_one(fresh: Stack) -> None:
    client = fresh.client()
    fresh.worker(SPEAKER_RESERVED_THREADS="2")
    clip = np.tile(voice(1, seconds=4), 60)
    long = [client.embed(Audio.of_samples((clip * 32767).astype(np.int16), RATE)) for _ in range(1)]
    wait_for("the long one", lambda: client.job(long[0].id).state == "running")
    short = client.embed(Audio.of_samples(voice(2), RATE))
    assert client.wait(short, 30) is not None
    client.wait(long[0], 60)


def test_a_burst_is_answered_and_leaves_nothing_behind(fresh: Stack) -> None:
    client = fresh.client()
    fresh.worker()
    jobs = [client.embed(Audio.of_samples(voice(number % 3), RATE)) for number in range(60)]
    for job in jobs:
        assert client.wait(job, 60) is not None
    wait_for("the last acknowledgement", lambda: not client.redis.hlen("unacked"), 10)
    assert client.redis.zcard("unacked_index") == client.redis.llen("recognize") == 0
    assert client.redis.keys("speaker:audio:*") == []
    assert client.outbox.missing(-1, QUEUES) == set()
