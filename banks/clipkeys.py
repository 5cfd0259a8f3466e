"""The kept clips of a bank in Redis: one field a clip, shared by all versions, so that a change writes what is new.

A field is the clip's key and the model of its vector, `<key>@<model>`: a bank that was built again under another model
shares no vector with its earlier versions. Fields without a model are those of banks written before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from redis import Redis

from banks.bank import Clips

_BATCH = 5_000
"""Clips in one round trip: 10 MB of vectors."""


def write_clips(redis: Redis, pointer: str, clips: Clips, rows: int, model: str) -> list[list[str]]:
    """Write the clips that are not there yet; returns the keys of each row's clips, in order."""
    have = _fields(redis, pointer)
    fields = [_field(key, model) for key in clips.keys]
    new = [index for index, field in enumerate(fields) if field not in have]
    for batch in _batches(new):
        redis.hset(f"{pointer}:clips", mapping={fields[i]: clips.vectors[i].tobytes() for i in batch})
        redis.hset(f"{pointer}:clipinfo", mapping={fields[i]: _info(clips, i) for i in batch})
    owned: list[list[str]] = [[] for _ in range(rows)]
    for key, owner in zip(clips.keys, clips.owners.tolist(), strict=True):
        owned[owner].append(key)
    return owned


def read_clips(redis: Redis, pointer: str, owned: Sequence[Sequence[str]], size: int, model: str) -> Clips | None:
    """The clips of one version, ordered by row; None if some were dropped since its keys were read."""
    keys = [key for row in owned for key in row]
    vectors = np.zeros((len(keys), size), np.float32)
    info: list[dict[str, Any]] = []
    for start, batch in zip(range(0, len(keys), _BATCH), _batches(keys), strict=True):
        raw = _stored(redis, f"{pointer}:clips", batch, model)
        details = _stored(redis, f"{pointer}:clipinfo", batch, model)
        if None in raw or None in details:
            return None
        vectors[start : start + len(batch)] = np.frombuffer(b"".join(raw), np.float32).reshape(-1, size)
        info.extend(json.loads(entry) for entry in details)
    return Clips(
        keys=tuple(keys),
        owners=np.repeat(np.arange(len(owned)), [len(row) for row in owned]).astype(np.int64),
        vectors=vectors,
        seconds=np.array([entry["seconds"] for entry in info], np.float32),
        weights=np.array([entry["weight"] for entry in info], np.int64),
        paths=tuple(entry["path"] for entry in info),
        spans=tuple(tuple(entry["span"]) if entry["span"] else None for entry in info),
    )


def stale_clips(redis: Redis, pointer: str, kept: Sequence[tuple[str, str]]) -> list[str]:
    """Fields of clips that none of the versions, given by where their clip lists lie and their models, refers to."""
    have = _fields(redis, pointer)
    if not have or not kept:
        return sorted(have)
    lists: list[Any] = redis.mget([key for key, _ in kept])
    for owned, (_, model) in zip(lists, kept, strict=True):
        if owned is not None:
            keys = [key for row in json.loads(owned) for key in row]
            have.difference_update(_field(key, model) for key in keys)
            have.difference_update(keys)
    return sorted(have)


def known_keys(redis: Redis, pointer: str) -> set[str]:
    """The keys of all clips of a bank, in whichever version and of whichever model."""
    return {field.rpartition("@")[0] or field for field in _fields(redis, pointer)}


def _field(key: str, model: str) -> str:
    return f"{key}@{model}"


def _fields(redis: Redis, pointer: str) -> set[str]:
    return {key.decode() for key in redis.hkeys(f"{pointer}:clipinfo")}  # type: ignore[union-attr]


def _stored(redis: Redis, key: str, clips: Sequence[str], model: str) -> list[Any]:
    """The values of a hash at the clips' fields, else at those without a model."""
    cached: list[Any] = redis.hmget(key, [_field(clip, model) for clip in clips])
    missing = [index for index, value in enumerate(cached) if value is None]
    if missing:
        older: list[Any] = redis.hmget(key, [clips[index] for index in missing])
        for index, value in zip(missing, older, strict=True):
            cached[index] = value
    return cached


def _info(clips: Clips, index: int) -> str:
    info = {
        "seconds": float(clips.seconds[index]),
        "weight": int(clips.weights[index]),
        "path": clips.paths[index],
        "span": clips.spans[index],
    }
    return json.dumps(info, ensure_ascii=False)


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]
