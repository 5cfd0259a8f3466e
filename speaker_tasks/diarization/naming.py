"""Names for clusters: each voice against the bank, one to one; a voice below the threshold is unknown, with a number.

A cluster is judged like a recording of one voice (`scoring.decision`), by its seconds of clean speech, but by what
clusters reach (`of_clusters`). A person of the bank is in a meeting once: if two clusters match the same person, the
one with the higher score gets the name. The other gets it too if the two never speak at once and are alike themselves;
else it stays unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from banks.bank import Bank
from banks.editing import known_label, select
from banks.ranking import enrolled_vectors, rank_speakers, speakers_of
from speaker_tasks.diarization.segmentation import FOLDER
from speaker_tasks.scoring import decision
from speaker_tasks.scoring.decision import Bar, Decision, Judge

CANDIDATES = 5
TAKEN = "taken"
"""The reason of a cluster whose match has a higher score with another cluster."""
NOBODY = "nobody_enrolled"
TOGETHER_SECONDS = 0.5
"""Two clusters that speak at once for longer than this are two people."""
CLUSTERS = "clusters"
"""The source of a judge's thresholds."""


@dataclass(frozen=True, eq=False)
class Voice:
    """A cluster: its unit vector (D,), and the seconds in which it speaks alone."""

    vector: np.ndarray
    clean_seconds: float


@dataclass(frozen=True)
class Name:
    """What was decided of a cluster."""

    name: str | None
    """The bank's; None: unknown."""
    score: float | None = None
    probability: float | None = None
    threshold: float | None = None
    margin: float | None = None
    decision: str = "unknown"
    reason: str = NOBODY
    message: str = "nobody is enrolled in the bank"
    candidates: tuple[Mapping[str, Any], ...] = ()


def present(bank: Bank, roster: Sequence[str] | None) -> Bank:
    """The bank of those who may be present. Raises `NotFound` for a name that the bank does not have."""
    if not roster:
        return bank
    names = {known_label(bank, name) for name in roster}
    return select(replace(bank, clips=None), names.__contains__)


def table_of(model: str) -> Path:
    """Where the thresholds of a model's clusters lie, which `tools/fit_naming.py` writes."""
    return FOLDER / f"naming-{model}.json"


def of_clusters(judge: Judge, model: str, *, telephone: bool) -> Judge:
    """A model's judge with thresholds for clusters; as it is for a bank's own, for telephones, and without a table.

    The mean of many pieces is surer than a recording, and a room makes it less alike to everybody: by the thresholds
    of recordings no stranger is named, but too few of the enrolled. On telephones strangers are alike.
    """
    fitted = None if telephone or judge.source != "model" else _fitted(model)
    if fitted is None:
        return judge
    return replace(fitted, source=CLUSTERS, least_speech=judge.least_speech, fixed_margin=judge.fixed_margin)


@cache
def _fitted(model: str) -> Judge | None:
    path = table_of(model)
    return Judge.of_card(json.loads(path.read_text("utf-8"))) if path.is_file() else None


def name_voices(voices: Sequence[Voice], bank: Bank, judge: Judge, together: np.ndarray) -> list[Name]:
    """Decide on each voice; `together` (S, S) are the seconds in which two of them speak at once.

    By thresholds of clusters the rate of false accepts is the meeting's: each of its voices is tried against each
    person of the bank.
    """
    able = sum(voice.clean_seconds >= judge.least_speech for voice in voices)
    tried = max(1, able) if judge.source == CLUSTERS else 1
    judged = [_judged(voice, bank, judge, tried) for voice in voices]
    wanted: dict[str, list[int]] = {}
    for number, one in enumerate(judged):
        if one.name is not None:
            wanted.setdefault(one.name, []).append(number)
    for name, numbers in wanted.items():
        numbers.sort(key=lambda number: -(judged[number].score or 0.0))
        mine = [numbers[0]]
        for number in numbers[1:]:
            if _is_one_person(number, mine, voices, judged, together):
                mine.append(number)
            else:
                message = f"like {name}, but another voice here is more so"
                judged[number] = replace(judged[number], name=None, decision="unknown", reason=TAKEN, message=message)
    return judged


def _judged(voice: Voice, bank: Bank, judge: Judge, tried: int) -> Name:
    if not len(bank):
        return Name(None)
    ranked = rank_speakers(bank, voice.vector, CANDIDATES)
    scores = [score for _, score in ranked]
    people = speakers_of(bank)
    margin = scores[0] - scores[1] if len(scores) > 1 else None
    standings = judge.standings(voice.vector, enrolled_vectors(bank, [name for name, _ in ranked], voice.vector))
    bar = judge.bar(voice.clean_seconds, people, None, standings[0], voices=tried)
    decided = decision.identify(scores[0], margin, voice.clean_seconds, bar)
    read = [standing.of(score) for standing, score in zip(standings, scores, strict=True)]
    likely = judge.posteriors(read, voice.clean_seconds, people)
    candidates = [
        {"speaker": name, "score": round(score, 4), "probability": probability}
        for (name, score), probability in zip(ranked, likely, strict=True)
    ]
    return _named(decided, bar, scores[0], margin, candidates)


def _named(
    decided: Decision, bar: Bar, score: float, margin: float | None, candidates: Sequence[Mapping[str, Any]]
) -> Name:
    return Name(
        name=str(candidates[0]["speaker"]) if decided.outcome == "match" else None,
        score=round(score, 4),
        probability=candidates[0]["probability"],
        threshold=None if bar.threshold is None else round(bar.threshold, 4),
        margin=None if margin is None else round(margin, 4),
        decision=decided.outcome,
        reason=decided.reason,
        message=decided.message,
        candidates=tuple(candidates),
    )


def _is_one_person(
    number: int, mine: Sequence[int], voices: Sequence[Voice], judged: Sequence[Name], together: np.ndarray
) -> bool:
    """Whether a voice is the same person's as the clusters that have the name already."""
    threshold = judged[number].threshold
    if threshold is None:
        return False
    alike = min(float(voices[number].vector @ voices[one].vector) for one in mine)
    return alike >= threshold and float(together[number, list(mine)].sum()) <= TOGETHER_SECONDS
