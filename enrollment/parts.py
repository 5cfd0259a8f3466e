"""The parts of an `.xlsx` file, a zip archive of XML: parsed as streams, counted and refused when it is too much."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from xml.parsers import expat

from enrollment.zipdir import opened
from speaker_tasks.errors import TooLarge, Unusable

MAX_UNPACKED_BYTES = 256 * 1024**2
"""What the parts that are read may unpack to, all together."""
MAX_PARTS = 10_000
MAX_RATIO, FROM_BYTES = 100, 16 * 1024**2
"""A part of `FROM_BYTES` and more that unpacks to more than so many times its size is a bomb: sheets reach 30."""
MAX_TAGS = 10_000_000
"""XML tags of all parts that are read: a sheet of 200,000 rows with 10 cells each has 8.4 million."""
MAX_CHARACTERS = 64_000_000
"""Of all texts and numbers."""
MAX_DEPTH = 100_000
"""Elements within elements, counted by their tags without parsing, with comments and the like."""
MAX_TOKEN = 1024**2
"""Bytes without the end of a tag: Excel's longest text has 32,767 characters."""
CHUNK = 1 << 16
_ESCAPE = re.compile(r"_x([0-9A-Fa-f]{4})_")


class Local(dict[str, str]):
    """Names of elements without their namespace's prefix, each made once."""

    def __missing__(self, name: str) -> str:
        local = name.rpartition(":")[2]
        if len(self) < 1000:
            self[name] = local
        return local


TORN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, ValueError)
"""What `zipfile` raises for a file that is damaged: a place before its beginning is a `ValueError`."""


class Parts:
    """The parts of the file, parsed as streams under common limits."""

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        try:
            self._zip = opened(io.BytesIO(data), MAX_PARTS, what=f"the workbook {name}")
        except TORN as error:
            raise self.broken(error) from None
        self._members = {info.filename.replace("\\", "/").lower().lstrip("/"): info for info in self._zip.infolist()}
        self._bytes, self._tags, self._characters = MAX_UNPACKED_BYTES, MAX_TAGS, MAX_CHARACTERS

    def __contains__(self, part: str) -> bool:
        return part.lower() in self._members

    def broken(self, why: object) -> Unusable:
        """The error of a file that cannot be read."""
        return Unusable(
            f"{self.name} is not an Excel workbook that can be read: {why}; open it in Excel or LibreOffice and save "
            "it as .xlsx"
        )

    def too_large(self, what: str) -> TooLarge:
        """The error of a file that holds too much."""
        return TooLarge(f"{self.name} {what}; save its data sheets alone as a new workbook, or as CSV")

    def count_text(self, text: str) -> None:
        """Raise `TooLarge` when all texts together are too long."""
        self._characters -= len(text)
        if self._characters < 0:
            raise self.too_large(f"holds more than {MAX_CHARACTERS} characters")

    def parse(
        self,
        part: str,
        start: Callable[[str, dict[str, str]], None],
        end: Callable[[str], None] | None = None,
        text: Callable[[str], None] | None = None,
    ) -> Iterator[None]:
        """Parse a part piece by piece; the handlers get names as they are written, see `Local`."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = start
        parser.EndElementHandler = end
        parser.CharacterDataHandler = text
        parser.StartDoctypeDeclHandler = self._no_doctype
        depth = 0
        try:
            for chunk in self._chunks(part):
                tags = chunk.count(b"<")
                depth += tags - 2 * chunk.count(b"</") - chunk.count(b"/>")
                self._tags -= tags
                if self._tags < 0:
                    raise self.too_large(f"holds more than {MAX_TAGS} tags")
                if depth > MAX_DEPTH:
                    raise self.broken(f"too many elements within elements in {part}")
                parser.Parse(chunk, False)
                yield
            parser.Parse(b"", True)
            yield
        except expat.ExpatError as error:
            raise self.broken(f"{part}: {error}") from None

    def _no_doctype(self, *_: object) -> None:
        raise self.broken("it has a document type, which no workbook has")

    def _chunks(self, part: str) -> Iterator[bytes]:
        info = self._members.get(part.lower())
        if info is None:
            raise self.broken(f"it holds no {part}")
        if info.flag_bits & 0x1:
            raise Unusable(f"{self.name} is an encrypted archive; remove its password")
        if info.file_size > self._bytes:
            raise self._unpacks()
        if info.file_size > max(FROM_BYTES, MAX_RATIO * info.compress_size):
            raise self.too_large(f"unpacks to {info.file_size / max(1, info.compress_size):.0f} times its size")
        open_tag = 0
        try:
            with self._zip.open(info) as file:
                while chunk := file.read(CHUNK):
                    self._bytes -= len(chunk)
                    if self._bytes < 0:
                        raise self._unpacks()
                    open_tag = open_tag + len(chunk) if b">" not in chunk else len(chunk) - chunk.rindex(b">")
                    if open_tag > MAX_TOKEN:
                        raise self.broken(f"{part} holds more than {MAX_TOKEN} bytes without a tag")
                    yield chunk
        except (*TORN, RuntimeError) as error:
            raise self.broken(f"{part}: {error}") from None

    def _unpacks(self) -> TooLarge:
        return self.too_large(f"unpacks to more than {MAX_UNPACKED_BYTES} bytes")


class Text:
    """The text of `t` elements, without the readings (`rPh`) that Japanese Excel keeps beside it."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._local = parts, Local()
        self._pieces: list[str] = []
        self._open = False
        self._phonetic = 0

    def start(self, name: str, _: dict[str, str]) -> None:
        tag = self._local[name]
        self._phonetic += tag == "rPh"
        self._open = tag == "t" and not self._phonetic

    def end(self, name: str) -> None:
        self._phonetic -= self._local[name] == "rPh"
        self._open = False

    def text(self, text: str) -> None:
        if self._open:
            self._parts.count_text(text)
            self._pieces.append(text)

    def take(self) -> str:
        """What was read since the last call."""
        whole, self._pieces = "".join(self._pieces), []
        return whole


def unescaped(text: str) -> str:
    """`_x000D_` and its like, by which Excel writes characters that XML does not allow."""
    if "_x" not in text:
        return text
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
