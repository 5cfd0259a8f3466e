"""The report: what became of each recording, with a reason code that programs read and a sentence that people read."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from enrollment.roots import OutsideRoots
from speaker_tasks.errors import (
    NotFinite,
    NotFound,
    PayloadGone,
    SpeakerTasksError,
    TooLarge,
    UnsupportedAudio,
    UnusableAudio,
)


class Reason(StrEnum):
    """Why a recording was, or was not, enrolled."""

    ENROLLED = "enrolled"
    NOT_AUDIO = "not_audio"
    HIDDEN = "hidden"
    MISPLACED = "misplaced"
    HEADER = "header"
    OUTSIDE_ROOTS = "outside_roots"
    BAD_NAME = "bad_name"
    BAD_ROW = "bad_row"
    MISSING = "missing"
    UNREADABLE = "unreadable"
    UNUSABLE = "unusable"
    SILENT = "silent"
    NOT_FINITE = "not_finite"
    TOO_LONG = "too_long"
    EXPIRED = "expired"
    DUPLICATE = "duplicate"
    TOO_LITTLE_SPEECH = "too_little_speech"
    CLIPPED = "clipped"
    NOISY = "noisy"
    SEVERAL_VOICES = "several_voices"
    OUTLIER = "outlier"
    MIXED_VOICES = "mixed_voices"
    TWO_NAMES = "two_names"
    FAILED = "failed"


SKIPPED = frozenset({Reason.NOT_AUDIO, Reason.HIDDEN, Reason.MISPLACED, Reason.HEADER})
"""Left aside while the source was read: named in the report, but nothing that anybody meant to enroll."""

_REASONS: tuple[tuple[type[SpeakerTasksError], Reason], ...] = (
    (OutsideRoots, Reason.OUTSIDE_ROOTS),
    (NotFinite, Reason.NOT_FINITE),
    (UnusableAudio, Reason.UNUSABLE),
    (UnsupportedAudio, Reason.UNREADABLE),
    (TooLarge, Reason.TOO_LONG),
    (NotFound, Reason.MISSING),
    (PayloadGone, Reason.EXPIRED),
)
COLUMNS = ("speaker", "path", "row", "outcome", "message", "seconds", "damaged", "seconds_lost")


@dataclass(frozen=True)
class Outcome:
    """What became of one recording."""

    speaker: str
    path: str
    reason: Reason
    message: str = ""
    row: str = ""
    seconds: float = 0.0
    """Seconds that were read."""
    damaged: bool = False
    """Whether a part of it could not be read."""
    seconds_lost: float = 0.0
    """About how many seconds; 0 where that is unknown."""

    @property
    def enrolled(self) -> bool:
        """Whether the recording is in the bank."""
        return self.reason is Reason.ENROLLED

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON; `outcome` is the reason code."""
        return {
            "speaker": self.speaker,
            "path": self.path,
            "row": self.row,
            "outcome": self.reason.value,
            "message": self.message,
            "seconds": round(self.seconds, 3),
            "damaged": self.damaged,
            "seconds_lost": round(self.seconds_lost, 3),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Outcome:
        """What `to_dict` wrote; further keys are left aside."""
        kept = {name: data[name] for name in ("speaker", "path", "row", "message", "seconds")}
        damage = {name: data[name] for name in ("damaged", "seconds_lost") if name in data}
        return cls(reason=Reason(data["outcome"]), **kept, **damage)


def reason_of(error: SpeakerTasksError) -> Reason:
    """The reason code of an error that stopped one recording."""
    if isinstance(error, UnusableAudio) and "level_db" in error.details:
        return Reason.SILENT
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), Reason.FAILED)


@dataclass(frozen=True)
class Report:
    """The outcomes of one enrollment, in the order of its source."""

    outcomes: tuple[Outcome, ...]

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Report:
        """A report of these outcomes."""
        return cls(tuple(outcomes))

    @property
    def enrolled(self) -> int:
        """How many recordings are in the bank."""
        return sum(outcome.enrolled for outcome in self.outcomes)

    @property
    def left_out(self) -> tuple[Outcome, ...]:
        """Those that were meant to be enrolled and are not."""
        return tuple(one for one in self.outcomes if not one.enrolled and one.reason not in SKIPPED)

    def counts(self) -> dict[str, int]:
        """How many outcomes each reason code has."""
        return dict(Counter(outcome.reason.value for outcome in self.outcomes))

    def to_json(self) -> str:
        """All outcomes as a JSON list, names as they are written."""
        return json.dumps([outcome.to_dict() for outcome in self.outcomes], ensure_ascii=False, indent=2)

    def to_csv(self) -> str:
        """All outcomes as CSV with a header; cells that a spreadsheet would take for formulas are quoted."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for outcome in self.outcomes:
            writer.writerow({name: _inert(value) for name, value in outcome.to_dict().items()})
        return text.getvalue()


def speakers_without(speakers: Sequence[str], outcomes: Iterable[Outcome]) -> list[str]:
    """The speakers of whom no recording is usable, in order."""
    usable = {outcome.speaker for outcome in outcomes if outcome.enrolled}
    return [speaker for speaker in speakers if speaker not in usable]


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
