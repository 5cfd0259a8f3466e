"""The conference workbook: one sheet a day, a row a recording with its speaker; `.xlsx` by openpyxl, `.xls` by xlrd."""

from __future__ import annotations

import string
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from enrollment.manifest import Entry, Manifest, cell_text, clean_cell, clean_name
from enrollment.report import Outcome, Reason
from speaker_tasks.errors import Malformed, NotFound, TooLarge, Unusable

MAX_UNPACKED_BYTES = 512 * 1024**2
"""What the parts of an `.xlsx` file, which is a zip archive, may unpack to."""
MAX_ROWS = 200_000
"""Rows of one sheet that are read."""
PATTERN = "{root}/{sheet}/wav/{recording}.wav"


@dataclass(frozen=True)
class Layout:
    """Where a workbook holds what. The defaults are those of the first server's conference workbooks."""

    recording: int | str = 0
    """Column of the recording's name: its index from 0, or its text in the header row."""
    speaker: int | str = 5
    """Column of the speaker's name."""
    skip_sheets: tuple[str, ...] = ()
    """Sheets that hold no data, by name."""
    skip_last: int = 2
    """How many sheets at the end hold no data."""
    pattern: str = PATTERN
    """Where a recording lies; `{root}`, `{sheet}` and `{recording}` are filled in."""

    def __post_init__(self) -> None:
        known = {"root", "sheet", "recording"}
        try:
            named = {name for _, name, _, _ in string.Formatter().parse(self.pattern) if name is not None}
        except ValueError as error:
            raise Malformed(f"the path pattern {self.pattern!r} cannot be read: {error}") from None
        if not named <= known or "recording" not in named:
            raise Malformed(f"the path pattern takes {{root}}, {{sheet}} and {{recording}}; got {self.pattern!r}")
        if self.skip_last < 0:
            raise Malformed(f"the number of sheets to skip at the end is {self.skip_last}")


class Fault(str):
    """What a cell holds whose formula failed, such as `#N/A`."""


@dataclass(frozen=True)
class Sheet:
    """One sheet: its name and its rows, merged cells filled."""

    name: str
    rows: tuple[tuple[Any, ...], ...]


def read(path: Path, *, root: Path | str | None = None, layout: Layout | None = None) -> Manifest:
    """The manifest of a workbook; rows that cannot be enrolled are named by sheet and row.

    `root` is where the sheets' folders lie (a folder, or an `fsspec` URL), by default the workbook's own folder. Raises
    `NotFound`, `Unusable` for a file that is no workbook or holds no data sheets, `TooLarge`.
    """
    layout = layout or Layout()
    sheets = _data_sheets(_sheets(path), layout, path)
    place = str(root if root is not None else path.parent.resolve()).rstrip("/")
    entries: list[Entry] = []
    skipped: list[Outcome] = []
    for sheet in sheets:
        for found in _rows(sheet, layout, place):
            (entries if isinstance(found, Entry) else skipped).append(found)  # type: ignore[arg-type]
    return Manifest.of(entries, skipped)


def _rows(sheet: Sheet, layout: Layout, root: str) -> Iterator[Entry | Outcome]:
    header = sheet.rows[0] if sheet.rows else ()
    columns = [_column(header, column, sheet.name) for column in (layout.recording, layout.speaker)]
    missing = next((found for found in columns if isinstance(found, Outcome)), None)
    if missing is not None:
        yield missing
        return
    recording_column, speaker_column = (int(column) for column in columns)  # type: ignore[arg-type]
    for number, row in enumerate(sheet.rows[1:], start=2):
        if not any(clean_cell(cell) for cell in row):
            continue
        where = f"sheet {sheet.name!r}, row {number}"
        cells = [row[column] if column < len(row) else None for column in (recording_column, speaker_column)]
        recording, speaker = (clean_cell(cell) for cell in cells)
        fault = next((cell for cell in cells if isinstance(cell, Fault)), None)
        if fault is not None:
            yield Outcome(speaker, recording, Reason.BAD_ROW, f"a cell holds the error {fault}", where)
            continue
        written = recording if "://" in root + layout.pattern else cell_text(cells[0])
        places = [
            layout.pattern.format(root=root, sheet=name, recording=_without_ending(one))
            for one in dict.fromkeys((written, recording))
            for name in dict.fromkeys((sheet.name, sheet.name.strip()))
        ]
        yield _entry(recording, speaker, where, places)


def _entry(recording: str, speaker: str, where: str, paths: Sequence[str]) -> Entry | Outcome:
    if not recording or not speaker:
        which = "no recording" if speaker else "no speaker" if recording else "neither a recording nor a speaker"
        return Outcome(speaker, recording, Reason.BAD_ROW, f"the row names {which}", where)
    try:
        name = clean_name(speaker)
    except Unusable as error:
        return Outcome(speaker[:120], recording, Reason.BAD_NAME, error.message, where)
    if ".." in Path(recording).parts or recording.startswith("/"):
        return Outcome(name, recording, Reason.OUTSIDE_ROOTS, "the recording's name leads out of the root", where)
    if "://" in paths[0]:
        return Entry(name, paths[0], row=where)
    path = next((one for one in paths if Path(one).is_file()), None)
    if path is None:
        return Outcome(name, paths[0], Reason.MISSING, "there is no such file", where)
    return Entry(name, str(Path(path).absolute()), row=where)


def _without_ending(recording: str) -> str:
    return recording[:-4] if recording.lower().endswith(".wav") else recording


def _column(header: Sequence[Any], column: int | str, sheet: str) -> int | Outcome:
    if isinstance(column, int):
        return column
    names = [clean_cell(cell).casefold() for cell in header]
    wanted = clean_cell(column).casefold()
    if wanted in names:
        return names.index(wanted)
    message = f"no column {column!r} in the header; there is {', '.join(filter(None, names)) or 'nothing'}"
    return Outcome("", "", Reason.BAD_ROW, message, f"sheet {sheet!r}, row 1")


def _data_sheets(sheets: Sequence[Sheet], layout: Layout, path: Path) -> list[Sheet]:
    kept = sheets[: len(sheets) - layout.skip_last] if layout.skip_last else sheets
    wanted = {clean_cell(name) for name in layout.skip_sheets}
    found = [sheet for sheet in kept if clean_cell(sheet.name) not in wanted]
    if not found:
        raise Unusable(
            f"{path.name} has {len(sheets)} sheets, and none is left without the last {layout.skip_last} and those "
            "to skip; say how many at the end hold no data (--skip-last)",
            sheets=[sheet.name for sheet in sheets],
        )
    return found


def _sheets(path: Path) -> list[Sheet]:
    if not path.is_file():
        raise NotFound(f"there is no workbook {path}", path=str(path))
    return _xls(path) if path.suffix.lower() == ".xls" else _xlsx(path)


def _xlsx(path: Path) -> list[Sheet]:
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > MAX_UNPACKED_BYTES:
            raise TooLarge(f"{path.name} unpacks to {size} bytes; {MAX_UNPACKED_BYTES} are allowed", bytes=size)
        book = openpyxl.load_workbook(path, data_only=True)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError, OSError, SyntaxError) as error:
        raise Unusable(f"{path.name} is not an Excel workbook: {error}") from None
    return [_xlsx_sheet(sheet) for sheet in book.worksheets]


def _xlsx_sheet(sheet: Any) -> Sheet:
    cells = sheet.iter_rows(max_row=min(sheet.max_row or 1, MAX_ROWS))
    rows = [[Fault(str(one.value)) if one.data_type == "e" else one.value for one in row] for row in cells]
    for merged in sheet.merged_cells.ranges:
        _fill(rows, merged.min_row - 1, merged.max_row, merged.min_col - 1, merged.max_col)
    return Sheet(sheet.title, tuple(tuple(row) for row in rows))


def _xls(path: Path) -> list[Sheet]:
    import xlrd

    try:
        book = xlrd.open_workbook(path, formatting_info=True)  # merged cells are formatting
    except Exception as error:  # xlrd raises many kinds for broken files
        raise Unusable(f"{path.name} is not an old Excel workbook (.xls): {error}") from None
    return [_xls_sheet(sheet) for sheet in book.sheets()]


def _xls_sheet(sheet: Any) -> Sheet:
    from xlrd import XL_CELL_ERROR, error_text_from_code

    rows = [
        [
            Fault(error_text_from_code.get(one.value, "#?")) if one.ctype == XL_CELL_ERROR else one.value
            for one in sheet.row(at)
        ]
        for at in range(min(sheet.nrows, MAX_ROWS))
    ]
    for first_row, last_row, first_column, last_column in sheet.merged_cells:
        _fill(rows, first_row, last_row, first_column, last_column)
    return Sheet(sheet.name, tuple(tuple(row) for row in rows))


def _fill(rows: list[list[Any]], top: int, bottom: int, left: int, right: int) -> None:
    """Give all cells of a merged block (ends exclusive) the value of its first; the header's merges name no data."""
    if top == 0 or top >= len(rows) or left >= len(rows[top]):
        return
    for row in rows[top:bottom]:
        for column in range(left, min(right, len(row))):
            row[column] = rows[top][left]
