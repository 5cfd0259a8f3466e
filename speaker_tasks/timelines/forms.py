"""The timeline as other programs read it: RTTM for diarization tools, SRT and WebVTT for players (names only)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from speaker_tasks.timelines.document import Timeline

Span = tuple[float, float, str]
"""Start, end, name."""


def rttm(timeline: Timeline, file_id: str = "recording", *, exclusive: bool = False) -> str:
    """NIST's Rich Transcription Time Marked; spaces in names become underscores, as the format has none."""
    rows = (
        f"SPEAKER {_word(file_id)} 1 {start:.3f} {end - start:.3f} <NA> <NA> {_word(name)} <NA> <NA>"
        for start, end, name in spans(timeline, exclusive=exclusive)
    )
    return _lines(rows)


def srt(timeline: Timeline, file_id: str = "", *, exclusive: bool = False) -> str:
    """SubRip subtitles whose text is who speaks."""
    rows = (
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{name}\n"
        for number, (start, end, name) in enumerate(spans(timeline, exclusive=exclusive), 1)
    )
    return _lines(rows)


def vtt(timeline: Timeline, file_id: str = "", *, exclusive: bool = False) -> str:
    """WebVTT, with who speaks as text and as voice."""
    rows = (
        f"{_clock(start, '.')} --> {_clock(end, '.')}\n<v {_escaped(name)}>{_escaped(name)}</v>\n"
        for start, end, name in spans(timeline, exclusive=exclusive)
    )
    return _lines(["WEBVTT\n", *rows])


FORMS: dict[str, tuple[Callable[..., str], str]] = {
    "rttm": (rttm, "text/plain"),
    "srt": (srt, "application/x-subrip"),
    "vtt": (vtt, "text/vtt"),
}
"""Each form's function and its type."""


def spans(timeline: Timeline, *, exclusive: bool = False) -> list[Span]:
    """Start, end and name of each turn; with `exclusive` of parts that do not overlap."""
    chosen = timeline.exclusive if exclusive else timeline.turns
    return [(one.start, one.end, one.speaker) for one in chosen]


def _word(text: str) -> str:
    return re.sub(r"\s+", "_", text) or "recording"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, point: str) -> str:
    whole = round(seconds * 1000)
    minutes, milliseconds = divmod(whole, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"


def _lines(rows: Iterable[str]) -> str:
    text = "\n".join(rows)
    return f"{text}\n" if text else ""
