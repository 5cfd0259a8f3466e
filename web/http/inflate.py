"""Bodies with a `Content-Encoding`: gzip and deflate are unpacked while they are read, up to the limit of any body."""

from __future__ import annotations

import io
import zlib
from typing import IO

from flask import Request
from werkzeug.utils import cached_property

from speaker_tasks.errors import Malformed, TooLarge, UnsupportedAudio

BLOCK = 1 << 16
WINDOW = {"gzip": 31, "x-gzip": 31, "deflate": 15}
"""zlib's `wbits` for each coding."""


class InflatedRequest(Request):
    """A request whose body is read as it was before it was packed.

    Reading raises `UnsupportedAudio` (415) for another coding, `Malformed` for a body that is not of its coding, and
    `TooLarge` for one that unpacks to more than a body may have.
    """

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body."""
        coding = self.headers.get("Content-Encoding", "").strip().lower()
        packed: IO[bytes] = super().stream
        if coding in ("", "identity"):
            return packed
        if coding not in WINDOW:
            raise UnsupportedAudio(
                f"a body with the Content-Encoding {coding[:50]!r}; gzip and deflate are taken, and bodies without one",
                content_encoding=coding[:50],
            )
        return io.BufferedReader(_Inflated(packed, coding, self.max_content_length), BLOCK)


class _Inflated(io.RawIOBase):
    """The unpacked bytes of a stream."""

    def __init__(self, packed: IO[bytes], coding: str, most: int | None) -> None:
        self._packed, self._coding = packed, coding
        self._most = self._left = most
        self._inflate = zlib.decompressobj(WINDOW[coding])
        self._begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        block = b""
        while not block and (packed := self._more()):
            block = self._unpacked(packed, len(buffer))
        if self._left is not None:
            self._left -= len(block)
            if self._left < 0:
                raise TooLarge(f"the body unpacks to more than {self._most} bytes", limit=self._most)
        buffer[: len(block)] = block
        return len(block)

    def _more(self) -> bytes:
        """What is to be unpacked next; b"" at the end. A gzip file may be several, one after another."""
        if not self._inflate.eof:
            packed: bytes = self._inflate.unconsumed_tail or self._packed.read(BLOCK)
            if not packed:
                raise self._broken("it ends too early")
            return packed
        packed = self._inflate.unused_data or self._packed.read(BLOCK)
        if packed:
            self._inflate = zlib.decompressobj(WINDOW[self._coding])
        return packed

    def _unpacked(self, packed: bytes, most: int) -> bytes:
        begun, self._begun = self._begun, True
        try:
            return self._inflate.decompress(packed, most)
        except zlib.error as error:
            if begun or self._coding != "deflate":
                raise self._broken(error) from None
        self._inflate = zlib.decompressobj(-15)  # many programs leave the two bytes of zlib's header out
        try:
            return self._inflate.decompress(packed, most)
        except zlib.error as error:
            raise self._broken(error) from None

    def _broken(self, why: object) -> Malformed:
        return Malformed(f"the body is not {self._coding}, as its Content-Encoding says: {why}")
