"""What the HTTP client gives: the answers of `/v1` as frozen dataclasses; `raw` is the whole JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from speaker_tasks.errors import SpeakerTasksError, from_dict

OVER = ("succeeded", "failed", "canceled", "expired", "partial")


@dataclass(frozen=True)
class Candidate:
    """One of the best speakers: cosine, and the calibrated probability if there is one."""

    speaker: str
    score: float
    probability: float | None


@dataclass(frozen=True)
class Identification:
    """Who speaks: `decision` is `match`, `unknown` or `inconclusive`; `speaker` is named for a match only."""

    decision: str
    reason: str
    speaker: str | None
    score: float
    margin: float | None
    probability: float | None
    threshold: float | None
    candidates: tuple[Candidate, ...]
    speech_seconds: float
    bank: str
    bank_version: int
    model: str
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Identification:
        """From the answer's JSON."""
        return cls(
            **_picked(raw, "decision", "reason", "speaker", "score", "margin", "probability", "threshold"),
            candidates=tuple(Candidate(**_picked(one, "speaker", "score", "probability")) for one in raw["candidates"]),
            speech_seconds=raw["speech_seconds"],
            bank=raw["bank"]["name"],
            bank_version=raw["bank"]["version"],
            model=raw["model"],
            raw=raw,
        )


@dataclass(frozen=True)
class Verification:
    """Whether the claimed speaker speaks, or two recordings are of one voice (then `speaker` is None)."""

    decision: str
    reason: str
    score: float
    probability: float | None
    threshold: float | None
    speaker: str | None
    model: str
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Verification:
        """From the answer's JSON."""
        picked = _picked(raw, "decision", "reason", "score", "probability", "threshold", "model")
        return cls(**picked, speaker=raw.get("speaker"), raw=raw)


@dataclass(frozen=True)
class Vector:
    """A recording's unit vector of 512 numbers."""

    vector: tuple[float, ...] = field(repr=False)
    speech_seconds: float
    model: str
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Vector:
        """From the answer's JSON."""
        return cls(tuple(raw["vector"]), raw["speech_seconds"], raw["model"], raw)


@dataclass(frozen=True)
class Turn:
    """Somebody speaks, in seconds from the beginning of the recording."""

    id: int
    start: float
    end: float
    speaker: str
    overlap: bool
    score: float | None
    probability: float | None


@dataclass(frozen=True)
class Timeline:
    """Who spoke when; `speakers` maps each name to their seconds, `job` is what corrections name."""

    job: str
    turns: tuple[Turn, ...]
    speakers: Mapping[str, float]
    seconds: float
    revision: int
    bank: str
    bank_version: int
    model: str
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, job: str, raw: Mapping[str, Any]) -> Timeline:
        """From the answer's JSON."""
        shown = ("id", "start", "end", "speaker", "overlap", "score", "probability")
        return cls(
            job,
            tuple(Turn(**_picked(one, *shown)) for one in raw["turns"]),
            {one["speaker"]: one["seconds"] for one in raw["speakers"]},
            raw["seconds"],
            raw["revision"],
            raw["bank"]["name"],
            raw["bank"]["version"],
            raw["model"],
            raw,
        )


@dataclass(frozen=True)
class Job:
    """A job that goes on or has ended; times are ISO 8601 in UTC."""

    id: str
    kind: str
    state: str
    total: int
    done: int
    failed: int
    result: Mapping[str, Any] | None = field(repr=False)
    error: Mapping[str, Any] | None
    raw: Mapping[str, Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Job:
        """From the job's JSON."""
        progress = _picked(raw["progress"], "total", "done", "failed")
        return cls(**_picked(raw, "id", "kind", "state", "result", "error"), **progress, raw=raw)

    @property
    def over(self) -> bool:
        """Whether the job has ended, well or not."""
        return self.state in OVER

    def outcome(self) -> Mapping[str, Any]:
        """The result of a job that ended well. Raises the error that it ended with."""
        if self.error is not None:
            raise from_dict(dict(self.error))
        if self.result is None:
            raise SpeakerTasksError(f"job {self.id} is {self.state} and has no result", job=self.id, state=self.state)
        return self.result


def _picked(raw: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: raw[name] for name in names}
