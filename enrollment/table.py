"""The CSV source: a header, and a row a recording with its speaker, path, and start and end seconds if it is a part."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

from enrollment.dictionary import placed
from enrollment.encodings import text_of
from enrollment.headers import ENDS, FILES, SPEAKERS, STARTS, column, is_unclear, note
from enrollment.manifest import Entry, Manifest, clean_cell, clean_name
from enrollment.report import Outcome, Reason
from enrollment.soundfiles import by_name
from speaker_tasks.errors import NotFound, TooLarge, Unusable

SPEAKER, PATH, START, END = "speaker", "path", "start", "end"
WORDS = {SPEAKER: SPEAKERS, PATH: FILES, START: STARTS, END: ENDS}
"""What else these columns are called."""
FAULTS = frozenset({"#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!"})
"""What Excel writes for formulas that failed."""
MAX_ROWS = 500_000
MAX_TIME = 40
"""Characters of a time."""
_SEPARATOR = re.compile(r"\s*\"?sep=(.)\"?[^\S\r\n]*(?:\r\n|\r|\n|$)", re.IGNORECASE)
_TIME = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?")


def read(path: Path, *, root: Path | str | None = None, encoding: str | None = None) -> Manifest:
    """The manifest of a table with the columns `speaker` and `path`, and perhaps `start` and `end`.

    Other words for these are understood, see `enrollment.headers`; the report says which columns were taken.

    Separated by commas, semicolons, tabs, or what a first line `sep=` says, as Excel writes them; UTF-8 or UTF-16, or
    Big5 or GB 18030 as Excel writes it in Taiwan and China, if no `encoding` is given. Relative paths start from
    `root`, by default the file's own folder. Raises `NotFound`, `Unusable`, `Malformed`, `TooLarge`.
    """
    text = text_of(path, encoding)
    declared = _SEPARATOR.match(text)
    body = text[declared.end() :] if declared else text
    if not body.strip():
        raise Unusable(f"{path.name} is empty")
    first = next(line for line in body.splitlines() if line.strip())
    separator = declared[1] if declared else max(",;\t", key=first.count)
    place = str(root if root is not None else path.parent.resolve()).rstrip("/")
    rows = _Rows(path.name, csv.reader(io.StringIO(body, newline=""), delimiter=separator, strict=True), bool(declared))
    line, written = next(((number, cells) for number, cells in rows if any(cells)), (1, []))
    header = _header(path.name, written)
    entries: list[Entry] = []
    skipped = _guesses(header, written, f"line {line}")
    for number, cells in rows:
        if any(cell.strip() for cell in cells):
            item = _row(f"line {number}", header, cells, place, comma=separator != ",")
            (entries if isinstance(item, Entry) else skipped).append(item)  # type: ignore[arg-type]
    if skipped and skipped[0].reason is Reason.HEADER and any(by_name(entry.speaker) for entry in entries):
        raise Unusable(
            f"{path.name} has recordings in the column {written[header.index(SPEAKER)]!r}; call the people's 'speaker'"
        )
    return Manifest.of(entries, skipped)


def _guesses(header: list[str], written: list[str], where: str) -> list[Outcome]:
    """A note of the columns that are ours, if one of them is called otherwise."""
    named = {ours: written[header.index(ours)].strip() for ours in WORDS if ours in header}
    if all(clean_cell(text).casefold() == ours for ours, text in named.items()):
        return []
    return [note(named[SPEAKER], named[PATH], [named[one] for one in (START, END) if one in named], where)]


def _header(name: str, cells: list[str]) -> list[str]:
    """The columns' names, ours for those that are called otherwise. Raises `Unusable` if speaker or path is missing."""
    header = [clean_cell(cell).casefold() for cell in cells]
    shown = ", ".join(header)[:500]
    for ours, words in WORDS.items():
        if ours in header:
            continue
        if ours in (START, END) and is_unclear(header, words):
            raise Unusable(f"{name} has several columns for the {ours}; call one of them {ours!r}", header=header[:50])
        if (index := column(header, words)) is not None:
            header[index] = ours
    for ours, chinese in ((SPEAKER, "姓名"), (PATH, "檔案")):
        if header.count(ours) != 1:
            there = "no column" if ours not in header else "several columns"
            raise Unusable(
                f"{name} has {there} {ours!r} (or {chinese}); its header is {shown}. Name the columns in the first row",
                header=header[:50],
            )
    return header


class _Rows:
    """The rows with the lines on which they end. Raises `Unusable` for quotes that do not match, `TooLarge`."""

    def __init__(self, name: str, reader: Any, shifted: bool) -> None:
        self._name, self._reader, self._shift = name, reader, int(shifted)
        self._left = MAX_ROWS

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> tuple[int, list[str]]:
        self._left -= 1
        if self._left < 0:
            raise TooLarge(f"{self._name} has more than {MAX_ROWS} rows; split it")
        begin = self._reader.line_num + 1 + self._shift
        try:
            cells: list[str] = next(self._reader)
        except csv.Error as error:
            why = "a cell is too long" if "limit" in str(error) else 'the quotes (") of a cell do not match'
            raise Unusable(f"{self._name}, line {begin}: {why}; mend it, and save it as CSV again") from None
        return self._reader.line_num + self._shift, cells


def seconds(text: str, *, comma: bool = False) -> float | None:
    """A time in seconds; None if there is none. `comma`: it may be written as in 0,5. Raises `ValueError`."""
    if not text:
        return None
    if comma and text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    if len(text) > MAX_TIME or not _TIME.fullmatch(text):
        raise ValueError(text[:MAX_TIME])
    return float(text)


def _row(where: str, header: list[str], cells: list[str], root: str, *, comma: bool) -> Entry | Outcome:
    row = dict(zip(header, (clean_cell(cell) for cell in cells), strict=False))
    path = dict(zip(header, cells, strict=False)).get(PATH, "").strip()
    speaker = row.get(SPEAKER, "")
    if fault := FAULTS.intersection((speaker, path)):
        return Outcome("", path, Reason.BAD_ROW, f"a cell holds the error {', '.join(fault)}", where)
    try:
        speaker = clean_name(speaker)
        start, end = times(row.get(START, ""), row.get(END, ""), comma=comma)
        if any(cell.strip() for cell in cells[len(header) :]):
            raise ValueError(f"{len(cells)} cells, but {len(header)} in the header: quote what holds a separator")
        if not path:
            raise ValueError("the row names no recording")
        return Entry(speaker, placed(path, root), start, end, where)
    except Unusable as error:
        return Outcome(speaker[:120], path, Reason.BAD_NAME, error.message, where)
    except NotFound as error:
        return Outcome(speaker, path, Reason.MISSING, error.message, where)
    except ValueError as error:
        return Outcome(speaker, path, Reason.BAD_ROW, str(error), where)


def times(first: str, last: str, *, comma: bool) -> tuple[float | None, float | None]:
    """From when to when, in seconds. Raises `ValueError` in words for the report."""
    try:
        start, end = (seconds(text, comma=comma) for text in (first, last))
    except ValueError as error:
        raise ValueError(f"not a time in seconds: {error}") from None
    if end is not None and end <= (start or 0):
        raise ValueError(f"it ends at {end:g} s, before it starts")
    return start, end
