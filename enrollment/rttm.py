"""RTTM files beside long recordings: who speaks from when to when (NIST Rich Transcription Time Marked)."""

from __future__ import annotations

from pathlib import Path

from enrollment.manifest import Entry, clean_name
from enrollment.report import Outcome, Reason
from enrollment.table import seconds
from speaker_tasks.errors import Unusable

FIELDS = 8
"""Type, file, channel, start, duration, two unused, speaker; more may follow."""


def segments(rttm: Path, recording: str, row: str) -> tuple[list[Entry], list[Outcome]]:
    """The parts of `recording` that its RTTM file gives to speakers, and the lines that cannot be used.

    Lines of other types and for other files of the same RTTM are left aside, unless that leaves none. `row` names the
    file in the report.
    """
    entries: list[Entry] = []
    skipped: list[Outcome] = []
    others: set[str] = set()
    try:
        lines = rttm.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return [], [Outcome("", recording, Reason.BAD_ROW, f"the RTTM file cannot be read: {error}", row)]
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields or fields[0] != "SPEAKER":
            continue
        if len(fields) > 1 and fields[1] != rttm.stem:
            others.add(fields[1])
            continue
        where = f"{row}, line {number}"
        try:
            entries.append(_segment(fields, recording, where))
        except (ValueError, Unusable) as error:
            skipped.append(Outcome("", recording, Reason.BAD_ROW, f"not a segment: {error}", where))
    if not entries and not skipped:
        told = f"; there is {', '.join(sorted(others)[:5])}" if others else ""
        skipped.append(Outcome("", recording, Reason.BAD_ROW, f"no SPEAKER line is of {rttm.stem!r}{told}", row))
    return entries, skipped


def _segment(fields: list[str], recording: str, where: str) -> Entry:
    if len(fields) < FIELDS:
        raise ValueError(f"{len(fields)} fields; at least {FIELDS} are wanted")
    start, length = seconds(fields[3]), seconds(fields[4])
    if start is None or not length:
        raise ValueError("it has no length")
    return Entry(clean_name(fields[7]), recording, start, round(start + length, 6), where)
