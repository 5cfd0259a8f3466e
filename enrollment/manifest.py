"""The manifest: which recordings belong to which speaker, whatever source they came from."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from enrollment.report import Outcome, Reason
from speaker_tasks.errors import Unusable

MAX_NAME = 120


@dataclass(frozen=True)
class Entry:
    """One recording, or a part of one, of one speaker."""

    speaker: str
    path: str
    """An absolute path, an `fsspec` URL, or `payload:<key>` for bytes that were uploaded."""
    start: float | None = None
    """Seconds; None is the beginning."""
    end: float | None = None
    """Seconds; None is the end."""
    row: str = ""
    """Where the source names it, for the report: a path below the root, `sheet 'Day 1', row 7`, `line 12`."""


@dataclass(frozen=True)
class Manifest:
    """All recordings of one enrollment, and what was found beside them."""

    entries: tuple[Entry, ...]
    skipped: tuple[Outcome, ...] = ()
    """What the source holds that cannot be enrolled, each with its reason."""
    speakers: tuple[str, ...] = ()
    """Every speaker that the source names, in its order, also those for whom it holds no recording."""

    def to_dict(self) -> dict[str, Any]:
        """The manifest as JSON."""
        return {
            "entries": [asdict(entry) for entry in self.entries],
            "skipped": [outcome.to_dict() for outcome in self.skipped],
            "speakers": list(self.speakers),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Manifest:
        """What `to_dict` wrote."""
        return cls(
            entries=tuple(Entry(**entry) for entry in data["entries"]),
            skipped=tuple(Outcome.from_dict(outcome) for outcome in data["skipped"]),
            speakers=tuple(data["speakers"]),
        )

    @classmethod
    def of(cls, entries: Iterable[Entry], skipped: Iterable[Outcome] = (), speakers: Iterable[str] = ()) -> Manifest:
        """A manifest whose speakers are those named, then those of the entries."""
        entries = tuple(entries)
        named = dict.fromkeys([*speakers, *(entry.speaker for entry in entries)])
        return cls(entries, tuple(skipped), tuple(named))


def narrow(text: str) -> str:
    """Full-width Latin letters, digits and signs, as typed in Chinese input methods, in their usual width."""
    return "".join(chr(ord(one) - 0xFEE0) if "\uff01" <= one <= "\uff5e" else one for one in text)


def clean_name(name: str) -> str:
    """A speaker's name as it is kept: NFC, no spaces round it, one where there were several.

    Raises `Unusable` for an empty or over-long name, control characters, and bytes that are not UTF-8.
    """
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    if not cleaned:
        raise Unusable("the speaker's name is empty")
    if len(cleaned) > MAX_NAME:
        raise Unusable(f"the speaker's name has {len(cleaned)} characters; at most {MAX_NAME} are allowed")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in cleaned):
        raise Unusable(f"the speaker's name holds control characters or is not UTF-8: {cleaned!r}")
    return cleaned


def clean_cell(value: object) -> str:
    """A cell of a sheet as text: whole numbers without a point, usual width, no stray spaces; "" if empty."""
    return " ".join(unicodedata.normalize("NFC", narrow(cell_text(value))).split())


def cell_text(value: object) -> str:
    """A cell of a sheet as it was typed: whole numbers without a point, no spaces round it; "" if empty."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def bad_name(row: str, error: Unusable) -> Outcome:
    """The outcome of something whose speaker's name cannot be kept."""
    return Outcome(speaker="", path="", row=row, reason=Reason.BAD_NAME, message=error.message)
