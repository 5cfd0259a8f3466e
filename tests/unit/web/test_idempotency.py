"""Idempotency keys where the first request died, or its answer was lost: one job all the same, and no dead end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, request
from redis import Redis

from speaker_tasks.errors import Gone
from speaker_tasks.jobs import JobRecord, JobStore, new_id
from web.http import idempotency
from web.http.idempotency import HEADER, Idempotency


class Maker:
    """Makes jobs, and remembers which."""

    def __init__(self, jobs: JobStore) -> None:
        self.jobs, self.made = jobs, list[str]()

    def __call__(self, job_id: str | None) -> JobRecord:
        job = self.jobs.create("identify", job_id=job_id)
        self.made.append(job.id)
        return job


@pytest.fixture
def maker(redis: Redis) -> Maker:
    return Maker(JobStore(redis, 100))


@pytest.fixture
def keys(redis: Redis, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> Iterator[Idempotency]:
    monkeypatch.setattr(idempotency, "SUBMIT_SECONDS", 0.1)
    with Flask(__name__).test_request_context("/v1/embed", method="POST", data=b"x", headers={HEADER: "k"}):
        yield Idempotency(redis, maker.jobs, 1000)


def test_a_repetition_gets_the_first_requests_job(keys: Idempotency, maker: Maker) -> None:
    first, made = keys.once(request, "a", maker)
    again, made_again = keys.once(request, "a", maker)
    assert (first.id, made, made_again) == (again.id, True, False)
    assert maker.made == [first.id]


def test_a_request_that_died_before_its_job_leaves_the_key_to_the_next(keys: Idempotency, maker: Maker) -> None:
    class Killed(Exception):
        pass

    def die(_job_id: str | None) -> JobRecord:
        keys.client.unlink = lambda *_: 0  # type: ignore[method-assign]  # as a killed process does
        raise Killed

    unlink = keys.client.unlink
    with pytest.raises(Killed):
        keys.once(request, "a", die)
    keys.client.unlink = unlink  # type: ignore[method-assign]
    job, made = keys.once(request, "a", maker)
    assert made
    assert maker.made == [job.id]


def test_a_key_whose_answer_was_lost_is_known_as_ones_own(keys: Idempotency, maker: Maker) -> None:
    plain = keys.client.set

    def lost(*args: Any, **options: Any) -> Any:
        plain(*args, **options)
        return plain(*args, **options)  # the client's second attempt

    keys.client.set = lost  # type: ignore[method-assign]
    job, made = keys.once(request, "a", maker)
    assert made
    assert maker.made == [job.id]


def test_a_job_that_is_forgotten_is_gone_at_once_and_not_made_again(
    keys: Idempotency, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = new_id(time.time() - 500)
    monkeypatch.setattr(idempotency, "new_id", lambda _now: long_ago)
    keys.once(request, "a", maker)
    maker.jobs.client.delete(maker.jobs.key_template.format(id=long_ago))
    monkeypatch.undo()
    with pytest.raises(Gone):
        keys.once(request, "a", maker)
    assert maker.made == [long_ago]
