"""The names of banks and speakers: which are allowed, and in which form they are kept."""

from __future__ import annotations

import re
import unicodedata

from speaker_tasks.errors import Unusable

MAX_LENGTH = 120
MAX_GIVEN = 20 * MAX_LENGTH
"""Characters of a name as it comes, with spaces and what cannot be seen; NFC takes the square of them at worst."""
ALL = "all"
CUSTOM = "custom"
ALIASES = {"morning": "moring"}
"""The first server's mode is spelled `moring`; who writes it right is understood."""
RESERVED = frozenset({ALL, CUSTOM, *ALIASES})
"""Modes of the first server that are not banks of their own."""
_ESCAPED_CONTROL = re.compile(r"_x(00[01][0-9A-Fa-f]|007[Ff])_")
"""How Excel's files spell control characters: a line break in a cell is `_x000D_`."""
_BLANKS = dict.fromkeys((0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800), " ")
"""Fillers that look like spaces, and that Python takes for letters."""
_JOINED = "[\u0600-\u1fff]"
"""Scripts that join letters by zero-width characters: Arabic and Uyghur, those of India and of South East Asia."""
_INVISIBLE = re.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
    f"|(?<!{_JOINED})[\u200c\u200d]|[\u200c\u200d](?!{_JOINED})"
)
"""Zero-width characters, soft hyphens and marks of direction; joiners stay between letters that they shape."""


def clean_name(name: str) -> str:
    """A speaker's name as it is kept: NFC, one space where there were several or a line break, nothing invisible.

    Raises `Unusable` for an empty or over-long name, control characters, and bytes that are not UTF-8.
    """
    return _clean(name, "the speaker's name")


def as_kept(name: str) -> str:
    """The form in which a name may be kept somewhere; what no name can be is given back: nobody is called so."""
    try:
        return clean_name(name)
    except Unusable:
        return name


def clean_bank_name(name: str) -> str:
    """A bank's name as it is kept. Raises `Unusable` for a name that no bank may have."""
    cleaned = _clean(name, "a bank's name")
    if cleaned in RESERVED:
        raise Unusable(f"{cleaned!r} is a mode, so no bank may be called that", name=cleaned)
    if cleaned.startswith(".") or set(cleaned) & set("/\\:?#%"):
        raise Unusable(f"a bank's name holds none of / \\ : ? # % and does not start with a dot; got {cleaned!r}")
    return cleaned


def _clean(name: str, what: str) -> str:
    if len(name) > MAX_GIVEN:
        raise Unusable(f"{what} has {len(name)} characters; at most {MAX_LENGTH} are allowed")
    unescaped = _ESCAPED_CONTROL.sub(lambda match: chr(int(match[1], 16)), name)
    visible = _INVISIBLE.sub("", unescaped.translate(_BLANKS))
    cleaned = " ".join(unicodedata.normalize("NFC", visible).split())
    if not cleaned:
        raise Unusable(f"{what} is empty")
    if len(cleaned) > MAX_LENGTH:
        raise Unusable(f"{what} has {len(cleaned)} characters; at most {MAX_LENGTH} are allowed")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in cleaned):
        raise Unusable(f"{what} holds a control character or is not UTF-8: {cleaned!r}")
    return cleaned
