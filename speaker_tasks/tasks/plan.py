"""An enrollment between its start and its end: its recordings in chunks and their vectors, in Redis.

Keys: `speaker:enroll:<job>` is a hash: `head`, and `chunk:<n>` with the entries of one chunk, each JSON;
`speaker:enroll:<job>:vectors` is a hash: a recording's number -> its raw float32 vector.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import orjson
import redis

from enrollment.manifest import Entry, Manifest

SMALLEST_CHUNK, LARGEST_CHUNK = 16, 64
CHUNKS_IN_ALL = 64
"""Small jobs get small chunks, so that several workers share them; from 4,096 recordings on, chunks have 64."""


@dataclass(frozen=True)
class Request:
    """What an enrollment was asked to do."""

    bank: str
    source: dict[str, Any]
    """`{"path": path or URL}`, or the key of what was uploaded: `{"manifest": key}`, `{"archive": key}`."""
    mode: str = "add"
    options: dict[str, Any] = field(default_factory=dict)
    """How to read the source; see `enrollment.sources.Options`."""
    dry_run: bool = False
    """Do everything but write the bank."""
    force: bool = False
    """Enroll also what the quality gates would leave out."""
    model: str | None = None
    """Under which model; None: the bank's, or that of whoever starts."""


@dataclass(frozen=True)
class Head:
    """What a plan says of itself."""

    request: Request
    chunks: int
    recordings: int
    speakers: tuple[str, ...]
    skipped: tuple[dict[str, Any], ...]
    """Outcomes of what the source holds beside recordings."""
    model: str = ""
    """Of all of its vectors."""


@dataclass(frozen=True)
class Numbered:
    """An entry and its number in the manifest, as text of fixed width: its key in the report."""

    key: str
    entry: Entry


class Plan:
    """The plan of one job."""

    key_template = "speaker:enroll:{id}"

    def __init__(self, client: redis.Redis, job_id: str, ttl: int) -> None:
        self.client, self.ttl = client, ttl
        self._key = self.key_template.format(id=job_id)
        self._vectors_key = f"{self._key}:vectors"
        self.force = False
        """Whether the quality gates are open; known once `head` was read."""

    def write(self, request: Request, manifest: Manifest, model: str) -> Head:
        """Cut the manifest into chunks, unless that was done before: then what was written stays."""
        chunks = list(cut(manifest.entries))
        head = Head(
            request,
            len(chunks),
            len(manifest.entries),
            manifest.speakers,
            tuple(outcome.to_dict() for outcome in manifest.skipped),
            model,
        )
        with self.client.pipeline(transaction=True) as pipe:
            for number, chunk in enumerate(chunks):
                value = orjson.dumps([[one.key, asdict(one.entry)] for one in chunk])
                pipe.hsetnx(self._key, f"chunk:{number}", value)
            pipe.hsetnx(self._key, "head", orjson.dumps(asdict(head)))
            pipe.expire(self._key, self.ttl)
            pipe.execute()
        written = self.head()
        return head if written is None else written

    def head(self) -> Head | None:
        """What the plan says of itself; None if there is none (any more)."""
        stored = self.client.hget(self._key, "head")
        if stored is None:
            return None
        plan = orjson.loads(stored)
        request = Request(**plan["request"])
        self.force = request.force
        return Head(
            request,
            plan["chunks"],
            plan["recordings"],
            tuple(plan["speakers"]),
            tuple(plan["skipped"]),
            plan.get("model", ""),
        )

    def chunk(self, number: int) -> list[Numbered]:
        """The recordings of one chunk; empty if the plan is gone."""
        return _numbered(self.client.hget(self._key, f"chunk:{number}"))

    def all(self, head: Head) -> list[Numbered]:
        """All recordings, in the order of the manifest."""
        names = [f"chunk:{number}" for number in range(head.chunks)]
        stored: Any = self.client.hmget(self._key, names) if names else []
        return [one for chunk in stored for one in _numbered(chunk)]

    def keep_vector(self, key: str, vector: np.ndarray, pipeline: redis.client.Pipeline) -> None:
        """Keep a recording's vector (D,), when the caller executes the pipeline."""
        pipeline.hset(self._vectors_key, key, vector.astype(np.float32).tobytes())
        pipeline.expire(self._vectors_key, self.ttl)

    def vectors(self, keys: Sequence[str]) -> list[np.ndarray | None]:
        """The vectors of recordings, None where there is none."""
        parts: list[np.ndarray | None] = []
        for start in range(0, len(keys), 5_000):
            batch = list(keys[start : start + 5_000])
            raw: list[Any] = self.client.hmget(self._vectors_key, batch)
            parts.extend(None if one is None else np.frombuffer(one, np.float32) for one in raw)
        return parts

    def forget(self) -> None:
        """Delete the plan and its vectors."""
        self.client.unlink(self._key, self._vectors_key)


def _numbered(chunk: Any) -> list[Numbered]:
    return [Numbered(key, Entry(**entry)) for key, entry in orjson.loads(chunk)] if chunk else []


def cut(entries: Sequence[Entry]) -> Iterator[list[Numbered]]:
    """The entries in chunks of 16 to 64."""
    size = min(LARGEST_CHUNK, max(SMALLEST_CHUNK, -(-len(entries) // CHUNKS_IN_ALL)))
    numbered = [Numbered(f"{number:07d}", entry) for number, entry in enumerate(entries)]
    for start in range(0, len(numbered), size):
        yield numbered[start : start + size]
