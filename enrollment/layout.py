"""Where a workbook holds what: its columns, its sheets without data, and where its recordings lie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from enrollment.cells import Cell
from enrollment.manifest import clean_cell
from enrollment.soundfiles import by_name
from enrollment.xlsx import MAX_COLUMN, columns
from speaker_tasks.errors import Malformed

RECORDING, SPEAKER = 0, 5
"""The usual columns: A and F."""
PATTERN = "{root}/{sheet}/wav/{recording}.wav"
MAX_PATTERN = 500
_FIELD = re.compile(r"\{(root|sheet|recording)\}")
_LETTERS = re.compile(r"[A-Z]{1,2}|[a-z]")
ENDINGS = (".wav", ".mp3", ".m4a", ".flac", ".ogg", ".webm")
"""What is tried for a recording that a list names without its ending."""


@dataclass(frozen=True)
class Layout:
    """Where a workbook holds what. The defaults are those of the first server's conference workbooks."""

    recording: int | str = RECORDING
    """Column of the recording's name: its index from 0, its text in the header row, or its letter."""
    speaker: int | str = SPEAKER
    """Column of the speaker's name."""
    skip_sheets: tuple[str, ...] = ()
    """Sheets that hold no data, by name."""
    skip_last: int = 2
    """How many sheets at the end hold no data, as Excel shows the tabs: charts count, hidden sheets do not."""
    pattern: str = PATTERN
    """Where a recording lies; `{root}`, `{sheet}` and `{recording}` are filled in, and nothing else."""
    named_files: bool = False
    """Whether the recording's column names files, below the root or the sheet's folder, before the pattern is tried."""
    times: tuple[int | None, int | None] = (None, None)
    """Columns of the start and the end in seconds, where only a part of a recording is meant."""

    def __post_init__(self) -> None:
        fields, rest = _FIELD.findall(self.pattern), _FIELD.sub("", self.pattern)
        if len(self.pattern) > MAX_PATTERN:
            raise Malformed(f"the path pattern has {len(self.pattern)} characters; at most {MAX_PATTERN} are taken")
        if "{" in rest or "}" in rest or "recording" not in fields or "\0" in rest:
            raise Malformed(f"the path pattern takes {{root}}, {{sheet}} and {{recording}}; got {self.pattern!r}")
        if self.skip_last < 0:
            raise Malformed(f"the number of sheets to skip at the end is {self.skip_last}")
        for column in (self.recording, self.speaker):
            if isinstance(column, int) and not 0 <= column < MAX_COLUMN:
                raise Malformed(f"there is no column {column}; columns are counted from 0")

    @property
    def is_usual(self) -> bool:
        """Whether nothing was said of the columns, the pattern and the last sheets."""
        return replace(self, skip_sheets=()) == Layout()

    def paths(self, root: str, sheet: str, recording: str) -> list[str]:
        """Where a recording may lie, the likeliest place first."""
        values = {"root": root, "sheet": sheet, "recording": self._without_ending(recording)}
        usual = _FIELD.sub(lambda match: values[match[1]], self.pattern)
        if not self.named_files:
            return [usual]
        names = [recording] if by_name(recording) else [recording + ending for ending in ENDINGS]
        return [*(f"{folder}/{name}" for folder in (root, f"{root}/{sheet}") for name in names), usual]

    def _without_ending(self, recording: str) -> str:
        ending = PurePosixPath(_FIELD.sub("x", self.pattern)).suffix or ".wav"
        return recording[: -len(ending)] if recording.lower().endswith(ending.lower()) else recording


def is_place(column: str) -> bool:
    """Whether a column is named by its letters or its index rather than by its header."""
    return column.isdecimal() or _LETTERS.fullmatch(column) is not None


def column_of(header: Mapping[int, Cell], column: int | str) -> int | None:
    """A column's index: as given, by its text in the header row, else by its letters, such as `F`."""
    if isinstance(column, int):
        return column
    wanted = clean_cell(column).casefold()
    for index, cell in sorted(header.items()):
        if clean_cell(cell.shown).casefold() == wanted:
            return index
    if column.isdecimal() and len(column) < 6:
        return int(column)
    index = columns(column) if _LETTERS.fullmatch(column) else -1
    return index if 0 <= index <= max(header, default=-1) else None
