"""What the steps of a task took: in its answer, and in the worker's metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timings:
    """Milliseconds by step; a step that comes twice adds up."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}
        self._began = time.perf_counter()

    @property
    def whole(self) -> float:
        """Milliseconds since the job was made: its wait in the queue, and all since this was made."""
        return self.ms.get("queue", 0.0) + (time.perf_counter() - self._began) * 1000

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count the time of the block to a step."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, (time.perf_counter() - started) * 1000)

    def add(self, name: str, milliseconds: float) -> None:
        """Count milliseconds to a step."""
        self.ms[name] = self.ms.get(name, 0.0) + milliseconds

    def to_dict(self) -> dict[str, float]:
        """The steps, rounded, in the order in which they came, and their sum."""
        shown = {name: round(value, 2) for name, value in self.ms.items()}
        return shown | {"total": round(sum(self.ms.values()), 2)}
