"""RTTM files beside long recordings: who speaks from when to when (NIST Rich Transcription Time Marked)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from enrollment.encodings import MAX_TEXT_BYTES
from enrollment.manifest import Entry, clean_name
from enrollment.report import Outcome, Reason
from enrollment.table import seconds
from speaker_tasks.errors import Unusable

FIELDS = 8
"""Type, file, channel, start, duration, two unused, speaker; more may follow."""
_SOMEONE = (
    "speakers?|spkr?|sp|s|talker|voice|person|participant|user|unknown|unk|unidentified|anonymous|none|null|na|n/a|male|female"
    "|man|woman|child|m|f|说话人|說話人|发言人|發言人|讲者|講者|未知"
)
_ANONYMOUS = re.compile(rf"({_SOMEONE})?[\s_\-#.:]*\d+|({_SOMEONE})([\s_\-#.:]+[a-h])?|[a-h]|<na>|\?+", re.IGNORECASE)
"""How diarisers and transcribers call people whom they do not know: `SPEAKER_00`, `spk1`, `S1`, `0`, `A`, `unknown`."""


def is_anonymous(label: str) -> bool:
    """Whether a label is a number within its file and nobody's name: two files' `SPEAKER_00` are two people."""
    return _ANONYMOUS.fullmatch(label.strip()) is not None


def segments(rttm: Path, recording: str, row: str, *, qualify: bool = False) -> tuple[list[Entry], list[Outcome]]:
    """The parts of `recording` that its RTTM file gives to speakers, and the lines that cannot be used.

    Anonymous labels are refused, or with `qualify` enrolled as `<file> <label>`. Lines of other types and for other
    files of the same RTTM are left aside, unless that leaves none. `row` names the file in the report.
    """
    entries: list[Entry] = []
    skipped: list[Outcome] = []
    others: set[str] = set()
    try:
        if rttm.stat().st_size > MAX_TEXT_BYTES:
            raise OSError(f"it has more than {MAX_TEXT_BYTES} bytes")
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
    if qualify:
        entries = [_qualified(entry, rttm.stem) for entry in entries]
    anonymous = Counter(entry.speaker for entry in entries if is_anonymous(entry.speaker))
    skipped += [_refused(label, count, recording, row) for label, count in anonymous.items()]
    entries = [entry for entry in entries if entry.speaker not in anonymous]
    if not entries and not skipped:
        hint = f"; there is {', '.join(sorted(others)[:5])}" if others else ""
        skipped.append(Outcome("", recording, Reason.BAD_ROW, f"no SPEAKER line is of {rttm.stem!r}{hint}", row))
    return entries, skipped


def _qualified(entry: Entry, file: str) -> Entry:
    name = clean_name(f"{file} {entry.speaker}") if is_anonymous(entry.speaker) else entry.speaker
    return replace(entry, speaker=name)


def _refused(label: str, count: int, recording: str, row: str) -> Outcome:
    parts = "1 segment" if count == 1 else f"{count} segments"
    message = (
        f"{label!r} ({parts}) is a label of this file and nobody's name: write the names into the RTTM file, or ask "
        f"for --qualify, which enrolls it as '{Path(row).stem} {label}'"
    )
    return Outcome("", recording, Reason.BAD_NAME, message, row)


def _segment(fields: list[str], recording: str, where: str) -> Entry:
    if len(fields) < FIELDS:
        raise ValueError(f"{len(fields)} fields; at least {FIELDS} are wanted")
    start, length = seconds(fields[3]), seconds(fields[4])
    if start is None or not length:
        raise ValueError("it has no length")
    return Entry(clean_name(fields[7]), recording, start, round(start + length, 6), where)
