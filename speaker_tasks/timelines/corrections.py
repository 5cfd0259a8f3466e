"""Corrections: a timeline in, the corrected one out. Nothing is learned from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from banks.names import clean_name
from speaker_tasks.errors import Malformed, NotFound, Unusable
from speaker_tasks.timelines.document import UNKNOWN, Speaker, Timeline, Turn, marked, summed

CORRECTED = "corrected"
"""The reason of a turn or speaker that a person corrected."""


def correct(timeline: Timeline, wanted: Mapping[str, Any]) -> Timeline:
    """Apply one correction: `{"action": "name" | "reassign" | "merge", ...}`.

    Raises `Malformed`, `NotFound` for a speaker or turn that is not there, `Unusable` for other impossible ones.
    """
    action, given = wanted.get("action"), {name: value for name, value in wanted.items() if name != "action"}
    if action not in ACTIONS:
        raise Malformed(f"action: {action!r} is none; there is {', '.join(ACTIONS)}, undo", where="action")
    function, takes = ACTIONS[action]
    if set(given) != set(takes):
        raise Malformed(f"{action} takes {', '.join(takes)}; got {', '.join(sorted(given)) or 'nothing'}", where=action)
    done = function(timeline, **given)
    return replace(summed(replace(done, turns=marked(done.turns))), revision=timeline.revision + 1)


def name(timeline: Timeline, speaker: str, name: str) -> Timeline:
    """Give a speaker of the timeline another name, or none: the next `unknown-N`.

    Raises `Unusable` for a name that another speaker has, and for another number.
    """
    new, _ = clean_name(name), _speaker(timeline, speaker)
    if new.startswith(UNKNOWN) and new not in (speaker, next_unknown(timeline)):
        raise Unusable(f"{new} is no name; give one, or {next_unknown(timeline)}", speaker=new)
    if new != speaker and timeline.of(new) is not None:
        raise Unusable(f"{new} speaks here already: merge the two, if they are one person", speaker=new)
    turns = (_given(turn, new) if turn.speaker == speaker else turn for turn in timeline.turns)
    people = (_said(one, new) if one.speaker == speaker else one for one in timeline.speakers)
    return replace(timeline, turns=tuple(turns), speakers=tuple(people))


def reassign(timeline: Timeline, turn: int, speaker: str) -> Timeline:
    """Give a turn to another speaker of the timeline, or to a new one."""
    if not any(one.id == turn for one in timeline.turns):
        raise NotFound(f"there is no turn {turn!r}", turn=turn)
    new = clean_name(speaker)
    turns = tuple(_given(one, new) if one.id == turn else one for one in timeline.turns)
    people = timeline.speakers
    if timeline.of(new) is None:
        if new.startswith(UNKNOWN) and new != next_unknown(timeline):
            raise NotFound(f"{new} does not speak here; the next one is {next_unknown(timeline)}", speaker=new)
        moved = next(one for one in turns if one.id == turn)
        seconds = round(moved.end - moved.start, 2)
        people += (Speaker(new, -1, False, seconds, 1, 0.0, decision=CORRECTED, reason=CORRECTED, message=SAID),)
    return replace(timeline, turns=turns, speakers=people)


def merge(timeline: Timeline, speaker: str, into: str) -> Timeline:
    """Merge two speakers into one."""
    gone, kept = _speaker(timeline, speaker), _speaker(timeline, into)
    if gone is kept:
        raise Unusable(f"{speaker} and {into} are one speaker already", speaker=speaker)
    turns = tuple(_given(turn, into) if turn.speaker == speaker else turn for turn in timeline.turns)
    clean = round(gone.clean_seconds + kept.clean_seconds, 2)
    people = tuple(replace(one, clean_seconds=clean) if one is kept else one for one in timeline.speakers)
    return replace(timeline, turns=turns, speakers=tuple(one for one in people if one is not gone))


SAID = "as a person said"
ACTIONS: dict[str, tuple[Callable[..., Timeline], tuple[str, ...]]] = {
    "name": (name, ("speaker", "name")),
    "reassign": (reassign, ("turn", "speaker")),
    "merge": (merge, ("speaker", "into")),
}


def next_unknown(timeline: Timeline) -> str:
    """The first `unknown-N` that nobody has."""
    names = {one.speaker for one in timeline.speakers}
    return next(one for number in range(1, len(names) + 2) if (one := f"{UNKNOWN}{number}") not in names)


def _given(turn: Turn, speaker: str) -> Turn:
    return turn if turn.speaker == speaker else replace(turn, speaker=speaker, probability=None, reason=CORRECTED)


def _said(one: Speaker, new: str) -> Speaker:
    return replace(one, speaker=new, enrolled=False, decision=CORRECTED, reason=CORRECTED, message=SAID)


def _speaker(timeline: Timeline, name: str) -> Speaker:
    speaker = timeline.of(name)
    if speaker is None:
        names = [one.speaker for one in timeline.speakers]
        raise NotFound(f"{name!r} does not speak here; there is {', '.join(names) or 'nobody'}", speaker=name)
    return speaker
