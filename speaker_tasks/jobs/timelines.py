"""Timelines in Redis: each with its corrections so far, and the clean clips for enrolling its speakers.

One hash a job, `speaker:timeline:<job>`: the current document and the clips' vectors; and a list of the documents
before each correction. They are personal data as banks are: deleted with the job's record, and a purged voice is
removed from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import orjson
import redis

from speaker_tasks.errors import Conflict, NotFound
from speaker_tasks.jobs.store import JobStore
from speaker_tasks.timelines.clips import CleanClip

MOST_UNDONE = 50
"""Corrections that can be undone."""
ATTEMPTS = 20


@dataclass(frozen=True, eq=False)
class KeptVoices:
    """The clean clips of a timeline, with what the quality gates need."""

    digest: str
    """The recording's."""
    model: str
    snr: float
    clipped: float
    clips: tuple[CleanClip, ...]


class TimelineStore:
    """The timelines of one Redis server, deleted `ttl` seconds after they were made, as their jobs' records are."""

    key_template = "speaker:timeline:{id}"
    history_template = "speaker:timelines-before:{id}"
    """The documents before each correction, the newest first."""

    def __init__(self, client: redis.Redis, ttl: int) -> None:
        self.client, self.ttl = client, ttl

    def put(self, job_id: str, timeline: dict[str, Any], voices: KeptVoices) -> None:
        """Write a new timeline; the same again if its task ran twice and nobody corrected it."""
        key = self.key_template.format(id=job_id)
        pipe = self.client.pipeline()
        pipe.hsetnx(key, "now", orjson.dumps(timeline))
        pipe.hset(key, mapping=_packed(voices))
        pipe.expire(key, self.ttl)
        pipe.execute()

    def get(self, job_id: str) -> dict[str, Any]:
        """The timeline with its corrections so far. Raises `NotFound`."""
        stored: Any = self.client.hget(self.key_template.format(id=job_id), "now")
        if stored is None:
            raise NotFound(f"job {job_id!r} has no timeline (yet, or any more)", job=job_id)
        timeline: dict[str, Any] = orjson.loads(stored)
        return timeline

    def voices(self, job_id: str) -> KeptVoices:
        """Its clean clips. Raises `NotFound`."""
        stored: Any = self.client.hmget(self.key_template.format(id=job_id), ["voices", "vectors"])
        if stored[0] is None or stored[1] is None:
            raise NotFound(f"job {job_id!r} has no timeline (yet, or any more)", job=job_id)
        return _unpacked(stored[0], stored[1])

    def change(
        self, job_id: str, change: Callable[[dict[str, Any]], dict[str, Any]], *, revision: int | None = None
    ) -> dict[str, Any]:
        """Write what `change` makes of the timeline, and return it; called again if another writer was quicker.

        Raises `NotFound`, `Conflict` if the timeline is not at `revision` any more, and what `change` raises.
        """

        def step(now: dict[str, Any], pipe: redis.client.Pipeline) -> dict[str, Any]:
            changed = change(now)
            pipe.multi()
            pipe.lpush(self.history_template.format(id=job_id), orjson.dumps(now))
            pipe.ltrim(self.history_template.format(id=job_id), 0, MOST_UNDONE - 1)
            return changed

        return self._stepped(job_id, step, revision)

    def undo(self, job_id: str, *, revision: int | None = None) -> dict[str, Any]:
        """Undo the last correction; repeated, the ones before it. Raises `NotFound`, `Conflict`."""

        def step(now: dict[str, Any], pipe: redis.client.Pipeline) -> dict[str, Any]:
            before: Any = self.client.lindex(self.history_template.format(id=job_id), 0)
            if before is None:
                raise Conflict("there is no correction to take back", job=job_id)
            pipe.multi()
            pipe.lpop(self.history_template.format(id=job_id))
            return {**orjson.loads(before), "revision": now["revision"] + 1}

        return self._stepped(job_id, step, revision)

    def _stepped(
        self, job_id: str, step: Callable[[dict[str, Any], redis.client.Pipeline], dict[str, Any]], revision: int | None
    ) -> dict[str, Any]:
        """One step from what is there now, in one transaction with what the step puts into the pipeline."""
        key = self.key_template.format(id=job_id)
        for _ in range(ATTEMPTS):
            with self.client.pipeline() as pipe:
                pipe.watch(key)
                left: Any = pipe.pttl(key)
                now = self.get(job_id)
                _check(now, revision)
                changed = step(now, pipe)
                pipe.hset(key, "now", orjson.dumps(changed))
                pipe.pexpire(self.history_template.format(id=job_id), max(1, left))
                with suppress(redis.WatchError):
                    pipe.execute()
                    return changed
        raise Conflict("the timeline is changed by others all the time; try again", job=job_id)

    def purge(self, label: str) -> None:
        """Take a speaker's voice out of all timelines; nobody can be enrolled from those in which they speak, or spoke.

        Each in one transaction, so that no correction that is taken back meanwhile brings the voice back.
        """
        for key in self._keys():
            job_id = key.decode().rpartition(":")[2]
            history, job = self.history_template.format(id=job_id), JobStore.key_template.format(id=job_id)
            self.client.transaction(partial(_purge, key.decode(), history, job, label), key.decode(), history, job)

    def _keys(self) -> Iterator[bytes]:
        yield from self.client.scan_iter(self.key_template.format(id="*"))


def _purge(key: str, history: str, job: str, label: str, pipe: redis.client.Pipeline) -> None:
    """Put into the pipeline what takes a speaker's voice out of a timeline, its corrections and its job's result."""
    stored: Any = pipe.hget(key, "now")
    before: Any = pipe.lrange(history, 0, -1)
    result: Any = pipe.hget(job, "result")
    pipe.multi()
    if stored is None or not any(_names(orjson.loads(one), label) for one in (stored, *before)):
        return
    pipe.hset(key, "now", orjson.dumps(_without(orjson.loads(stored), label)))
    pipe.hdel(key, "voices", "vectors")
    pipe.unlink(history)
    if result is not None:
        pipe.hset(job, "result", orjson.dumps(_without(orjson.loads(result), label)))


def _names(document: dict[str, Any], label: str) -> bool:
    """Whether somebody speaks under that name, or is like them."""
    return any(
        label == one["speaker"] or any(label == other["speaker"] for other in one["candidates"])
        for one in document["speakers"]
    )


def _without(document: dict[str, Any], label: str) -> dict[str, Any]:
    people = [
        {
            **one,
            "vector": [] if one["speaker"] == label else one["vector"],
            "candidates": [other for other in one["candidates"] if other["speaker"] != label],
        }
        for one in document["speakers"]
    ]
    return {**document, "speakers": people}


def _check(timeline: dict[str, Any], revision: int | None) -> None:
    if revision is not None and timeline["revision"] != revision:
        raise Conflict(
            f"the timeline is at revision {timeline['revision']}, not {revision}: somebody corrected it meanwhile",
            revision=timeline["revision"],
        )


def _packed(voices: KeptVoices) -> dict[Any, Any]:
    clips = [[one.cluster, one.start, one.end, one.seconds] for one in voices.clips]
    document = {
        "digest": voices.digest,
        "model": voices.model,
        "snr": voices.snr,
        "clipped": voices.clipped,
        "clips": clips,
    }
    vectors: Sequence[np.ndarray] = [one.vector for one in voices.clips]
    raw = np.stack(vectors).astype("<f4").tobytes() if vectors else b""
    return {"voices": orjson.dumps(document), "vectors": raw}


def _unpacked(document: bytes, raw: bytes) -> KeptVoices:
    given = orjson.loads(document)
    rows = given.pop("clips")
    vectors = np.frombuffer(raw, "<f4").reshape(len(rows), -1) if rows else np.zeros((0, 1), np.float32)
    clips = tuple(
        CleanClip(cluster, start, end, seconds, vector)
        for (cluster, start, end, seconds), vector in zip(rows, vectors, strict=True)
    )
    return KeptVoices(clips=clips, **given)
