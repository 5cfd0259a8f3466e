"""Text from Windows in Taiwan and China: Big5 or GB 18030, whichever gives likely text, not whichever decodes first.

Korean (CP949) and Japanese (EUC-JP, Shift JIS) use the same bytes: where a text may be theirs, it is refused.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from enrollment.hanzi import COMMON
from enrollment.neighbours import JAPANESE, KOREAN
from speaker_tasks.errors import Malformed, NotFound, TooLarge, Unusable

MAX_TEXT_BYTES = 64 * 1024**2
"""Of a table or a dictionary."""
BIG5, GB = "cp950", "gb18030"
NEIGHBOURS = {"cp949": KOREAN, "euc_jp": JAPANESE, "cp932": JAPANESE}
"""Encodings that are never chosen, but forbid the choice where their own common characters speak for them."""
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks, those of four bytes before those of two that begin alike."""
_WIDER = {"big5": BIG5, "gb2312": GB, "gbk": GB, "cp936": GB}
"""What Windows writes under these names holds more characters than Python's codecs of the same name."""
_ACCENTED = re.compile("[A-Za-z][\u0080-\u07ff]|[\u0080-\u07ff][A-Za-z]")
CYRILLIC = ("cp1251", "koi8_r", "cp866")
_WORD = re.compile("[А-ЯЁ]?[а-яё]+|[А-ЯЁ]+")
LEAST_SHARE = 1 / 3
"""Common characters among all that are different: a right reading has most of them, a wrong one a tenth."""
LEAST_LEAD = 2
"""So many more of them has the right reading. With one, a few of ten thousand lone names would be misread."""


def codec(name: str) -> str:
    """Python's name of an encoding. Raises `Malformed` for one that there is not."""
    try:
        "a".encode(name)
    except (LookupError, ValueError):
        raise Malformed(f"there is no encoding {name!r}; {BIG5} is Big5, {GB} also reads GBK") from None
    return _WIDER.get(name.lower(), name)


def text_of(path: Path, encoding: str | None = None) -> str:
    """The text of a file: by its byte order mark, as UTF-8 or UTF-16, else as `decoded` says.

    Raises `NotFound`, `TooLarge`, `Unusable`, `Malformed`.
    """
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise TooLarge(f"{path.name} has {size} bytes; at most {MAX_TEXT_BYTES} are read: split it", bytes=size)
        data = path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", path=str(path)) from None
    except OSError as error:
        raise Unusable(f"{path.name} cannot be read: {error.strerror}") from None
    return decoded([data], path.name, encoding or _by_mark(data) or _by_zeros(data))[0].removeprefix("\ufeff")


def _by_mark(data: bytes) -> str | None:
    return next((name for mark, name in MARKS.items() if data.startswith(mark)), None)


def _by_zeros(data: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of plain letters, signs and ends of lines is zero."""
    start = data[:4096]
    for name, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[0::2])):
        if len(start) >= 4 and zeros.count(0) > len(zeros) / 4 and start.count(0) < zeros.count(0) * 9 / 8:
            return name
    return None


def decoded(texts: Sequence[bytes], what: str, encoding: str | None = None) -> list[str]:
    """Texts of one encoding: the given one, else UTF-8, Big5 or GB 18030 if it is clear which.

    Raises `Unusable` if not, in one line that says what to do, and `Malformed` for an encoding that there is not.
    """
    if encoding is not None:
        texts_read = _read(texts, codec(encoding))
        if texts_read is None:
            raise Unusable(f"{what} cannot be read as {encoding}; give another encoding", encoding=encoding)
        return texts_read
    texts_read = _read(texts, "utf-8")
    if texts_read is not None and not _by_chance(texts_read):
        return texts_read
    readings = [one for one in (_read(texts, BIG5), _read(texts, GB)) if one is not None and _possible(one)]
    readings.sort(key=_common, reverse=True)
    if (
        readings
        and _sure(*readings)
        and (texts_read is None or _common(readings[0]) >= LEAST_LEAD)
        and not any(_forbids(texts, one, _common(readings[0])) for one in NEIGHBOURS)
        and not any(_are_words(texts, one) for one in CYRILLIC)
    ):
        return readings[0]
    if texts_read is None:
        raise Unusable(
            f"{what} is not UTF-8, and whether it is Big5 or GB 18030 is not sure: save it as UTF-8, or give its "
            f"encoding (--encoding {BIG5} or --encoding {GB}; Korean: cp949, Japanese: cp932 or euc_jp)"
        )
    return texts_read


def _forbids(texts: Sequence[bytes], encoding: str, rival: int) -> bool:
    """Whether a text may as well be of a neighbouring country; `rival`: its common characters when read as Chinese."""
    reading = _read(texts, encoding)
    if reading is None:
        return False
    letters = {one for one in _different(reading) if unicodedata.category(one) == "Lo"}
    theirs = len(letters & NEIGHBOURS[encoding])
    return theirs >= LEAST_SHARE * len(letters) and theirs >= rival


def _are_words(texts: Sequence[bytes], encoding: str) -> bool:
    """Whether all that is not ASCII are words of Cyrillic letters, small ones after the first or all large."""
    words = re.findall(r"[^\x00-\x7f]+", "\n".join(_read(texts, encoding) or []))
    return bool(words) and all(_WORD.fullmatch(word) for word in words)


def _read(texts: Sequence[bytes], encoding: str) -> list[str] | None:
    try:
        return [text.decode(encoding) for text in texts]
    except UnicodeError:
        return None


def _by_chance(texts: Sequence[str]) -> bool:
    """Whether it may be GB 18030 that happens to be UTF-8, as `ëԪΰ` is: accents that stand beside no plain letter."""
    joined = "\n".join(texts)
    return "\u0080" <= max(joined, default="") < "\u0800" and not _ACCENTED.search(joined)


def _possible(texts: Sequence[str]) -> bool:
    """Whether names and notes may look so: none of a misreading's private characters, box drawings, other scripts."""
    return all(_is_hanzi(one) or _is_sign(one) for one in _different(texts))


def _sure(best: Sequence[str], other: Sequence[str] = ()) -> bool:
    hanzi = sum(map(_is_hanzi, _different(best)))
    return _common(best) >= LEAST_SHARE * hanzi and (not other or _common(best) - _common(other) >= LEAST_LEAD)


def _common(texts: Sequence[str]) -> int:
    return len(_different(texts) & COMMON)


def _different(texts: Sequence[str]) -> set[str]:
    """The characters beyond ASCII, each once however often a name is repeated."""
    return {one for one in set().union(*texts) if not one.isascii()}


def _is_hanzi(one: str) -> bool:
    return unicodedata.name(one, "").startswith("CJK UNIFIED") or one in "〇々"


def _is_sign(one: str) -> bool:
    """Punctuation, symbols but box drawings, and letters of full width as input methods type them."""
    box, wide = "\u2500" <= one <= "\u259f", "\uff01" <= one <= "\uff5e"
    return wide or (not box and unicodedata.category(one)[0] in "PSNZM")
