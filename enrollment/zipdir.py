"""Zip archives, opened after a look at their directory: a million entries cost 300 MB before they can be counted."""

from __future__ import annotations

import zipfile
from typing import IO

from speaker_tasks.errors import TooLarge

ENTRY = b"PK\x01\x02"
"""How each entry of the directory begins; `zipfile` reads none that does not, wherever the directory claims to be."""
BLOCK = 1 << 20


def opened(file: IO[bytes], most: int, *, what: str = "the archive") -> zipfile.ZipFile:
    """The archive, if its directory has at most `most` entries.

    Raises `TooLarge`, and what `zipfile.ZipFile` raises.
    """
    if _more_than(file, most):
        raise TooLarge(f"{what} holds more than {most} files", files=most)
    file.seek(0)
    return zipfile.ZipFile(file)


def _more_than(file: IO[bytes], most: int) -> bool:
    file.seek(0)
    entries, rest = 0, b""
    while block := file.read(BLOCK):
        entries += (rest + block).count(ENTRY)
        if entries > most:
            return True
        rest = block[-len(ENTRY) + 1 :]
    return False
