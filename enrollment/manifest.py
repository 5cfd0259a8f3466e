"""The manifest: which recordings belong to which speaker, whatever source they came from."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from banks.names import MAX_GIVEN, clean_name
from enrollment.report import SKIPPED, Outcome, Reason
from speaker_tasks.errors import Unusable


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
        """What `to_dict`, or another program, wrote: names are cleaned, entries without a usable one are skipped."""
        entries, skipped = [], [Outcome.from_dict(outcome) for outcome in data["skipped"]]
        for given in data["entries"]:
            entry = Entry(**given)
            try:
                entries.append(replace(entry, speaker=clean_name(entry.speaker)))
            except Unusable as error:
                skipped.append(bad_name(entry.row or entry.path, error))
        named = []
        for speaker in data["speakers"]:
            with suppress(Unusable):  # whoever has such a name is among the skipped
                named.append(clean_name(speaker))
        return cls.of(entries, skipped, named)

    @classmethod
    def of(cls, entries: Iterable[Entry], skipped: Iterable[Outcome] = (), speakers: Iterable[str] = ()) -> Manifest:
        """A manifest whose speakers are those named, those of the entries, and those who come out empty."""
        entries = tuple(entries)
        last = SKIPPED - {Reason.HEADER}
        skipped = sorted(skipped, key=lambda one: one.reason in last)  # what was meant to be enrolled comes first
        meant = (one.speaker for one in skipped if one.speaker and one.reason not in SKIPPED | {Reason.BAD_NAME})
        named = dict.fromkeys([*speakers, *(entry.speaker for entry in entries), *meant])
        return cls(entries, tuple(skipped), tuple(named))


def narrow(text: str) -> str:
    """Full-width Latin letters, digits and signs, as typed in Chinese input methods, in their usual width."""
    return "".join(chr(ord(one) - 0xFEE0) if "\uff01" <= one <= "\uff5e" else one for one in text)


def clean_cell(value: object) -> str:
    """A cell of a sheet as text: whole numbers without a point, usual width, no stray spaces; "" if empty.

    What is too long for a name or a time is not brought to NFC, which takes the square of its length at worst.
    """
    text = narrow(cell_text(value))
    return " ".join((unicodedata.normalize("NFC", text) if len(text) <= MAX_GIVEN else text).split())


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
