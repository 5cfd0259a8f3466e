"""Made-up turn-taking: who speaks when in a meeting that nobody held.

Its quantities are those of real meetings and of how they are annotated: turns of a log-normal length, up to half a
minute; gaps of a fifth of a second to a second; about two floor changes in five before the other has ended; short
replies into others' turns; pauses below a third of a second counted as speech; now and then two conversations at once.
Each meeting draws its own rates, so that calm and lively ones occur.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

Turns = list[tuple[float, float, int]]
"""Start, end, number of the speaker."""

SHORTEST = 0.2
LONGEST = 40.0


@dataclass(frozen=True)
class Manner:
    """How the people of one meeting talk."""

    turn: float
    """Median seconds of a turn."""
    early: float
    """Share of floor changes at which the next begins before the other has ended."""
    gap: float
    """Mean seconds between turns otherwise."""
    replies: float
    """Short replies a second of somebody else's turn."""
    breaks: float
    """Share of turns that pauses divide."""
    aside: float
    """Share of the meeting in which a second conversation goes on."""

    @classmethod
    def drawn(cls, random: np.random.Generator) -> Manner:
        """One meeting's."""
        return cls(
            turn=float(random.uniform(1.0, 5.0)),
            early=float(random.uniform(0.15, 0.7)),
            gap=float(random.uniform(0.2, 1.0)),
            replies=float(random.uniform(0.02, 0.25)),
            breaks=float(random.uniform(0.1, 0.7)),
            aside=float(random.choice([0.0, 0.0, 0.0, random.uniform(0.05, 0.4)])),
        )


def conversation(random: np.random.Generator, speakers: int, seconds: float, manner: Manner | None = None) -> Turns:
    """The turns of a meeting by their start; nobody's own turns overlap."""
    manner = manner or Manner.drawn(random)
    weights = random.dirichlet(np.full(speakers, 1.5)) * 0.9 + 0.1 / speakers
    turns = list(_floor(random, np.arange(speakers), weights, 0.0, seconds, manner=manner))
    if speakers >= 4 and manner.aside:
        length = seconds * manner.aside
        start = float(random.uniform(0, seconds - length))
        two = random.choice(speakers, 2, replace=False)
        turns += _floor(random, two, np.array([0.5, 0.5]), start, start + length, manner=manner)
    return merged(turns)


def _floor(
    random: np.random.Generator,
    people: np.ndarray,
    weights: np.ndarray,
    start: float,
    end: float,
    *,
    manner: Manner,
) -> Iterator[tuple[float, float, int]]:
    """One conversation: turn after turn, with replies into them."""
    at, before = start + float(random.exponential(manner.gap)), -1
    while at < end:
        chances = weights * np.where(people == before, 0.25, 1.0)
        speaker = int(random.choice(people, p=chances / chances.sum()))
        length = float(np.clip(random.lognormal(np.log(manner.turn), 1.1), SHORTEST, LONGEST))
        until = min(at + length, end)
        for first, last in _divided(random, at, until, manner.breaks):
            yield first, last, speaker
        yield from _replies(random, people, speaker, at, until, manner=manner)
        if random.random() < manner.early:
            at = max(at + SHORTEST, until - float(random.exponential(1.2)))
        else:
            at = until + float(random.exponential(manner.gap if random.random() < 0.93 else 5.0))
        before = speaker


def _divided(random: np.random.Generator, start: float, end: float, breaks: float) -> Iterator[tuple[float, float]]:
    """A turn, or its parts between pauses."""
    divided = random.random() < breaks
    while divided and end - start > 1.5:
        part = start + float(random.uniform(0.5, 12.0))
        pause = float(random.uniform(0.3, 2.0))
        if part + pause + 0.3 > end:
            break
        yield start, part
        start = part + pause
    if end - start >= SHORTEST:
        yield start, end


def _replies(
    random: np.random.Generator, people: np.ndarray, speaker: int, start: float, end: float, *, manner: Manner
) -> Iterator[tuple[float, float, int]]:
    others = people[people != speaker]
    for _ in range(int(random.poisson(manner.replies * (end - start))) if len(others) else 0):
        at = float(random.uniform(start, end))
        yield at, at + float(np.clip(random.lognormal(np.log(0.5), 0.6), SHORTEST, 4.0)), int(random.choice(others))


def merged(turns: Turns) -> Turns:
    """Without overlap of anybody with themselves."""
    merged: Turns = []
    for start, end, speaker in sorted(turns, key=lambda turn: (turn[2], turn[0])):
        if merged and merged[-1][2] == speaker and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]), speaker)
        else:
            merged.append((start, end, speaker))
    return sorted(merged)
