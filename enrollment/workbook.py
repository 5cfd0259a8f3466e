"""The conference workbook: one sheet a day, a row a recording with its speaker.

`.xlsx` is read by `enrollment.xlsx`, older files by `enrollment.xls`; which it is, the file's first bytes say, not its
ending. Of a sheet only the columns of the recording and the speaker are kept.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from enrollment import xls, xlsx
from enrollment.cells import Cell
from enrollment.headers import FILES, HEADERS, SPEAKERS, plain
from enrollment.layout import RECORDING, SPEAKER, Layout, column_of, is_place
from enrollment.manifest import Entry, Manifest, clean_cell, clean_name
from enrollment.plainlists import LOOKED_AT, Sheet, is_skipped, kept_sheets, plain_lists, row_of, visible_sheets
from enrollment.report import Outcome, Reason
from enrollment.roots import OutsideRoots
from enrollment.table import times
from speaker_tasks.errors import NotFound, TooLarge, Unusable

MAX_FILE_BYTES = 64 * 1024**2
MAX_ROWS = 200_000
"""Rows of one sheet that are not empty."""
MAX_FILLED = 2 * MAX_ROWS
"""Cells that merged blocks may fill; more only where blocks overlap, which Excel never writes."""
MAX_NAME, MAX_PATH = 1000, 4096
"""Characters of a cell with a recording's name, and of a recording's path."""
ZIP = b"PK\x03\x04"
Inside = Callable[[str], Path]
"""Follows a path to a file. Raises `OutsideRoots`, `NotFound`."""


def looks_like(beginning: bytes, ending: str) -> bool:
    """Whether a file that begins so is an old workbook; the oldest begin with two bytes that texts may begin with."""
    return beginning.startswith(xls.BEGINNINGS if ending == ".xls" else xls.OLE2)


def read(
    path: Path, *, root: Path | str | None = None, layout: Layout | None = None, inside: Inside | None = None
) -> Manifest:
    """The manifest of a workbook; rows that cannot be enrolled are named by sheet and row.

    `root` is where the sheets' folders lie (a folder, or an `fsspec` URL), by default the workbook's own folder. Every
    path is looked at through `inside`, by default freely. Raises `NotFound`, `Unusable` for a file that is no workbook,
    holds no data sheets or was never calculated, `TooLarge`.

    If nothing is said of the layout, a workbook whose first row names a column of people and one of files is read by
    these names: a plain list, as most people write one. The report says which columns were taken. A workbook of which
    a recording lies where a conference's does is never read so.
    """
    layout = layout or Layout()
    place = str(root if root is not None else path.parent.resolve()).rstrip("/")
    reading = _Reading(layout, place, inside or Path, path.name)
    sheets = _sheets(path)
    lists = plain_lists(sheets, layout) if layout.is_usual and not reading.is_conference(sheets) else []
    if lists:
        for one in lists:
            reading.layout = one.layout
            reading.skipped.append(one.note)
            reading.sheet(one.sheet)
        listed = [one.sheet for one in lists]
        _name_unread([one for one in sheets if all(one is not sheet for sheet in listed)], layout, reading.skipped)
    else:
        for sheet in _data_sheets(sheets, layout, path.name, reading.skipped):
            reading.sheet(sheet)
    return Manifest.of(reading.entries, reading.skipped)


@dataclass
class _Row:
    """What is kept of a row."""

    number: int
    recording: Cell | None
    speaker: Cell | None
    times: tuple[Cell | None, ...] = ()


class _Reading:
    """One workbook on its way to a manifest."""

    def __init__(self, layout: Layout, root: str, inside: Inside, name: str) -> None:
        self.layout, self.root, self.inside, self.name = layout, root, inside, name
        self.entries: list[Entry] = []
        self.skipped: list[Outcome] = []

    def is_conference(self, sheets: Sequence[Sheet]) -> bool:
        """Whether one of the first recordings of a sheet lies where a conference's does.

        Behind a URL nobody looks: there it is one if the usual columns of a sheet are called as a conference's are.
        """
        for sheet in kept_sheets(sheets, self.layout):
            rows = list(islice(sheet.rows(), LOOKED_AT))
            if self._by_url and rows:
                first = [plain(cell.shown) if (cell := rows[0][1].get(at)) else "" for at in (RECORDING, SPEAKER)]
                if first[0] in FILES and first[1] in SPEAKERS:
                    return True
            for number, cells in rows:
                if self._is_there(_Row(number, cells.get(RECORDING), cells.get(SPEAKER)), sheet.name):
                    return True
        return False

    def sheet(self, sheet: Sheet) -> None:
        """Read one sheet. Raises `Unusable`, `TooLarge`."""
        rows: list[_Row] = []
        columns: tuple[int, int] | None = None
        for number, cells in sheet.rows():
            if columns is None:
                columns = self._columns(cells, sheet.name, number)
                if columns is None:
                    return
                sheet.wanted = tuple(index for index in (*columns, *self.layout.times) if index is not None)
            if len(rows) >= MAX_ROWS:
                raise TooLarge(f"the sheet {sheet.name!r} of {self.name} has more than {MAX_ROWS} rows; split it")
            spans = tuple(None if index is None else cells.get(index) for index in self.layout.times)
            rows.append(_Row(number, cells.get(columns[0]), cells.get(columns[1]), spans))
        if columns is None:
            return
        self._fill(rows, sheet, *columns)
        self._refuse_uncalculated(rows, sheet.name)
        if self._begins_with_header(rows, sheet.name):
            rows = rows[1:]
        for row in rows:
            item = self._row(row, sheet.name)
            (self.entries if isinstance(item, Entry) else self.skipped).append(item)  # type: ignore[arg-type]

    def _columns(self, header: Mapping[int, Cell], sheet: str, number: int) -> tuple[int, int] | None:
        columns = [column_of(header, column) for column in (self.layout.recording, self.layout.speaker)]
        if columns[0] is not None and columns[1] is not None:
            return columns[0], columns[1]
        missing = self.layout.recording if columns[0] is None else self.layout.speaker
        names = ", ".join(list(dict.fromkeys(clean_cell(cell.shown) for cell in header.values()))[:20])
        message = f"no column {missing!r} in the header; there is {names[:500] or 'nothing'}"
        self.skipped.append(Outcome("", "", Reason.BAD_ROW, message, row_of(sheet, number)))
        return None

    def _fill(self, rows: list[_Row], sheet: Sheet, recording: int, speaker: int) -> None:
        """Give all cells of a merged block the value of its first; those that begin in the header name no data."""
        wanted = (recording, speaker)
        blocks = [
            (top, bottom, first, last)
            for top, bottom, first, last in sheet.merges
            if rows and top > rows[0].number and any(first <= column <= last for column in wanted)
        ]
        firsts = {(top, first) for top, _, first, _ in blocks if first not in wanted}
        elsewhere = _cells(sheet, firsts) if firsts else {}
        numbers = [row.number for row in rows]
        left = MAX_FILLED
        for top, bottom, first, last in blocks:
            begin, end = bisect_left(numbers, top), bisect_left(numbers, bottom + 1)
            left -= end - begin
            if left < 0:
                raise Unusable(f"the merged cells of the sheet {sheet.name!r} of {self.name} overlap; unmerge them")
            if begin == end or numbers[begin] != top:
                continue
            row = rows[begin]
            value = (
                row.recording
                if first == recording
                else row.speaker
                if first == speaker
                else elsewhere.get((top, first))
            )
            for row in rows[begin:end]:
                row.recording = value if first <= recording <= last else row.recording
                row.speaker = value if first <= speaker <= last else row.speaker

    def _refuse_uncalculated(self, rows: Sequence[_Row], sheet: str) -> None:
        """Raise `Unusable` for formulas in the two columns whose results no program has stored."""
        cells = ((row.number, cell) for row in rows for cell in (row.recording, row.speaker))
        uncalculated = [number for number, cell in cells if cell is not None and cell.fault == xlsx.UNCALCULATED]
        if uncalculated:
            more = f" and {len(uncalculated) - 1} more" if len(uncalculated) > 1 else ""
            raise Unusable(
                f"{self.name}: {row_of(sheet, uncalculated[0])}{more}: {xlsx.UNCALCULATED}; "
                "open it in Excel or LibreOffice, which calculates it, and save it",
                sheet=sheet,
                rows=uncalculated[:20],
            )

    def _begins_with_header(self, rows: Sequence[_Row], sheet: str) -> bool:
        """Whether the first row names the columns. It is enrolled if it is one of the data, else named if unsure."""
        if not rows:
            return False
        first, rest = rows[0], rows[1:]
        columns = (self.layout.recording, self.layout.speaker)
        if self.layout.named_files or any(isinstance(one, str) and not is_place(one) for one in columns):
            return True
        texts = [clean_cell(cell.shown) if cell else "" for cell in (first.recording, first.speaker)]
        if all(texts) and self._is_there(first, sheet):
            return False
        if any(plain(text) in HEADERS for text in texts):
            return True
        if all(texts) and _like_the_others(texts, rest):
            return False
        if any(texts):
            shown = ", ".join(repr(text[:60]) for text in texts)
            message = (
                f"taken for the header row: {shown}; if it is a recording, put a row with the columns' names above"
            )
            self.skipped.append(Outcome("", texts[0][:200], Reason.MISPLACED, message, row_of(sheet, first.number)))
        return True

    def _is_there(self, row: _Row, sheet: str) -> bool:
        if row.recording is None or self._by_url or row.recording.fault:
            return False
        return isinstance(self._row(row, sheet), Entry)

    @property
    def _by_url(self) -> bool:
        return "://" in self.root + self.layout.pattern

    def _row(self, row: _Row, sheet: str) -> Entry | Outcome:
        where = row_of(sheet, row.number)
        recording, speaker = (clean_cell(cell.shown) if cell else "" for cell in (row.recording, row.speaker))
        fault = next((cell.fault for cell in (row.recording, row.speaker, *row.times) if cell and cell.fault), "")
        if fault:
            return Outcome(speaker[:120], recording[:MAX_NAME], Reason.BAD_ROW, f"a cell holds {fault}", where)
        if row.recording is None or not recording or not speaker:
            which = "no recording" if speaker else "no speaker" if recording else "neither a recording nor a speaker"
            return Outcome(speaker[:120], recording[:MAX_NAME], Reason.BAD_ROW, f"the row names {which}", where)
        try:
            name = clean_name(speaker)
        except Unusable as error:
            return Outcome(speaker[:120], recording[:MAX_NAME], Reason.BAD_NAME, error.message, where)
        item = self._entry(name, row.recording, sheet, where)
        if isinstance(item, Outcome) or not any(row.times):
            return item
        try:
            start, end = times(
                *(clean_cell(cell.plain or cell.shown) if cell else "" for cell in row.times), comma=True
            )
        except ValueError as error:
            return Outcome(name, item.path, Reason.BAD_ROW, str(error), where)
        return replace(item, start=start, end=end)

    def _entry(self, speaker: str, recording: Cell, sheet: str, where: str) -> Entry | Outcome:
        written = [text.strip().replace("\\", "/") for text in recording.texts]
        cleaned = [clean_cell(text) for text in written]
        if max(map(len, written)) > MAX_NAME:
            message = f"the recording's name has {len(written[0])} characters; at most {MAX_NAME} are taken"
            return Outcome(speaker, written[0][:200], Reason.BAD_ROW, message, where)
        if any(".." in text.split("/") or text.startswith("/") for text in written):
            message = "the recording's name leads out of the root"
            return Outcome(speaker, written[0], Reason.OUTSIDE_ROOTS, message, where)
        names = cleaned[:1] if self._by_url else list(dict.fromkeys((written[0], *cleaned, *written)))
        tabs = [sheet] if self._by_url else list(dict.fromkeys((sheet, sheet.strip())))
        places = (self.layout.paths(self.root, tab, name) for name in names for tab in tabs)
        paths = list(dict.fromkeys(path for some in places for path in some))
        if max(map(len, paths)) > MAX_PATH or any("\0" in path for path in paths):
            return Outcome(speaker, paths[0][:200], Reason.BAD_ROW, f"no path: {paths[0][:200]!r}", where)
        if self._by_url:
            return Entry(speaker, paths[0], row=where)
        return self._file(speaker, paths, where)

    def _file(self, speaker: str, paths: Sequence[str], where: str) -> Entry | Outcome:
        """The first of the paths that is a file; of a plain list's, none if others in other folders are, too."""
        found: dict[Path, str] = {}
        for path in paths:
            try:
                if (file := self.inside(path)).is_file():
                    found.setdefault(file.resolve().parent, path)
                    if not self.layout.named_files:
                        break
            except NotFound:
                continue
            except OutsideRoots as error:
                if not found:
                    return Outcome(speaker, path, Reason.OUTSIDE_ROOTS, error.message, where)
            except OSError as error:  # a name that is too long, a folder that may not be read
                if found:
                    continue
                return Outcome(speaker, path, Reason.UNREADABLE, f"{path}: {error.strerror}", where)
        if len(found) > 1:
            first, other = list(found.values())[:2]
            message = f"it may be {first} or {other}: rename one, or write its folder into the cell"
            return Outcome(speaker, first, Reason.BAD_ROW, message, where)
        if found:
            return Entry(speaker, str(Path(*found.values()).absolute()), row=where)
        others = ", ".join(paths[1:3])
        message = f"there is no file {paths[0]}, nor {others}" if others else f"there is no file {paths[0]}"
        return Outcome(speaker, paths[0], Reason.MISSING, message, where)


def _cells(sheet: Sheet, wanted: set[tuple[int, int]]) -> dict[tuple[int, int], Cell]:
    """The cells at these rows and columns; the sheet is read again for them."""
    sheet.wanted = tuple({column for _, column in wanted})
    return {
        (number, column): cell
        for number, cells in sheet.rows()
        for column, cell in cells.items()
        if (number, column) in wanted
    }


def _like_the_others(first: Sequence[str], rest: Sequence[_Row]) -> bool:
    """Whether the first row is data: its speaker speaks below too, or its recording is called as the others are."""
    speakers = Counter(clean_cell(row.speaker.shown) for row in rest if row.speaker)
    shapes = Counter(_shape(row.recording.shown) for row in rest if row.recording)
    return first[1] in speakers or shapes[_shape(first[0])] > len(rest) / 2


def _shape(text: str) -> str:
    """How a recording is called: digits as 0, and what lies between them."""
    return re.sub(r"[0-9]+", "0", clean_cell(text))


def _data_sheets(sheets: Sequence[Sheet], layout: Layout, name: str, skipped: list[Outcome]) -> Iterator[Sheet]:
    """The sheets with data; a hidden one is not read and named. Raises `Unusable` if there is none."""
    visible = visible_sheets(sheets)
    data_sheets = kept_sheets(sheets, layout)
    if not data_sheets:
        count = f"{len(visible)} sheet{'' if len(visible) == 1 else 's'}"
        raise Unusable(
            f"{name} has {count}, and the last {layout.skip_last} and those to skip are taken for sheets without data: "
            "say how many at the end hold none (--skip-last 0), or call two columns in the first row 'speaker' and "
            "'file', or 姓名 and 檔案",
            sheets=[sheet.name for sheet in visible],
        )
    _name_hidden(sheets, layout, skipped)
    return iter(data_sheets)


def _name_hidden(sheets: Sequence[Sheet], layout: Layout, skipped: list[Outcome]) -> None:
    for sheet in sheets:
        if sheet.hidden and not is_skipped(sheet, layout):
            message = "the sheet is hidden and was not read; unhide it in Excel if it holds recordings"
            skipped.append(Outcome("", "", Reason.HIDDEN, message, f"sheet {sheet.name!r}"))


def _name_unread(sheets: Sequence[Sheet], layout: Layout, skipped: list[Outcome]) -> None:
    """Name the sheets beside a list that were not read; an empty one is nothing to speak of."""
    _name_hidden(sheets, layout, skipped)
    for sheet in visible_sheets(sheets):
        if next(iter(sheet.rows()), None) is not None and not is_skipped(sheet, layout):
            message = "the sheet's first row names no column of people and one of files, so it was not read"
            skipped.append(Outcome("", "", Reason.MISPLACED, message, f"sheet {sheet.name!r}"))


def _sheets(path: Path) -> Sequence[Sheet]:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise TooLarge(f"{path.name} has {size} bytes; workbooks have at most {MAX_FILE_BYTES}")
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no workbook {path}", path=str(path)) from None
    except OSError as error:
        raise Unusable(f"{path.name} cannot be read: {error.strerror}", path=str(path)) from None
    if looks_like(data[:8], path.suffix.lower()):
        return xls.sheets(data, path.name)
    if not data.startswith(ZIP):
        raise Unusable(f"{path.name} is not an Excel workbook: {xls.what_else(data)}; save it as .xlsx")
    if b"xl/workbook.bin" in data:
        raise Unusable(f"{path.name} is a binary workbook (.xlsb): open it in Excel and save it as .xlsx")
    if b"opendocument" in data[:200]:
        raise Unusable(f"{path.name} is an OpenDocument file (.ods): open it in LibreOffice and save it as .xlsx")
    return xlsx.sheets(data, path.name)
