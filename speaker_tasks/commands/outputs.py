"""Files that commands write: an error in one line if one cannot be written, before the work where that can be seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speaker_tasks.errors import NotFound, Unusable

if TYPE_CHECKING:
    from redis import Redis

CSV_ENCODING = "utf-8-sig"
"""With a byte order mark: without it Excel takes a CSV file for one in the country's own encoding."""


def check_writable(path: Path) -> None:
    """Raise `NotFound` for a folder that is not there, `Unusable` for a file that may not be written."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", path=str(folder))
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise Unusable(f"{path} cannot be written", path=str(path))


@contextmanager
def written(path: Path) -> Iterator[None]:
    """A block that writes the file. Raises `Unusable` where the system refuses."""
    try:
        yield
    except OSError as error:
        raise Unusable(f"{path} cannot be written: {error.strerror}", path=str(path)) from None


def write_report(path: Path, entries: list[dict[str, Any]]) -> None:
    """Write the outcomes of an enrollment: CSV by the file's ending, else JSON."""
    from enrollment.report import Outcome, Report

    report = Report.of(Outcome.from_dict(entry) for entry in entries)
    as_csv = path.suffix.lower() == ".csv"
    with written(path):
        path.write_text(report.to_csv() if as_csv else report.to_json(), encoding=CSV_ENCODING if as_csv else "utf-8")


def write_bank(client: Redis, name: str, path: Path) -> None:
    """Write the newest version of a bank, with its recordings' vectors, as npz."""
    from banks.names import clean_bank_name
    from banks.npz import write_npz
    from banks.store import BankStore

    bank = BankStore(client).get(clean_bank_name(name), clips=True)
    with written(path):
        write_npz(path, bank)
