"""JobRecord: what is known of one job, as Redis keeps it and as the API shows it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from speaker_tasks.errors import Conflict, from_dict

State = Literal["queued", "running", "succeeded", "failed", "canceled", "expired", "partial"]
ACTIVE: tuple[State, ...] = ("queued", "running")


@dataclass(frozen=True)
class JobRecord:
    """One job. Times are seconds since 1970; `result` and `error` are JSON objects, `about` what it was asked to do."""

    id: str
    kind: str
    state: State = "queued"
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    expires: float | None = None
    """A job that no worker has started by then is expired."""
    moved: float | None = None
    """When a piece of its work was last done."""
    total: int = 0
    done: int = 0
    failed: int = 0
    worker: str | None = None
    """The worker that runs it, or ran it last."""
    about: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None

    @property
    def over(self) -> bool:
        """Whether the job has ended, well or not."""
        return self.state not in ACTIVE

    def to_dict(self) -> dict[str, Any]:
        """The record as the API shows it: times as ISO 8601 in UTC."""
        shown: dict[str, Any] = {"id": self.id, "kind": self.kind, "state": self.state}
        shown |= {name: _iso(getattr(self, name)) for name in ("created", "started", "finished")}
        shown["progress"] = {"total": self.total, "done": self.done, "failed": self.failed, **self._pace()}
        shown |= {"about": self.about, "result": self.result, "error": self.error}
        return shown

    def _pace(self) -> dict[str, float]:
        """Pieces of work a second since the start, and the seconds that the rest takes at that pace."""
        ready = self.done + self.failed
        if self.started is None or self.moved is None or not ready:
            return {}
        pace = ready / max(self.moved - self.started, 1e-3)
        return {"per_second": round(pace, 2), "seconds_left": round(max(0, self.total - ready) / pace, 1)}


def new_id(now: float) -> str:
    """A job's id: 32 hexadecimal digits that begin with the time in milliseconds, so that ids sort by age."""
    return f"{int(now * 1000):012x}{secrets.token_hex(10)}"


def made_at(job_id: str) -> float:
    """When a job was made, in seconds since 1970, as its id tells."""
    return int(job_id[:12], 16) / 1000


def from_hash(job_id: str, stored: dict[bytes, bytes], now: float) -> JobRecord:
    """The record of a hash in Redis; one that nobody took in time, by Redis' clock, is expired.

    Fields that a newer version writes are passed over.
    """
    text = {name.decode(): value for name, value in stored.items()}
    numbers = {
        name: float(text[name]) for name in ("created", "started", "finished", "expires", "moved") if name in text
    }
    counts = {name: int(text[name]) for name in ("total", "done", "failed") if name in text}
    objects = {name: orjson.loads(text[name]) for name in ("about", "result", "error") if name in text}
    state: Any = text.get("state", b"queued").decode()
    if state == "queued" and numbers.get("expires", float("inf")) < now:
        state = "expired"
    worker = text["worker"].decode() if "worker" in text else None
    kind = text.get("kind", b"").decode()
    return JobRecord(job_id, kind, state, worker=worker, **numbers, **counts, **objects)  # type: ignore[arg-type]


def outcome(job: JobRecord) -> dict[str, Any]:
    """The result of a job that has ended; raises its error, or `Conflict` if it was canceled."""
    if job.error is not None:
        raise from_dict(job.error)
    if job.result is None:
        raise Conflict(f"job {job.id} was {job.state}", job=job.id, state=job.state)
    return job.result


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
