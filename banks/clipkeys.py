"""The kept clips of a bank in Redis: one field a clip, shared by all versions, so that a change writes what is new."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from redis import Redis

from banks.bank import Clips

_BATCH = 5_000
"""Clips in one round trip: 10 MB of vectors."""


def write_clips(redis: Redis, pointer: str, clips: Clips, rows: int) -> list[list[str]]:
    """Write the clips that are not there yet; returns the keys of each row's clips, in order."""
    have = _keys(redis, pointer)
    new = [index for index, key in enumerate(clips.keys) if key not in have]
    for batch in _batches(new):
        redis.hset(f"{pointer}:clips", mapping={clips.keys[i]: clips.vectors[i].tobytes() for i in batch})
        redis.hset(f"{pointer}:clipinfo", mapping={clips.keys[i]: _info(clips, i) for i in batch})
    owned: list[list[str]] = [[] for _ in range(rows)]
    for key, owner in zip(clips.keys, clips.owners.tolist(), strict=True):
        owned[owner].append(key)
    return owned


def read_clips(redis: Redis, pointer: str, owned: Sequence[Sequence[str]], size: int) -> Clips | None:
    """The clips of one version, ordered by row; None if some were dropped since its keys were read."""
    keys = [key for row in owned for key in row]
    vectors = np.zeros((len(keys), size), np.float32)
    info: list[dict[str, Any]] = []
    for start, batch in zip(range(0, len(keys), _BATCH), _batches(keys), strict=True):
        raw = redis.hmget(f"{pointer}:clips", batch)
        told = redis.hmget(f"{pointer}:clipinfo", batch)
        if None in raw or None in told:
            return None
        vectors[start : start + len(batch)] = np.frombuffer(b"".join(raw), np.float32).reshape(-1, size)  # type: ignore[arg-type]
        info.extend(json.loads(entry) for entry in told)  # type: ignore[arg-type]
    return Clips(
        keys=tuple(keys),
        owners=np.repeat(np.arange(len(owned)), [len(row) for row in owned]).astype(np.int64),
        vectors=vectors,
        seconds=np.array([entry["seconds"] for entry in info], np.float32),
        weights=np.array([entry["weight"] for entry in info], np.int64),
        paths=tuple(entry["path"] for entry in info),
        spans=tuple(tuple(entry["span"]) if entry["span"] else None for entry in info),
    )


def stale_clips(redis: Redis, pointer: str, kept: Sequence[str]) -> list[str]:
    """Keys of clips that none of the versions with the clip lists `kept` refers to."""
    have = _keys(redis, pointer)
    if not have or not kept:
        return sorted(have)
    for owned in redis.mget(kept):
        if owned is not None:
            have.difference_update(key for row in json.loads(owned) for key in row)
    return sorted(have)


def _keys(redis: Redis, pointer: str) -> set[str]:
    return {key.decode() for key in redis.hkeys(f"{pointer}:clipinfo")}  # type: ignore[union-attr]


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
