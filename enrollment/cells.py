"""Cells of a sheet as Excel shows them: numbers and dates by their number format (`0000` shows 1 as 0001)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

GENERAL = "General"
BUILT_IN = {
    1: "0",
    2: "0.00",
    3: "#,##0",
    4: "#,##0.00",
    15: "d-mmm-yy",
    16: "d-mmm",
    17: "mmm-yy",
    18: "h:mm AM/PM",
    19: "h:mm:ss AM/PM",
    20: "h:mm",
    21: "h:mm:ss",
    22: "yyyy-mm-dd h:mm",
    45: "mm:ss",
    47: "mm:ss",
    49: "@",
    **dict.fromkeys((14, *range(27, 37), *range(50, 59)), "yyyy-mm-dd"),
}
"""The formats that a workbook names by number only (ECMA-376, 18.8.30); dates of a country's form as ISO dates."""
DAYS = {False: datetime(1899, 12, 30), True: datetime(1904, 1, 1)}
"""Day 0 of the 1900 and of the 1904 date system."""
_LATEST = 2_958_466
"""The first day that Excel does not know: 10000-01-01."""
_TOKEN = re.compile(
    r'"([^"]*)"|\\(.)|\[[^\]]*\]|[_*].|(General|AM/PM|A/P|y+|m+|d+|h+|s+|e+|[0#?]+|.)', re.IGNORECASE | re.S
)
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_MONTHS_LONG = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell that is not empty."""

    shown: str
    """As Excel shows it."""
    plain: str = ""
    """A number without its format, a date as ISO 8601; else as shown."""
    fault: str = ""
    """Why there is no value to use: the error of a formula, or a formula that was never calculated."""

    @property
    def texts(self) -> tuple[str, ...]:
        """What it may mean, the likeliest first."""
        return tuple(dict.fromkeys(text for text in (self.shown, self.plain) if text))


def number(value: float, code: str = GENERAL, *, since_1904: bool = False) -> Cell:
    """The cell of a number with a format code."""
    value = float(value)
    if not math.isfinite(value):
        return Cell("", fault="a number that there is not")
    if code == GENERAL:
        return Cell(general(value))
    tokens = _tokens(_section(value, code))
    if _is_date(tokens) and 0 <= value < _LATEST:
        return _date(value, tokens, since_1904)
    return Cell(_digits(value, tokens, several=";" in code), general(value))


def general(value: float) -> str:
    """A number as Excel shows it without a format: whole ones without a point."""
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return f"{value:.15g}"


def _section(value: float, code: str) -> str:
    """The part of a format code for numbers of this sign: `positive;negative;zero;text`."""
    parts = re.findall(r'((?:"[^"]*"|\\.|\[[^\]]*\]|[^;])*)(?:;|$)', code, re.S)
    which = (
        1 if value < 0 and len(parts) > 2 else 2 if value == 0 and len(parts) > 3 else 0
    )  # an empty one ends the list
    return str(parts[which])


@lru_cache(maxsize=256)
def _tokens(section: str) -> list[tuple[str, bool]]:
    """The pieces of a format code; True for text that is shown as it is."""
    pieces: list[tuple[str, bool]] = []
    for match in _TOKEN.finditer(section):
        quoted, escaped, piece = match.groups()
        if quoted is not None or escaped is not None:
            pieces.append((quoted or escaped or "", True))
        elif piece is not None:
            pieces.append((piece, False))
    return pieces


def _is_date(tokens: list[tuple[str, bool]]) -> bool:
    pieces = [piece for piece, literal in tokens if not literal]
    return any(piece[0] in "yYmMdDhHsS" for piece in pieces) and not any(piece[0] in "0#?" for piece in pieces[:1])


def _digits(value: float, tokens: list[tuple[str, bool]], *, several: bool) -> str:
    """A number by the placeholders `0`, `#` and `?`; without a thousands separator, which no name has."""
    code = "".join(piece for piece, literal in tokens if not literal)
    if GENERAL.lower() in code.lower():
        return "".join(piece if literal else general(value) for piece, literal in tokens if literal or piece[0] in "gG")
    if not re.search("[0#?]", code) or re.search(r"[%eE/@]|[0#?],+(?![0#?])", code):
        return general(value)
    whole_part, _, fraction_part = code.partition(".")
    decimals = sum(fraction_part.count(one) for one in "0#?")
    whole, _, fraction = f"{abs(value):.{min(decimals, 15)}f}".partition(".")
    least = fraction_part.count("0")
    fraction = fraction[:least] + fraction[least:].rstrip("0")
    least = whole_part.count("0")
    left = list(whole.lstrip("0").rjust(least, "0") if least else whole.lstrip("0"))
    slots = sum(whole_part.count(one) for one in "0#?")
    text, after_point = "", False
    for piece, literal in tokens:
        if literal:
            text += piece
        elif piece[0] in "0#?":
            if after_point:
                text, fraction = text + fraction[: len(piece)], fraction[len(piece) :]
                continue
            slots -= len(piece)
            taken = max(0, len(left) - slots)
            text, left = text + "".join(left[:taken]), left[taken:]
        elif piece == ".":
            after_point = True
            text += "." if fraction else ""
        elif piece != ",":
            text += piece
    sign = "-" if value < 0 and not several else ""
    return sign + text.strip()


def _date(value: float, tokens: list[tuple[str, bool]], since_1904: bool) -> Cell:
    moment = DAYS[since_1904] + timedelta(seconds=round(value * 86_400))
    plain = moment.date().isoformat() if value == int(value) else moment.isoformat(" ")
    pieces = [piece.lower() for piece, literal in tokens if not literal]
    half = any(piece in ("am/pm", "a/p") for piece in pieces)
    text, before = "", ""
    for at, (piece, literal) in enumerate(tokens):
        if literal:
            text += piece
            continue
        one = piece.lower()
        after = next(
            (later.lower() for later, quoted in tokens[at + 1 :] if not quoted and later[0] in "yYmMdDhHsS"), ""
        )
        minute = one[0] == "m" and len(one) <= 2 and (before[:1] == "h" or after[:1] == "s")
        text += _moment(moment, one, minute=minute, half=half)
        before = one if one[0] in "ymdhs" else before
    return Cell(text.strip(), plain)


def _moment(moment: datetime, piece: str, *, minute: bool, half: bool) -> str:
    """One piece of a date format, filled in."""
    kind = "n" if minute else piece[0]
    long = len(piece) > 2
    if kind in {"y", "e"}:
        return f"{moment.year:04d}" if long or kind == "e" else f"{moment.year % 100:02d}"
    if kind == "m" and long:
        return (_MONTHS if len(piece) == 3 else _MONTHS_LONG)[moment.month - 1]
    if kind == "d" and long:
        return _WEEKDAYS[moment.weekday()][: 3 if len(piece) == 3 else None]
    if kind == "a" and "/" in piece:
        return "AM" if moment.hour < 12 else "PM"
    hour = (moment.hour - 1) % 12 + 1 if half else moment.hour
    values = {"m": moment.month, "d": moment.day, "h": hour, "n": moment.minute, "s": moment.second}
    return str(values[kind]).zfill(len(piece)) if kind in values else piece.replace("@", "")
