"""Ogg: pages with a number, a checksum and marks of the first and the last; links of a chain, each a recording."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from speaker_tasks.embedding.fileparts import CUT_SHORT, PAGES_DAMAGED, Part, bytes_at, places_of

_PAGE = re.compile(b"OggS\0")
_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def links(file: BinaryIO, size: int) -> Iterator[Part]:
    """The links of a chain. A link of which pages are missing is PyAV's: libsndfile fills the hole unsaid."""
    place, first_pages = 0, True
    link = _Link(0)
    while place < size:
        header = bytes_at(file, place, 27)
        page = header + file.read(header[26]) if len(header) == 27 else header
        body = file.read(sum(page[27:]))
        is_page = bool(_PAGE.match(page)) and len(page) > 26 and len(page) == 27 + page[26]
        is_whole = is_page and len(body) == sum(page[27:]) and page[22:26] == _checksum(page, body)
        if not is_page or not (is_whole or (link.can_mend and not _PAGE.search(body))):
            again = next(places_of(file, _PAGE, place + 1, size), size)
            if again < size or is_page:
                link.lack(PAGES_DAMAGED if again < size else CUT_SHORT)
            place = again
            continue
        if not is_whole:
            link.mend(place, page, body)
        is_first = bool(page[5] & 2)
        if is_first and not first_pages:
            yield link.ended(place)
            link = _Link(place)
        first_pages = is_first
        link.count(page, body)
        place += len(page) + len(body)
    yield link.ended(size)


class _Link:
    """What is known of a link of a chain while its pages are looked at."""

    def __init__(self, start: int) -> None:
        self.can_mend = False
        """Whether its codec knows a packet that makes no sense: others make noise of it."""
        self._start, self._whole, self._fault = start, True, ""
        self._numbers: dict[bytes, int] = {}
        self._open: set[bytes] = set()
        self._patches: list[tuple[int, bytes]] = []

    def count(self, page: bytes, body: bytes) -> None:
        """Take a page's header into account: none may be missing, and the last of each stream says so."""
        self.can_mend |= body.startswith((b"OpusHead", b"\x01vorbis"))
        serial, number = page[14:18], int.from_bytes(page[18:22], "little")
        if number != self._numbers.get(serial, number - 1) + 1:
            self.lack("pages of it are missing")
        self._numbers[serial] = number
        (self._open.discard if page[5] & 4 else self._open.add)(serial)

    def lack(self, fault: str) -> None:
        """Take down that a page is not there."""
        self._whole, self._fault = False, self._fault or fault

    def mend(self, place: int, page: bytes, body: bytes) -> None:
        """Give a damaged page the checksum of what it is, and a page that was cut off no more packets than it has."""
        self._fault = self._fault or (PAGES_DAMAGED if len(body) == sum(page[27:]) else CUT_SHORT)
        lengths, there, whole = page[27:], 0, 0
        for number, length in enumerate(lengths):
            there += length
            if there > len(body):
                break
            if length < 255:
                whole = number + 1
        if sum(lengths) > len(body):
            lengths = lengths[:whole] + bytes(len(lengths) - whole)
        page = page[:27] + lengths
        self._patches.append((place + 22, _checksum(page, body[: sum(lengths)]) + page[26:]))

    def ended(self, end: int) -> Part:
        """The link, whose last byte was seen."""
        fault = self._fault or (CUT_SHORT if self._open else "")
        return Part(self._start, end, by_soundfile=self._whole, fault=fault, patches=tuple(self._patches))


def _checksum(page: bytes, body: bytes) -> bytes:
    """The checksum of a page of Ogg: zlib's CRC, mirrored."""
    plain = page[:22] + bytes(4) + page[26:] + body
    crc = zlib.crc32(plain.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return crc.to_bytes(4, "big").translate(_REVERSED)
