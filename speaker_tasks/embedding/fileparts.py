"""Parts of a file: the recordings in it, with what is known of each before it is decoded; and looking into files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

CUT_SHORT, PAGES_DAMAGED = "the file ends early", "pages of it are damaged"
SEARCHED = 1 << 20
LONGEST_MARK = 80
"""Bytes that a mark, as `places_of` looks for it, takes at most."""


@dataclass(frozen=True)
class Part:
    """One recording in a file: the bytes from `start` to `end`, and how far its header can be believed."""

    start: int
    end: int
    by_soundfile: bool = True
    """Whether libsndfile may read it: what it takes for the length is the length."""
    ignore_length: bool = False
    """Whether the header's length of the data is wrong, so that all bytes to the end are sound."""
    has_length: bool = False
    """Whether an MP3 file says how long it is, rather than leaving it to be guessed."""
    missing: int = 0
    """Bytes of sound that the header promises and the file lacks."""
    fault: str = ""
    """What is wrong with it, in words; empty if nothing is."""
    patches: tuple[tuple[int, bytes], ...] = ()
    """Places in the file, and what has to be read there instead, so that decoders take what is left of a page."""


def bytes_at(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)


def places_of(
    file: BinaryIO, mark: re.Pattern[bytes], start: int, size: int, *, beginning: bytes = b""
) -> Iterator[int]:
    """The places from `start` on where the mark stands; its beginning, if it is always the same, is quicker found."""
    place = start
    while place < size:
        block = bytes_at(file, place, SEARCHED + LONGEST_MARK)
        if beginning:
            at = block.find(beginning)
            while 0 <= at < SEARCHED:
                if mark.match(block, at):
                    yield place + at
                at = block.find(beginning, at + 1)
        else:
            yield from (place + one.start() for one in mark.finditer(block) if one.start() < SEARCHED)
        place += SEARCHED
