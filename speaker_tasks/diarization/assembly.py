"""The timeline as the task answers it, from people and their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from speaker_tasks.diarization.naming import Name
from speaker_tasks.diarization.people import People
from speaker_tasks.timelines.document import UNKNOWN, Part, Speaker, Timeline, Turn, marked, summed

VECTOR_DIGITS = 5


def timeline_of(people: People, names: Sequence[Name], seconds: float, about: Mapping[str, Any]) -> Timeline:
    """The timeline; `about` has its other fields: bank, model, warnings, timings."""
    called = _called(names)
    turns = tuple(
        Turn(
            id=number,
            start=round(span.start, 2),
            end=round(span.end, 2),
            speaker=called[span.cluster],
            cluster=span.cluster,
            overlap=False,
            score=score,
            probability=names[span.cluster].probability if names[span.cluster].name else None,
            reason=names[span.cluster].reason,
        )
        for number, (span, score) in enumerate(zip(people.turns, people.scores, strict=True), 1)
    )
    speakers = tuple(_speaker(number, called, names, people) for number in _first_of_each(called))
    spoken = float(people.together.diagonal().sum()) if len(people.together) else 0.0
    twice = _overlap(turns)
    made = Timeline(
        seconds=round(seconds, 2),
        speech_seconds=round(max(0.0, spoken - twice), 2),
        overlap_seconds=round(twice, 2),
        turns=marked(turns),
        exclusive=_parts(people, turns),
        speakers=speakers,
        about={"too_short": [{"start": start, "end": end} for start, end in people.too_short], **about},
    )
    return summed(made)


def _called(names: Sequence[Name]) -> list[str]:
    called, unknown = [], 0
    for one in names:
        if one.name is None:
            unknown += 1
        called.append(one.name if one.name is not None else f"{UNKNOWN}{unknown}")
    return called


def _first_of_each(called: Sequence[str]) -> list[int]:
    """The largest cluster of each name; several clusters may be one person."""
    return [number for number, name in enumerate(called) if called.index(name) == number]


def _speaker(number: int, called: Sequence[str], names: Sequence[Name], people: People) -> Speaker:
    one, name = names[number], called[number]
    same = [other for other, called_so in enumerate(called) if called_so == name]
    return Speaker(
        speaker=name,
        cluster=number,
        enrolled=one.name is not None,
        seconds=0.0,
        turns=0,
        clean_seconds=round(sum(people.voices[other].clean_seconds for other in same), 2),
        score=one.score,
        probability=one.probability,
        threshold=one.threshold,
        margin=one.margin,
        decision=one.decision,
        reason=one.reason,
        message=one.message,
        candidates=one.candidates,
        vector=tuple(round(float(value), VECTOR_DIGITS) for value in people.voices[number].vector),
    )


def _parts(people: People, turns: Sequence[Turn]) -> tuple[Part, ...]:
    """The exclusive parts, within the rounded bounds of their turns."""
    parts = []
    for number, first, last in people.exclusive:
        turn = turns[number]
        start, end = max(round(first, 2), turn.start), min(round(last, 2), turn.end)
        if end > start:
            parts.append(Part(start, end, turn.id, turn.speaker))
    return tuple(parts)


def _overlap(turns: Sequence[Turn]) -> float:
    """Seconds in which two or more speak, each second counted once for each further speaker."""
    edges = sorted([(turn.start, 1) for turn in turns] + [(turn.end, -1) for turn in turns])
    running, before, total = 0, 0.0, 0.0
    for at, step in edges:
        total += max(0, running - 1) * (at - before)
        running, before = running + step, at
    return total
