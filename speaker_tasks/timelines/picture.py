"""The timeline as a picture: a lane a person, turns as bars with names, colours that everybody can distinguish."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from speaker_tasks.timelines.document import UNKNOWN, Timeline

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
"""Okabe and Ito's, for colour-blind readers too; the order keeps neighbours far from each other."""
NOBODY = "#999999"
"""Of who is unknown."""
FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
    "Microsoft YaHei",
    "PingFang SC",
    "Heiti SC",
    "Arial Unicode MS",
    "Droid Sans Fallback",
)
"""Fonts with Chinese characters; those that the machine has stand in for what matplotlib's own lacks."""
INCHES_A_MINUTE, NARROWEST, WIDEST = 1.5, 9.0, 48.0
LANE_INCHES = 0.55
MOST_LANES = 40
LETTER_INCHES, SIDE_INCHES = 0.07, 1.6
"""What a letter of a name takes in a bar, and what the names beside the lanes take of the width."""


def png(timeline: Timeline, *, title: str = "") -> bytes:
    """The picture as PNG."""
    buffer = io.BytesIO()
    _draw(timeline, title).savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def write(timeline: Timeline, path: Path, *, title: str = "") -> None:
    """Write the picture in the format of the file's ending. Raises ValueError for one that is none, OSError."""
    _draw(timeline, title).savefig(path, dpi=110)


def _draw(timeline: Timeline, title: str) -> Any:
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.font_manager import fontManager
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    people = timeline.speakers[:MOST_LANES]
    lanes = {one.speaker: lane for lane, one in enumerate(people)}
    width = min(WIDEST, max(NARROWEST, timeline.seconds / 60 * INCHES_A_MINUTE + 2))
    has = {font.name for font in fontManager.ttflist}
    with rc_context({"font.family": ["DejaVu Sans", *(name for name in FONTS if name in has)], "font.size": 9}):
        figure = Figure(figsize=(width, 1.1 + LANE_INCHES * max(1, len(people))), layout="constrained")
        axes = figure.subplots()
        inches_a_second = (width - SIDE_INCHES) / max(timeline.seconds, 1.0)
        for name, lane in lanes.items():
            spans = [(turn.start, turn.end - turn.start) for turn in timeline.turns if turn.speaker == name]
            colour = _colour(name, lanes)
            axes.broken_barh(spans, (lane - 0.36, 0.72), facecolors=colour)  # one for all: each takes milliseconds
            look: dict[str, Any] = {"ha": "center", "va": "center", "size": 8, "color": _ink(colour), "clip_on": True}
            for start, seconds in spans:
                if seconds * inches_a_second > LETTER_INCHES * (len(name) + 1):
                    axes.text(start + seconds / 2, lane, name, parse_math=False, **look)
        shown = [f"{one.speaker}  {_clock(one.seconds)}" for one in people]
        axes.set_yticks(range(len(people)), shown, parse_math=False)
        axes.set_ylim(max(1, len(people)) - 0.5, -0.5)
        axes.set_xlim(0, max(timeline.seconds, 1.0))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=int(width), steps=[1, 2, 3, 6, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda second, _: _clock(second)))
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_title(title or "Who spoke when", loc="left", size=11, parse_math=False)
        if not people:
            axes.text(0.5, 0.5, "no speech", transform=axes.transAxes, ha="center", color="#666666")
        figure.canvas.draw()
    return figure


def _colour(name: str, lanes: dict[str, int]) -> str:
    if name.startswith(UNKNOWN):
        return NOBODY
    named = [one for one in lanes if not one.startswith(UNKNOWN)]
    return COLOURS[named.index(name) % len(COLOURS)]


def _ink(colour: str) -> str:
    """Black or white, whichever is easier to read on it."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _clock(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
