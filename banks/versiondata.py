"""What lies in Redis under the keys of one version of a bank: written whole, expiring until a transaction keeps it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
from redis import Redis

from banks.bank import Bank, Clips
from banks.clipkeys import read_clips, write_clips
from banks.version import Version

ORPHAN_SECONDS = 3600
"""How long the data of a writer that died before its pointer moved may stay."""
PART_ROWS = 50_000
"""Rows of 512 float32 in one value: 102 MB, under the 512 MB that Redis takes."""


class VersionData:
    """Reads and writes versions; see `store` for the keys."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis, self._prefix = redis, prefix

    def read(self, name: str, pointer: str, version: Version, *, clips: bool = False) -> Bank | None:
        """The data of a version of the bank `name`, whose pointer is the key `pointer`; None if it was dropped."""
        rows: Any = self._redis.get(self._key(version, "rows"))
        vectors = self._read_vectors(version)
        if rows is None or vectors is None:
            return None
        columns = json.loads(rows)
        kept: Clips | None = None
        if clips and version.has_clips:
            keys: Any = self._redis.get(self.clips_key(version))
            if keys:
                kept = read_clips(self._redis, pointer, json.loads(keys), version.size, version.model)
            if kept is None:
                return None
        return Bank(
            labels=tuple(columns["labels"]),
            vectors=vectors,
            model=version.model,
            counts=columns["counts"],
            seconds=columns["seconds"],
            name=name,
            version=version.version,
            created=version.created,
            source=version.source,
            clips=kept,
            aliases=columns.get("aliases", {}),
        )

    def write(self, pointer: str, bank: Bank, number: int) -> Version:
        """Write the bank's data as the version `number`, under keys of its own."""
        version = Version(
            version=number,
            data=uuid.uuid4().hex,
            model=bank.model,
            speakers=len(bank),
            size=bank.size,
            created=bank.created,
            source=bank.source,
            has_clips=bank.clips is not None,
        )
        columns: dict[str, Any] = {
            "labels": bank.labels,
            "counts": bank.counts.tolist(),
            "seconds": bank.seconds.tolist(),
        }
        columns |= {"aliases": dict(bank.aliases)} if bank.aliases else {}
        rows = json.dumps(columns, ensure_ascii=False)
        self._redis.set(self._key(version, "rows"), rows, ex=ORPHAN_SECONDS)
        for part, start in enumerate(range(0, max(1, len(bank)), PART_ROWS)):
            raw = bank.vectors[start : start + PART_ROWS].tobytes()
            self._redis.set(self._key(version, f"vectors:{part}"), raw, ex=ORPHAN_SECONDS)
        if bank.clips is not None:
            keys = write_clips(self._redis, pointer, bank.clips, len(bank), bank.model)
            self._redis.set(self.clips_key(version), json.dumps(keys), ex=ORPHAN_SECONDS)
        return version

    def keys(self, version: Version) -> Iterator[str]:
        """All keys of a version."""
        yield self._key(version, "rows")
        yield from self._vector_keys(version)
        if version.has_clips:
            yield self.clips_key(version)

    def clips_key(self, version: Version) -> str:
        """Where it lies which clips a version's rows are the means of."""
        return self._key(version, "clips")

    def _read_vectors(self, version: Version) -> np.ndarray | None:
        parts: Any = self._redis.mget(list(self._vector_keys(version)))
        if any(part is None for part in parts):
            return None
        raw = b"".join(parts) if len(parts) > 1 else parts[0]
        return np.frombuffer(raw, np.float32).reshape(version.speakers, version.size)

    def _vector_keys(self, version: Version) -> Iterator[str]:
        for part in range(max(1, -(-version.speakers // PART_ROWS))):
            yield self._key(version, f"vectors:{part}")

    def _key(self, version: Version, what: str) -> str:
        return f"{self._prefix}bankdata:{version.data}:{what}"
