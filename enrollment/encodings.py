"""Text from Windows in Taiwan and China: Big5 or GB 18030, told apart by what it says, never by which fits first."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from enrollment.hanzi import COMMON
from speaker_tasks.errors import Malformed, Unusable

BIG5, GB = "cp950", "gb18030"
_WIDER = {"big5": BIG5, "gb2312": GB, "gbk": GB, "cp936": GB}
"""What Windows writes under these names holds more characters than Python's codecs of the same name."""
_ACCENTED = re.compile("[A-Za-z][\u0080-\u07ff]|[\u0080-\u07ff][A-Za-z]")
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


def decoded(texts: Sequence[bytes], what: str, encoding: str | None = None) -> list[str]:
    """Texts of one encoding: the given one, else UTF-8, Big5 or GB 18030 if they can be told apart.

    Raises `Unusable` if not, in one line that says what to do, and `Malformed` for an encoding that there is not.
    """
    if encoding is not None:
        found = _read(texts, codec(encoding))
        if found is None:
            raise Unusable(f"{what} cannot be read as {encoding}; give another encoding", encoding=encoding)
        return found
    found = _read(texts, "utf-8")
    if found is not None and not _by_chance(found):
        return found
    readings = [one for one in (_read(texts, BIG5), _read(texts, GB)) if one is not None and _possible(one)]
    readings.sort(key=_common, reverse=True)
    if readings and _sure(*readings) and (found is None or _common(readings[0]) >= LEAST_LEAD):
        return readings[0]
    if found is None:
        raise Unusable(
            f"{what} is not UTF-8, and whether it is Big5 or GB 18030 is not sure: save it as UTF-8, or give its "
            f"encoding (--encoding {BIG5} or --encoding {GB})"
        )
    return found


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
