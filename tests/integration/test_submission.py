"""Sending a recognition and waiting for its answer in one round trip, on a real server without workers."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from banks.store import BankStore
from speaker_tasks.client import TaskClient
from speaker_tasks.errors import NotFinite, Unavailable
from speaker_tasks.intake import Intake
from speaker_tasks.payloads import Audio

AUDIO = Audio.of_samples(np.zeros(16_000, np.float32), 16_000)


def answer_one(client: TaskClient, **outcome: object) -> threading.Thread:
    """Ends the next job that is sent, as a worker's thread does."""
    intake = Intake(client.redis, "recognize", BankStore(client.redis).token_key)

    def work() -> None:
        taken = intake.wait(10)
        assert taken is not None
        job, tag = taken.parcel.kwargs["job_id"], taken.parcel.tag
        state = "failed" if "error" in outcome else "succeeded"
        intake.take(client.short_jobs.ending(job, state, drop=list(taken.audio), tag=tag, **outcome))  # type: ignore[arg-type]

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_the_answer_comes_with_the_submission(client: TaskClient) -> None:
    worker = answer_one(client, result={"n": 1})
    job = client.embed(AUDIO, wait=5)
    worker.join()
    assert job.over
    assert client.wait(job, 0) == {"n": 1}
    assert client.redis.zcard("speaker:jobs") == 0, "nobody else is to know of it"
    assert client.redis.keys("speaker:reply:*") == client.redis.keys("speaker:audio:*") == []


def test_so_does_the_error_that_the_job_ended_with(client: TaskClient) -> None:
    worker = answer_one(client, error=NotFinite("NaN at 7", index=7).to_dict())
    job = client.embed(AUDIO, wait=5)
    worker.join()
    with pytest.raises(NotFinite, match="NaN at 7"):
        client.wait(job, 0)


def test_what_takes_longer_is_a_job_that_goes_on(client: TaskClient) -> None:
    job = client.embed(AUDIO, wait=0.05)
    assert not job.over
    assert client.wait(job, 0) is None
    assert client.job(job.id).state == "queued"
    assert client.redis.llen("recognize") == 1


def test_a_full_queue_is_told_at_once_and_leaves_nothing(client: TaskClient) -> None:
    for _ in range(client.settings.max_queued):
        client.embed(AUDIO)
    before, began = sorted(client.redis.keys("*")), time.monotonic()
    with pytest.raises(Unavailable, match="3 recognitions wait already"):
        client.embed(AUDIO, wait=5)
    assert time.monotonic() - began < 0.9
    assert sorted(client.redis.keys("*")) == before


def test_a_server_that_was_started_anew_answers_as_soon(client: TaskClient) -> None:
    client.redis.script_flush()
    worker = answer_one(client, result={"n": 1})
    assert client.embed(AUDIO, wait=5).over
    worker.join()
