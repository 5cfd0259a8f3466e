"""`.xlsx` and `.xlsm` files, read as a stream: what a sheet's cells show, and nothing else of the file.

Styles, charts, pictures and macros are left aside, so that what other programs write badly there does no harm. Counted
while it is read, and refused when it is too much: packed and unpacked bytes, elements, characters, rows and merges.
Nothing is built for cells that are empty.
"""

from __future__ import annotations

import posixpath
import re
from collections import deque
from collections.abc import Iterator
from typing import Any

from enrollment.cells import BUILT_IN, GENERAL, Cell, number
from enrollment.parts import Local, Parts, Text, unescaped
from speaker_tasks.errors import Unusable

MAX_STRINGS = 2_000_000
MAX_MERGES = 100_000
MAX_ROW, MAX_COLUMN = 1_048_576, 16_384
UNCALCULATED = "a formula without a stored result"
DAMAGED = "a text that the workbook does not hold"
_REFERENCE = re.compile(r"\$?([A-Za-z]{1,3})\$?([0-9]{1,7})")

Range = tuple[int, int, int, int]
"""First row, last row (from 1), first column, last column (from 0); both ends belong to it."""


def columns(letters: str) -> int:
    """The index from 0 of a column's letters: A is 0, XFD is 16383."""
    index = 0
    for letter in letters.upper():
        index = 26 * index + ord(letter) - 64
    return index - 1


class XlsxSheet:
    """One sheet as its tab stands in Excel; charts have no rows. `merges` are known once all rows were read."""

    def __init__(self, book: _Workbook, name: str, part: str, hidden: bool) -> None:
        self.name, self.hidden = name, hidden
        self.merges: list[Range] = []
        self.wanted: tuple[int, ...] = ()
        """The columns whose cells are made; all if empty."""
        self._book, self._part = book, part

    def rows(self) -> Iterator[tuple[int, dict[int, Cell]]]:
        """Each row that is not empty: its number, and its wanted cells by their column's index from 0."""
        self.merges.clear()
        return _Rows(self._book, self._part, self).read() if self._part else iter(())


def sheets(data: bytes, name: str) -> list[XlsxSheet]:
    """The sheets of a workbook in the order of their tabs. Raises `Unusable`, `TooLarge`, also while rows are read."""
    return _Workbook(Parts(data, name)).sheets()


class _Workbook:
    """What all sheets share: their names and files, texts, number formats."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._local = Local()
        self.since_1904 = self.calculated_on_load = False
        self._strings: list[str] | None = None
        self._formats: list[str] | None = None
        self._tabs: list[tuple[str, str, bool]] = []
        self._home = self._related("", "officeDocument") or "xl/workbook.xml"
        if self._home not in parts:
            raise parts.broken(f"it holds no {self._home}")

    def sheets(self) -> list[XlsxSheet]:
        """The sheets in the order of their tabs."""
        for _ in self.parts.parse(self._home, self._tab):
            pass
        targets = dict(self._targets(self._home))
        listed = []
        for name, relation, hidden in self._tabs:
            kind, target = targets.get(relation, ("", ""))
            if not kind:
                raise self.parts.broken(f"the sheet {name!r} has no file")
            listed.append(XlsxSheet(self, name, target if kind == "worksheet" else "", hidden))
        if not listed:
            raise self.parts.broken("it has no sheets")
        return listed

    def string(self, index: str) -> str | None:
        """A shared text; None if there is none of that number."""
        if self._strings is None:
            self._strings = self._read_strings()
        at = int(index) if index.isdecimal() and len(index) < 10 else -1
        return self._strings[at] if 0 <= at < len(self._strings) else None

    def format(self, style: str) -> str:
        """The number format of a cell's style."""
        if self._formats is None:
            self._formats = self._read_formats()
        at = int(style) if style.isdecimal() and len(style) < 10 else 0
        return self._formats[at] if at < len(self._formats) else GENERAL

    def _tab(self, name: str, attributes: dict[str, str]) -> None:
        match self._local[name]:
            case "sheet":
                relation = next((value for name, value in attributes.items() if name.endswith(":id")), "")
                hidden = attributes.get("state", "visible") != "visible"
                self._tabs.append((unescaped(attributes.get("name", "")), relation, hidden))
            case "workbookPr":
                self.since_1904 = attributes.get("date1904", "") in ("1", "true", "on")
            case "calcPr":
                self.calculated_on_load = attributes.get("fullCalcOnLoad", "") in ("1", "true", "on")

    def _read_strings(self) -> list[str]:
        part = self._related(self._home, "sharedStrings")
        strings: list[str] = []
        reading = Text(self.parts)

        def end(name: str) -> None:
            reading.end(name)
            if self._local[name] == "si":
                if len(strings) >= MAX_STRINGS:
                    raise self.parts.too_large(f"holds more than {MAX_STRINGS} different texts")
                strings.append(unescaped(reading.take()))

        if part in self.parts:
            for _ in self.parts.parse(part, reading.start, end, reading.text):
                pass
        return strings

    def _read_formats(self) -> list[str]:
        """The format code of each cell style; general for all of a file whose styles cannot be read."""
        codes, of_style, where = dict(BUILT_IN), [], ""

        def start(name: str, attributes: dict[str, str]) -> None:
            nonlocal where
            tag = self._local[name]
            if tag == "numFmt":
                codes[_int(attributes.get("numFmtId"))] = attributes.get("formatCode", GENERAL)[:1000]
            elif tag in ("cellXfs", "cellStyleXfs", "dxfs"):
                where = tag
            elif tag == "xf" and where == "cellXfs":
                of_style.append(_int(attributes.get("numFmtId")))

        part = self._related(self._home, "styles")
        if part in self.parts:
            try:
                for _ in self.parts.parse(part, start):
                    pass
            except Unusable:
                return []
        return [codes.get(one, GENERAL) for one in of_style]

    def _related(self, part: str, kind: str) -> str:
        return next((target for _, (one, target) in self._targets(part) if one == kind), "")

    def _targets(self, part: str) -> list[tuple[str, tuple[str, str]]]:
        """What a part's relations name: their ids with kind and path."""
        folder, name = posixpath.split(part)
        relations = posixpath.join(folder, "_rels", f"{name}.rels")
        relationships: list[tuple[str, tuple[str, str]]] = []

        def start(tag: str, attributes: dict[str, str]) -> None:
            if self._local[tag] == "Relationship" and attributes.get("TargetMode") != "External":
                target = posixpath.normpath(
                    posixpath.join("/", folder, attributes.get("Target", "").replace("\\", "/"))
                )
                kind = attributes.get("Type", "").rpartition("/")[2]
                relationships.append((attributes.get("Id", ""), (kind, target.lstrip("/"))))

        if relations in self.parts:
            for _ in self.parts.parse(relations, start):
                pass
        return relationships


Raw = tuple[int, str, str, str, bool]
"""A cell as the file has it: its column, type, style and text, and whether it is a formula."""


class _Rows:
    """One sheet's file: its rows one after another, then its merged blocks. Cells are made when they are wanted."""

    def __init__(self, book: _Workbook, part: str, sheet: XlsxSheet) -> None:
        self._book, self._part, self._sheet = book, part, sheet
        self._local, self._columns = Local(), dict[str, int]()
        self._ready: deque[tuple[int, list[Raw]]] = deque()
        self._row, self._column, self._phonetic = 0, -1, 0
        self._raw: list[Raw] = []
        self._kind, self._style, self._formula = "n", "", False
        self._open = False
        self._pieces: list[str] = []

    def read(self) -> Iterator[tuple[int, dict[int, Cell]]]:
        """The rows that are not empty."""
        for _ in self._book.parts.parse(self._part, self._start, self._end, self._text):
            while self._ready:
                number, raw = self._ready.popleft()
                wanted = self._sheet.wanted
                made = ((one[0], self._cell(one)) for one in raw if not wanted or one[0] in wanted)
                cells = {column: cell for column, cell in made if cell is not None}
                if cells or (wanted and any(self._cell(one) for one in raw)):
                    yield number, cells

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        tag = self._local[name]
        if tag == "c":
            self._column = self._at(attributes["r"]) if "r" in attributes else self._column + 1
            self._kind, self._style = attributes.get("t", "n"), attributes.get("s", "")
            self._formula, self._pieces = False, []
        elif tag in ("v", "t"):
            self._open = not self._phonetic
        elif tag == "f":
            self._formula = True
        elif tag == "row":
            self._row = _int(attributes["r"]) if "r" in attributes else self._row + 1
            self._column, self._raw = -1, []
            if not 0 < self._row <= MAX_ROW:
                raise self._book.parts.broken(f"a row of number {self._row}")
        elif tag == "rPh":
            self._phonetic += 1
        elif tag == "mergeCell":
            self._merge(attributes.get("ref", ""))

    def _end(self, name: str) -> None:
        tag = self._local[name]
        if tag == "c":
            if self._pieces or self._formula:
                self._raw.append((self._column, self._kind, self._style, "".join(self._pieces), self._formula))
        elif tag in ("v", "t"):
            self._open = False
        elif tag == "row":
            if self._raw:
                self._ready.append((self._row, self._raw))
        elif tag == "rPh":
            self._phonetic -= 1

    def _text(self, text: str) -> None:
        if self._open:
            self._book.parts.count_text(text)
            self._pieces.append(text)

    def _at(self, reference: str) -> int:
        letters = reference.rstrip("0123456789")
        column = self._columns.get(letters)
        if column is None:
            match = _REFERENCE.fullmatch(reference)
            column = columns(match[1]) if match else MAX_COLUMN
            if column >= MAX_COLUMN:
                raise self._book.parts.broken(f"a cell at {reference[:20]!r}")
            self._columns[letters] = column
        return column

    def _cell(self, raw: Raw) -> Cell | None:
        _, kind, style, value, formula = raw
        if formula and self._uncalculated(kind, value):
            return Cell("", fault=UNCALCULATED)
        if not value:
            return None
        if kind == "n":
            return self._number(value, style)
        if kind == "e":
            return Cell("", fault=f"the error {value[:20]}")
        if kind == "b":
            return Cell("TRUE" if value == "1" else "FALSE")
        text = self._book.string(value) if kind == "s" else unescaped(value)
        return Cell("", fault=DAMAGED) if text is None else Cell(text) if text.strip() else None

    def _uncalculated(self, kind: str, value: str) -> bool:
        """Programs without a calculator leave the result out, or write 0 and ask Excel to calculate when it opens."""
        if not value:
            return kind != "str"
        return self._book.calculated_on_load and kind == "n" and _float(value) == 0

    def _number(self, text: str, style: str) -> Cell:
        value = _float(text)
        if value is None:
            return Cell(text)
        return number(value, self._book.format(style), since_1904=self._book.since_1904)

    def _merge(self, reference: str) -> None:
        first, _, last = reference.partition(":")
        corners = _REFERENCE.fullmatch(first), _REFERENCE.fullmatch(last or first)
        if corners[0] is None or corners[1] is None:
            return
        if len(self._sheet.merges) >= MAX_MERGES:
            raise self._book.parts.too_large(f"has more than {MAX_MERGES} merged blocks")
        (left, top), (right, bottom) = ((columns(one[1]), int(one[2])) for one in corners if one)
        self._sheet.merges.append((top, bottom, left, right))


def _int(text: Any) -> int:
    return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 10 else 0


def _float(text: str) -> float | None:
    try:
        return float(text[:50])
    except ValueError:
        return None
