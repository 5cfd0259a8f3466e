"""`.xls` files of Excel 97 to 2003 and before, by xlrd, which knows their number formats and merged cells."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from enrollment.cells import GENERAL, Cell, number
from enrollment.xlsx import UNCALCULATED, Range
from speaker_tasks.errors import TooLarge, Unusable

MAX_BYTES = 32 * 1024**2
"""xlrd keeps all cells of a file: ten to twenty times its size. The format ends at 65,536 rows a sheet."""
OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
BEGINNINGS = (OLE2, b"\x09\x00", b"\x09\x02", b"\x09\x04", b"\x09\x08")
"""Of the container since Excel 5, and of the bare files before."""
ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")
"""The stream of a workbook of today that has a password."""
PASSWORD = "remove its password in Excel (File, Info, Protect Workbook, Encrypt with Password) and save it again"


@dataclass
class XlsSheet:
    """One sheet as its tab stands in Excel; a chart's tab has no name here and no rows."""

    name: str
    hidden: bool
    merges: list[Range]
    _book: Any = None
    _sheet: Any = None
    wanted: tuple[int, ...] = ()
    """As in `.xlsx` files; here all cells are made."""

    def rows(self) -> Iterator[tuple[int, dict[int, Cell]]]:
        """Each row that is not empty: its number, and its cells by their column's index from 0."""
        if self._sheet is None:
            return
        for at in range(self._sheet.nrows):
            cells = {}
            for column, one in enumerate(self._sheet.row(at)):
                cell = _cell(self._book, one)
                if cell is not None:
                    cells[column] = cell
            if cells:
                yield at + 1, cells


def sheets(data: bytes, name: str) -> list[XlsSheet]:
    """The sheets of a workbook in the order of their tabs. Raises `Unusable`, `TooLarge`."""
    import xlrd

    if ENCRYPTED_PACKAGE in data:
        raise Unusable(f"{name} has a password; {PASSWORD}")
    if len(data) > MAX_BYTES:
        raise TooLarge(f"{name} has {len(data)} bytes; old workbooks have at most {MAX_BYTES}: save it as .xlsx")
    try:
        book = xlrd.open_workbook(file_contents=data, formatting_info=True, ragged_rows=True, logfile=io.StringIO())
    except Exception as error:  # xlrd raises many kinds for broken files
        if "encrypt" in str(error).lower():
            raise Unusable(f"{name} has a password; {PASSWORD}") from None
        raise Unusable(
            f"{name} is not an Excel workbook that can be read: it is damaged or has a password; if it has a password, "
            f"remove it in Excel, else open it there and save it as .xlsx ({error or type(error).__name__})"
        ) from None
    tabs = getattr(book, "_all_sheets_map", None) or range(book.nsheets)  # -1 for a chart, which xlrd leaves out
    return [_sheet(book, at) if at >= 0 else XlsSheet("", False, []) for at in tabs]


def _sheet(book: Any, at: int) -> XlsSheet:
    sheet = book.sheet_by_index(at)
    merges = [(top + 1, bottom, left, right - 1) for top, bottom, left, right in sheet.merged_cells]
    return XlsSheet(sheet.name, sheet.visibility != 0, merges, book, sheet)


def _cell(book: Any, one: Any) -> Cell | None:
    from xlrd import XL_CELL_BOOLEAN, XL_CELL_DATE, XL_CELL_ERROR, XL_CELL_NUMBER, XL_CELL_TEXT, error_text_from_code

    if one.ctype == XL_CELL_ERROR:
        return Cell("", fault=f"the error {error_text_from_code.get(one.value, '#?')}")
    if one.ctype == XL_CELL_BOOLEAN:
        return Cell("TRUE" if one.value else "FALSE")
    if one.ctype in (XL_CELL_NUMBER, XL_CELL_DATE):
        return number(one.value, _format(book, one.xf_index), since_1904=book.datemode == 1)
    if one.ctype == XL_CELL_TEXT:
        # a text without characters is a formula's: its result was never stored, or is empty
        return Cell(one.value) if one.value.strip() else Cell("", fault=UNCALCULATED) if not one.value else None
    return None


def _format(book: Any, style: int | None) -> str:
    try:
        return str(book.format_map[book.xf_list[style].format_key].format_str)
    except (IndexError, KeyError, TypeError):
        return GENERAL


def what_else(data: bytes) -> str:
    """What a file is that is called a workbook and is none."""
    beginning = data[:2000].lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if not data:
        return "it is empty (0 bytes)"
    if b"urn:schemas-microsoft-com:office:spreadsheet" in beginning:
        return "it is XML of Excel 2003"
    if beginning.startswith((b"<html", b"<!doctype", b"<table", b"<meta", b"mime-version")):
        return "it is a web page"
    return "its beginning is of no kind that is known"
