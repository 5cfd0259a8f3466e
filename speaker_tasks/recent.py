"""Vectors of what was heard just now, for clients that send the same recording again; off unless configured.

The same bytes under the same model within `recent_seconds` are answered without decoding, measuring or the network.
What is kept is a voice, if not the sound of it, so its life is short and its key names no one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import redis

from speaker_tasks.payloads import PAYLOAD_PREFIX


class Recent:
    """Vectors in Redis by content and model, with what was measured; forgotten after `seconds`, never kept if 0."""

    key_template = "speaker:recent:{kind}:{model}:{hash}"

    def __init__(self, client: redis.Redis, seconds: int, model: str) -> None:
        self.client, self.seconds, self.model = client, seconds, model

    def get(self, kind: str, source: str) -> tuple[np.ndarray, dict[str, Any]] | None:
        """The vector (D,) float32 of a payload, given by its key, and what was kept beside it; None if unknown."""
        key = self._key(kind, source)
        stored: Any = self.client.get(key) if key else None
        if stored is None:
            return None
        size = int.from_bytes(stored[:4], "little")
        vector = np.frombuffer(stored, "<f4", count=size, offset=4)
        return vector, orjson.loads(stored[4 + 4 * size :])

    def put(self, kind: str, source: str, vector: np.ndarray, beside: dict[str, Any] | None = None) -> None:
        """Keep a vector (D,) float32; does nothing unless configured."""
        if key := self._key(kind, source):
            head = len(vector).to_bytes(4, "little")
            stored = head + vector.astype("<f4", copy=False).tobytes() + orjson.dumps(beside or {})
            self.client.set(key, stored, ex=self.seconds)

    def _key(self, kind: str, source: str) -> str | None:
        """None where nothing is kept: not configured, or the source is a file, which may change."""
        if not self.seconds or not source.startswith(PAYLOAD_PREFIX):
            return None
        content = source.removeprefix(PAYLOAD_PREFIX).partition(":")[0]
        return self.key_template.format(kind=kind, model=self.model, hash=content)
