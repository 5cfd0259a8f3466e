"""Timelines in a real Redis: corrections one after the other, undone, in a race, and without a voice that is purged."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from redis import Redis

from speaker_tasks.errors import Conflict, NotFound
from speaker_tasks.jobs import answers
from speaker_tasks.jobs.store import JobStore
from speaker_tasks.jobs.timelines import KeptVoices, TimelineStore
from speaker_tasks.timelines.clips import CleanClip

DOCUMENT: dict[str, Any] = {
    "revision": 0,
    "said": "",
    "speakers": [
        {"speaker": "Ann", "vector": [1.0], "candidates": [{"speaker": "Ann"}, {"speaker": "Ben"}]},
        {"speaker": "unknown-1", "vector": [0.5], "candidates": [{"speaker": "Ben"}]},
    ],
}
VOICES = KeptVoices("digest", "made-up", 20.0, 0.0, (CleanClip(0, 1.0, 3.5, 2.5, np.ones(4, np.float32)),))


@pytest.fixture
def store(redis: Redis) -> TimelineStore:
    made = TimelineStore(redis, 60)
    made.put("job", DOCUMENT, VOICES)
    return made


def say(what: str) -> Any:
    return lambda now: {**now, "said": now["said"] + what, "revision": now["revision"] + 1}


def test_what_was_put_is_there(store: TimelineStore) -> None:
    assert store.get("job") == DOCUMENT
    kept = store.voices("job")
    assert (kept.digest, kept.model, kept.clips[0].end) == ("digest", "made-up", 3.5)
    assert kept.clips[0].vector.tolist() == [1, 1, 1, 1]
    with pytest.raises(NotFound):
        store.get("another")
    with pytest.raises(NotFound):
        store.voices("another")


def test_a_task_that_runs_twice_undoes_no_correction(store: TimelineStore) -> None:
    store.change("job", say("a"))
    store.put("job", DOCUMENT, VOICES)
    assert store.get("job")["said"] == "a"


def test_undo_goes_back_step_by_step_and_forward_in_revisions(store: TimelineStore) -> None:
    for letter in "abc":
        store.change("job", say(letter))
    assert store.undo("job")["said"] == "ab"
    assert store.undo("job")["said"] == "a"
    assert store.change("job", say("d"))["said"] == "ad"
    assert store.undo("job")["said"] == "a"
    assert store.undo("job")["said"] == ""
    assert store.get("job")["revision"] == 8
    with pytest.raises(Conflict, match="no correction"):
        store.undo("job")


def test_a_correction_of_an_older_revision_is_refused(store: TimelineStore) -> None:
    store.change("job", say("a"), revision=0)
    with pytest.raises(Conflict, match="revision 1"):
        store.change("job", say("b"), revision=0)
    with pytest.raises(Conflict):
        store.undo("job", revision=0)


def test_of_two_at_once_both_count(store: TimelineStore) -> None:
    met: list[int] = []

    def slow(now: dict[str, Any]) -> dict[str, Any]:
        if not met:  # another is quicker, once
            met.append(1)
            store.change("job", say("a"))
        return say("b")(now)  # type: ignore[no-any-return]

    assert store.change("job", slow)["said"] == "ab"


def test_all_of_it_is_forgotten_together_and_no_later_for_a_correction(store: TimelineStore, redis: Redis) -> None:
    redis.expire(store.key_template.format(id="job"), 40)  # twenty seconds later
    store.change("job", say("a"))
    for template in (store.key_template, store.history_template):
        assert 0 < redis.ttl(template.format(id="job")) <= 40
    store.change("job", say("b"))
    store.undo("job")
    for template in (store.key_template, store.history_template):
        assert 0 < redis.ttl(template.format(id="job")) <= 40


def test_a_voice_that_is_purged_leaves(store: TimelineStore, redis: Redis) -> None:
    store.change("job", say("a"))
    redis.hset("speaker:job:job", "result", orjson.dumps(DOCUMENT))
    store.purge("Somebody")
    assert store.voices("job").clips
    store.purge("Ben")
    left = store.get("job")
    assert "Ben" not in str(left)
    assert b"Ben" not in redis.hget("speaker:job:job", "result")  # type: ignore[operator]
    assert left["speakers"][0]["vector"] == [1.0]
    store.purge("Ann")
    assert store.get("job")["speakers"][0]["vector"] == []
    with pytest.raises(NotFound):
        store.voices("job")
    assert not redis.exists(store.history_template.format(id="job"))


def test_a_voice_that_is_purged_does_not_come_back_when_a_correction_is_taken_back(
    store: TimelineStore, redis: Redis
) -> None:
    ann, other = DOCUMENT["speakers"]
    renamed = {"speakers": [{**ann, "speaker": "Zoe", "candidates": []}, other], "revision": 1}
    store.change("job", lambda now: now | renamed)
    store.purge("Ann")
    assert store.get("job")["speakers"][0]["vector"] == [1.0], "a person said that it is Zoe's"
    with pytest.raises(Conflict, match="no correction"):
        store.undo("job")
    assert 0 < redis.ttl(store.key_template.format(id="job")) <= 60


def test_a_purge_loses_no_correction_that_is_made_meanwhile(
    store: TimelineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hget, met = Redis.hget, list[int]()

    def slow(client: Redis, *given: Any) -> Any:
        found = hget(client, *given)
        if not met:
            met.append(1)
            store.change("job", say("a"))
        return found

    monkeypatch.setattr(Redis, "hget", slow)
    store.purge("Ann")
    assert store.get("job")["said"] == "a"
    assert store.get("job")["speakers"][0]["vector"] == []


def test_a_meeting_stays_when_somebody_is_purged_who_only_resembles_its_speakers(redis: Redis) -> None:
    jobs = JobStore(redis, 60)
    fields = {"kind": "timeline", "state": "succeeded", "about": "{}", "result": orjson.dumps(DOCUMENT)}
    for job_id in ("a", "b"):
        redis.hset(jobs.key(job_id), mapping=fields)
    answers.purge(jobs, "team", {"Ben"}, "someone")
    assert jobs.stored("a") is not None
    answers.purge(jobs, "team", {"Ann"}, "someone")
    assert jobs.stored("a") is None
