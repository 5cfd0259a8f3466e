"""The figures of a batcher: what it ran, how long that took, what waited."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Metrics:
    """Counts and sums since the start; `waiting` and `running_for` are of this moment."""

    batches: int = 0
    requests: int = 0
    largest_batch: int = 0
    sizes: Counter[int] = field(default_factory=Counter)
    """Calls by the requests that shared them."""
    wait_seconds: float = 0.0
    run_seconds: float = 0.0
    rejected: int = 0
    """Turned away because the queue was full."""
    expired: int = 0
    """Dropped unrun: cancelled, or past their deadline."""
    failed: int = 0
    waiting: int = 0
    running_for: float = 0.0
    """Seconds that the oldest call now in the network has taken; a watchdog looks at it."""

    def to_dict(self) -> dict[str, float]:
        """The counts, and the means: requests of a call, milliseconds that one waited and that a call took."""
        batches, requests = max(1, self.batches), max(1, self.requests)
        return {
            "requests": self.requests,
            "batches": self.batches,
            "mean_batch": round(self.requests / batches, 2),
            "largest_batch": self.largest_batch,
            "mean_wait_ms": round(1e3 * self.wait_seconds / requests, 2),
            "mean_run_ms": round(1e3 * self.run_seconds / batches, 2),
            "waiting": self.waiting,
            "rejected": self.rejected,
            "expired": self.expired,
            "failed": self.failed,
        }
