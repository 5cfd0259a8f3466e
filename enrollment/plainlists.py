"""Which sheets of a workbook are plain lists of people and their recordings, as most people write one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from enrollment import xls, xlsx
from enrollment.headers import ENDS, FILES, SPEAKERS, STARTS, column, is_unclear, note
from enrollment.layout import Layout
from enrollment.manifest import clean_cell
from enrollment.report import Outcome
from enrollment.soundfiles import by_name

LOOKED_AT = 20
"""Rows that tell what a sheet is."""

Sheet = xlsx.XlsxSheet | xls.XlsSheet


@dataclass(frozen=True)
class PlainList:
    """A sheet that is a plain list."""

    sheet: Sheet
    layout: Layout
    note: Outcome
    names_files: bool
    """Whether a recording's name has an ending."""


def plain_lists(sheets: Sequence[Sheet], layout: Layout) -> list[PlainList]:
    """The sheets that are plain lists; none if no recording's name has an ending, unless there are few sheets."""
    visible = visible_sheets(sheets)
    found = [
        one for sheet in visible if not is_skipped(sheet, layout) and (one := _plain_list(sheet, layout)) is not None
    ]
    return found if len(visible) <= layout.skip_last or any(one.names_files for one in found) else []


def _plain_list(sheet: Sheet, layout: Layout) -> PlainList | None:
    """The sheet as a plain list; None if it is none."""
    rows = list(islice(sheet.rows(), LOOKED_AT))
    if not rows:
        return None
    (number, first), rest = rows[0], [cells for _, cells in rows[1:]]
    width = max(first, default=-1) + 1
    header = [clean_cell(cell.shown) if (cell := first.get(index)) else "" for index in range(width)]
    recording, speaker, *spans = (column(header, words) for words in (FILES, SPEAKERS, STARTS, ENDS))
    if recording is None or speaker is None or is_unclear(header, STARTS) or is_unclear(header, ENDS):
        return None
    files, people = ([clean_cell(cells[at].shown) for cells in rest if at in cells] for at in (recording, speaker))
    if not files or any(map(by_name, people)):
        return None
    timed = [header[at] for at in spans if at is not None]
    return PlainList(
        sheet,
        replace(layout, recording=recording, speaker=speaker, named_files=True, times=(spans[0], spans[1])),
        note(header[speaker], header[recording], timed, row_of(sheet.name, number)),
        any(map(by_name, files)),
    )


def visible_sheets(sheets: Sequence[Sheet]) -> list[Sheet]:
    """The sheets that are not hidden."""
    return [sheet for sheet in sheets if not sheet.hidden]


def kept_sheets(sheets: Sequence[Sheet], layout: Layout) -> list[Sheet]:
    """The visible sheets without those at the end, and without those to skip."""
    visible = visible_sheets(sheets)
    return [sheet for sheet in visible[: max(0, len(visible) - layout.skip_last)] if not is_skipped(sheet, layout)]


def is_skipped(sheet: Sheet, layout: Layout) -> bool:
    """Whether the sheet is to be skipped by its name."""
    return clean_cell(sheet.name) in map(clean_cell, layout.skip_sheets)


def row_of(sheet: str, number: int) -> str:
    """How the report names a row."""
    return f"sheet {sheet!r}, row {number}"
