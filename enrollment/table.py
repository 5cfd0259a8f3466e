"""The CSV source: a header, and a row a recording with its speaker, path, and start and end seconds if it is a part."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

from enrollment.dictionary import placed
from enrollment.encodings import decoded
from enrollment.manifest import Entry, Manifest, clean_cell, clean_name
from enrollment.report import Outcome, Reason
from speaker_tasks.errors import NotFound, Unusable

SPEAKER, PATH, START, END = "speaker", "path", "start", "end"
FAULTS = frozenset({"#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!"})
"""What Excel writes for formulas that failed."""


def read(path: Path, *, root: Path | str | None = None, encoding: str | None = None) -> Manifest:
    """The manifest of a table with the columns `speaker` and `path`, and perhaps `start` and `end`.

    Separated by commas, semicolons or tabs; UTF-8, or Big5 or GB 18030 as Excel writes it in Taiwan and China, if no
    `encoding` is given. Relative paths start from `root`, by default the file's own folder. Raises `NotFound`,
    `Unusable`, `Malformed`.
    """
    lines = _text(path, encoding).splitlines()
    if not lines:
        raise Unusable(f"{path.name} is empty")
    separator = max(",;\t", key=lines[0].count)
    reader = csv.reader(lines, delimiter=separator)
    header = [clean_cell(cell).casefold() for cell in next(reader)]
    missing = [name for name in (SPEAKER, PATH) if name not in header]
    if missing:
        raise Unusable(f"{path.name} has no column {missing[0]!r}; its header is {', '.join(header)}", header=header)
    place = str(root if root is not None else path.parent.resolve()).rstrip("/")
    entries: list[Entry] = []
    skipped: list[Outcome] = []
    try:
        for found in _rows(reader, header, place):
            (entries if isinstance(found, Entry) else skipped).append(found)  # type: ignore[arg-type]
    except csv.Error as error:
        raise Unusable(f"{path.name} is not a table: {error}") from None
    return Manifest.of(entries, skipped)


def seconds(text: str) -> float | None:
    """A time in seconds; None if there is none. Raises `ValueError` for what is no time."""
    if not text:
        return None
    value = float(text)
    if not math.isfinite(value) or value < 0:
        raise ValueError(text)
    return value


def _rows(reader: Iterator[list[str]], header: list[str], root: str) -> Iterator[Entry | Outcome]:
    for number, cells in enumerate(reader, start=2):
        row = dict(zip(header, (clean_cell(cell) for cell in cells), strict=False))
        if not any(row.values()):
            continue
        where, path = f"line {number}", dict(zip(header, cells, strict=False)).get(PATH, "").strip()
        if fault := FAULTS.intersection((row.get(SPEAKER, ""), path)):
            yield Outcome("", path, Reason.BAD_ROW, f"a cell holds the error {', '.join(fault)}", where)
            continue
        try:
            speaker = clean_name(row.get(SPEAKER, ""))
        except Unusable as error:
            yield Outcome(row.get(SPEAKER, "")[:120], path, Reason.BAD_NAME, error.message, where)
            continue
        if not path:
            yield Outcome(speaker, "", Reason.BAD_ROW, "the row names no recording", where)
            continue
        try:
            start, end = seconds(row.get(START, "")), seconds(row.get(END, ""))
        except ValueError as error:
            yield Outcome(speaker, path, Reason.BAD_ROW, f"not a time in seconds: {error}", where)
            continue
        if end is not None and end <= (start or 0):
            yield Outcome(speaker, path, Reason.BAD_ROW, f"it ends at {end:g} s, before it starts", where)
            continue
        yield Entry(speaker, placed(path, root), start, end, where)


def _text(path: Path, encoding: str | None) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", path=str(path)) from None
    except OSError as error:
        raise Unusable(f"{path.name} cannot be read: {error.strerror}") from None
    return decoded([data], path.name, encoding)[0].removeprefix("\ufeff")
