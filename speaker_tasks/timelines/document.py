"""The timeline: who spoke when, under which name, and what is known of each speaker. JSON in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

UNKNOWN = "unknown-"
"""Prefix of the names of people who are not enrolled; a number follows. No other name begins so."""


@dataclass(frozen=True)
class Turn:
    """Somebody speaks, in seconds from the recording's beginning. Turns overlap where two speak at once."""

    id: int
    """From 1; corrections name it."""
    start: float
    end: float
    speaker: str
    cluster: int
    """The cluster that it came from; corrections do not change it."""
    overlap: bool
    """Whether somebody else speaks in a part of it."""
    score: float | None = None
    """Cosine between the voice of this turn and its speaker; null where it is too short to tell."""
    probability: float | None = None
    """That of the speaker's name."""
    reason: str = ""
    """Of the speaker's name, or `corrected`."""


@dataclass(frozen=True)
class Part:
    """A part of a turn; no two overlap."""

    start: float
    end: float
    turn: int
    speaker: str


@dataclass(frozen=True)
class Speaker:
    """One person of the timeline."""

    speaker: str
    cluster: int
    enrolled: bool
    """Whether the name was decided by the voice, from the bank."""
    seconds: float
    turns: int
    clean_seconds: float
    """Seconds in which they speak alone; the decision is made on them."""
    score: float | None = None
    probability: float | None = None
    threshold: float | None = None
    margin: float | None = None
    decision: str = "unknown"
    reason: str = ""
    message: str = ""
    candidates: tuple[Mapping[str, Any], ...] = ()
    vector: tuple[float, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Timeline:
    """The whole timeline; `about` has the answer's other fields: bank, model, warnings, timings."""

    seconds: float
    speech_seconds: float
    overlap_seconds: float
    turns: tuple[Turn, ...]
    exclusive: tuple[Part, ...]
    speakers: tuple[Speaker, ...]
    revision: int = 0
    about: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The timeline as JSON."""
        first = ("seconds", "speech_seconds", "overlap_seconds", "revision")
        lists = {name: [asdict(one) for one in getattr(self, name)] for name in ("turns", "exclusive", "speakers")}
        return {name: getattr(self, name) for name in first} | lists | dict(self.about)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Timeline:
        """Read what `to_dict` wrote."""
        given = dict(data)
        speakers = tuple(
            Speaker(**{**one, "candidates": tuple(one["candidates"]), "vector": tuple(one["vector"])})
            for one in given.pop("speakers")
        )
        turns = tuple(Turn(**one) for one in given.pop("turns"))
        parts = tuple(Part(**one) for one in given.pop("exclusive"))
        first = {name: given.pop(name) for name in ("seconds", "speech_seconds", "overlap_seconds", "revision")}
        return cls(turns=turns, exclusive=parts, speakers=speakers, about=given, **first)

    def of(self, speaker: str) -> Speaker | None:
        """The speaker of that name."""
        return next((one for one in self.speakers if one.speaker == speaker), None)


def summed(timeline: Timeline) -> Timeline:
    """The timeline with its turns' names in the parts, and each speaker's seconds and turns, counted anew.

    Speakers without turns are left out, the others sorted by how much they speak. Where two turns of one speaker
    overlap, as after a merge, the time counts once, and is no overlap.
    """
    names = {turn.id: turn.speaker for turn in timeline.turns}
    parts = tuple(replace(part, speaker=names[part.turn]) for part in timeline.exclusive if part.turn in names)
    turns_of: dict[str, list[Turn]] = {}
    for turn in timeline.turns:
        turns_of.setdefault(turn.speaker, []).append(turn)
    spoken = {name: covered(turns) for name, turns in turns_of.items()}
    speakers = [
        replace(one, seconds=round(spoken[one.speaker], 2), turns=len(turns_of[one.speaker]))
        for one in timeline.speakers
        if one.speaker in spoken
    ]
    speakers.sort(key=lambda one: -one.seconds)
    twice = round(sum(spoken.values()) - covered(timeline.turns), 2)
    return replace(timeline, exclusive=parts, speakers=tuple(speakers), overlap_seconds=twice)


def covered(turns: Sequence[Turn]) -> float:
    """Seconds in which somebody speaks."""
    total, until = 0.0, 0.0
    for turn in sorted(turns, key=lambda turn: turn.start):
        total += max(0.0, turn.end - max(turn.start, until))
        until = max(until, turn.end)
    return total


def marked(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns, sorted by their start, each with whether another speaker's turn overlaps it."""
    ordered = sorted(turns, key=lambda turn: (turn.start, turn.end))
    overlaps = [False] * len(ordered)
    running: list[int] = []
    for number, turn in enumerate(ordered):
        running = [one for one in running if ordered[one].end > turn.start]
        for one in running:
            if ordered[one].speaker != turn.speaker:
                overlaps[one] = overlaps[number] = True
        running.append(number)
    return tuple(replace(turn, overlap=overlap) for turn, overlap in zip(ordered, overlaps, strict=True))
