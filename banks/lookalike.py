"""Names that look alike: two spellings that are perhaps one person."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence

from banks.variants import SIMPLIFIED

MOST_PAIRS = 20
"""Pairs that a warning names."""
_BETWEEN_WORDS = re.compile(r"(?<!\d)[\s_\-‐-―·•・‧∙･'’]+|[\s_\-‐-―·•・‧∙･'’]+(?!\d)")
"""Spaces, hyphens, middle dots and apostrophes, but not between two digits: `room 1-1` is not `room 11`."""


def folded(name: str) -> str:
    """What a name looks like: without case, width, spaces, invisible characters, and in simplified characters."""
    plain = unicodedata.normalize("NFKC", name).casefold().translate(SIMPLIFIED)
    visible = "".join(one for one in plain if unicodedata.category(one) != "Cf")
    return _BETWEEN_WORDS.sub("", visible)


def lookalikes(labels: Sequence[str], among: Collection[str] | None = None) -> list[tuple[str, str]]:
    """Pairs of different names that look alike, in the order of `labels`; with `among`, only pairs that touch these."""
    groups: dict[str, list[str]] = {}
    for label in dict.fromkeys(labels):
        groups.setdefault(folded(label), []).append(label)
    return [
        (group[0], other)
        for group in groups.values()
        for other in group[1:]
        if among is None or group[0] in among or other in among
    ]


def warnings(labels: Sequence[str], among: Collection[str] | None = None) -> list[str]:
    """A sentence for each pair of `lookalikes`, with what differs."""
    return [
        f"{first!r} and {second!r} look alike: one person under two names? `banks merge` makes one of them"
        for first, second in lookalikes(labels, among)[:MOST_PAIRS]
    ]
