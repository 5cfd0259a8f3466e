"""The names of banks and speakers: which are allowed, and in which form they are kept."""

from __future__ import annotations

import unicodedata

from speaker_tasks.errors import Unusable

MAX_LENGTH = 120
ALL = "all"
CUSTOM = "custom"
ALIASES = {"morning": "moring"}
"""The first server's mode is spelled `moring`; who writes it right is understood."""
RESERVED = frozenset({ALL, CUSTOM, *ALIASES})
"""Modes of the first server that are not banks of their own."""


def clean_label(name: str) -> str:
    """A speaker's name as it is kept: NFC, without spaces round it, one space where there were several.

    Raises `Unusable` for an empty or over-long name and for control characters.
    """
    return _clean(name, "a speaker's name")


def clean_bank_name(name: str) -> str:
    """A bank's name as it is kept. Raises `Unusable` for a name that no bank may have."""
    cleaned = _clean(name, "a bank's name")
    if cleaned in RESERVED:
        raise Unusable(f"{cleaned!r} is a mode, so no bank may be called that", name=cleaned)
    if cleaned.startswith(".") or set(cleaned) & set("/\\:?#%"):
        raise Unusable(f"a bank's name holds none of / \\ : ? # % and does not start with a dot; got {cleaned!r}")
    return cleaned


def _clean(name: str, what: str) -> str:
    cleaned = " ".join(unicodedata.normalize("NFC", name).split())
    if not cleaned:
        raise Unusable(f"{what} is empty")
    if len(cleaned) > MAX_LENGTH:
        raise Unusable(f"{what} has {len(cleaned)} characters; at most {MAX_LENGTH} are allowed")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in cleaned):
        raise Unusable(f"{what} holds a control character or half a character: {cleaned!r}")
    return cleaned
