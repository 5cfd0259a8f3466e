"""Vectors of recordings that were embedded before, by content and model, so that a second run is nearly free.

One hash a recording, `speaker:vectors:<clip key>`: model id and layout -> measures and vector, raw float32. What is not
asked for within `ttl` seconds is forgotten; voices are personal data, so a purge deletes them by the same key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
import redis


@dataclass(frozen=True)
class Measures:
    """What was measured of a recording; all that the quality gates look at beside the vector."""

    seconds: float = 0.0
    speech: float = 0.0
    """Seconds of speech."""
    snr: float = 0.0
    """Signal to noise, in dB."""
    clipped: float = 0.0
    """Share of samples that are cut off, 0 to 1."""
    agreement: float = 1.0
    """The lowest cosine between two of its long windows; 1 where there is one window only."""
    damaged: bool = False
    """Whether a part of it could not be read."""
    lost: float = 0.0
    """About how many seconds could not be read; 0 if unknown."""

    @property
    def damage(self) -> str:
        """What the report says of a damaged recording; empty for a whole one."""
        lost = f"about {self.lost:.1f} s are lost" if self.lost >= 0.05 else "how much is missing is unknown"
        return f"damaged: {self.seconds:.1f} s were read, {lost}" if self.damaged else ""


@dataclass(frozen=True)
class CachedVector:
    """A recording's vector (D,) float32 and its measures."""

    measures: Measures
    vector: np.ndarray


class VectorCache:
    """The cache of one Redis server."""

    key_template = "speaker:vectors:{key}"
    field_template = "{model}/3"
    """The 3 is of what is kept: what was remembered of telephones, or of recordings read in part, is not believed."""

    def __init__(self, client: redis.Redis, ttl: int, *, passing_ttl: int | None = None) -> None:
        """`passing_ttl` is for what is in no bank: no longer than the report that says whose it is."""
        self.client, self.ttl = client, ttl
        self.passing_ttl = min(ttl, passing_ttl or ttl)

    def get(self, keys: Sequence[str], model: str) -> dict[str, CachedVector]:
        """Those of the recordings that the model has embedded before."""
        if not keys:
            return {}
        pipe = self.client.pipeline(transaction=False)
        for key in keys:
            pipe.hget(self._key(key), self.field_template.format(model=model))
        stored: list[Any] = pipe.execute()
        return {key: _unpacked(raw) for key, raw in zip(keys, stored, strict=True) if raw is not None}

    def put(
        self,
        key: str,
        model: str,
        vector: np.ndarray,
        measures: Measures,
        *,
        pipeline: redis.client.Pipeline | None = None,
    ) -> None:
        """Remember a recording's vector, until `keep` for a while; with a pipeline, when the caller executes it."""
        raw = np.concatenate([np.array(astuple(measures), np.float32), vector.astype(np.float32)]).tobytes()
        pipe = self.client.pipeline() if pipeline is None else pipeline
        pipe.hset(self._key(key), self.field_template.format(model=model), raw)
        pipe.expire(self._key(key), self.passing_ttl)
        if pipeline is None:
            pipe.execute()

    def keep(self, keys: Iterable[str]) -> None:
        """Remember recordings that are in a bank now for `ttl` seconds."""
        pipe = self.client.pipeline(transaction=False)
        for key in keys:
            pipe.expire(self._key(key), self.ttl)
        pipe.execute()

    def forget(self, keys: Iterable[str]) -> int:
        """Delete what is known of recordings, of all models; gives how many were known."""
        names = [self._key(key) for key in keys]
        return sum(int(self.client.unlink(*names[i : i + 1000])) for i in range(0, len(names), 1000))

    def _key(self, key: str) -> str:
        return self.key_template.format(key=key)


def _unpacked(raw: bytes) -> CachedVector:
    values = np.frombuffer(raw, np.float32)
    count = len(astuple(Measures()))
    measured = dict(zip((one.name for one in fields(Measures)), values[:count].tolist(), strict=True))
    return CachedVector(Measures(**measured | {"damaged": bool(measured["damaged"])}), values[count:])
