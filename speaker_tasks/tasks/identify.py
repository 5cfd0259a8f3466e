"""Tasks about recordings: identify, verify, embed, compare; each gives the whole answer as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from banks import asnorm
from banks.bank import Bank, check_model
from banks.editing import known_label
from banks.ranking import cosine_with, enrolled_vectors, rank_speakers, speakers_of
from speaker_tasks.errors import EmptyBank, SpeakerTasksError
from speaker_tasks.scoring import decision
from speaker_tasks.scoring.decision import Bar, Decision, Judge
from speaker_tasks.tasks import arguments
from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.tasks.listening import Heard, hear
from speaker_tasks.tasks.running import Question, question
from speaker_tasks.tasks.thresholds import Terms
from speaker_tasks.tasks.timings import Timings


@question("identify", "identify", arguments.Identify)
def identify(context: WorkerContext, question: Question[arguments.Identify]) -> dict[str, Any]:
    """Who of a bank speaks, how sure, or nobody.

    The bank is looked at before the network runs: a wrong one costs no computing.
    """
    timings, options = question.timings, question.options
    bank, terms = _bank(context, options.bank, question.token)
    heard = hear(context, question.recordings[0], timings)
    with timings.step("match"):
        judge, people = terms.judge, speakers_of(bank)
        wanted = options.top_k
        ranked = rank_speakers(bank, heard.vector, max(2, wanted))
        scores = [score for _, score in ranked]
        margin = scores[0] - scores[1] if len(scores) > 1 else None
        standings = judge.standings(heard.vector, enrolled_vectors(bank, [name for name, _ in ranked], heard.vector))
        bar = judge.bar(heard.speech_seconds, people, options.threshold, standings[0])
        decided = decision.identify(scores[0], margin, heard.speech_seconds, bar)
        read = [standing.of(score) for standing, score in zip(standings, scores, strict=True)]
        likely = judge.posteriors(read, heard.speech_seconds, people)
        standing = _as_norm(context, bank, terms.cohort, ranked, heard, token=question.token)
        best = {
            "speaker": ranked[0][0] if decided.outcome == "match" else None,
            "score": round(scores[0], 4),
            "margin": None if margin is None else round(margin, 4),
            "least_margin": round(bar.margin, 4),
            "probability": likely[0],
            "candidates": [
                {"speaker": name, "score": round(score, 4), "probability": probability} | one
                for (name, score), probability, one in zip(ranked[:wanted], likely, standing, strict=False)
            ],
        }
    return _answer(context, heard, bank, judge, timings, bank_name=options.bank) | _decided(decided, bar) | best


@question("verify", "verify", arguments.Verify)
def verify(context: WorkerContext, question: Question[arguments.Verify]) -> dict[str, Any]:
    """Whether the claimed speaker of a bank speaks: that speaker's score alone decides."""
    timings, options = question.timings, question.options
    bank, terms = _bank(context, options.bank, question.token)
    claimed = known_label(bank, options.speaker)  # raises, before the network runs
    heard = hear(context, question.recordings[0], timings)
    with timings.step("match"):
        judge = terms.judge
        score = cosine_with(bank, claimed, heard.vector)
        (standing,) = judge.standings(heard.vector, enrolled_vectors(bank, [claimed], heard.vector))
        bar = judge.bar(heard.speech_seconds, 1, options.threshold, standing)
        decided = decision.verify(score, heard.speech_seconds, bar)
        probability = judge.same_speaker(standing.of(score), heard.speech_seconds)
        best = {"speaker": claimed, "score": round(score, 4), "probability": probability}
    return _answer(context, heard, bank, judge, timings, bank_name=options.bank) | _decided(decided, bar) | best


@question("embed", "vector", arguments.Question)
def embed(context: WorkerContext, question: Question[arguments.Question]) -> dict[str, Any]:
    """The recording's unit vector, and what was measured of it."""
    timings = question.timings
    heard = hear(context, question.recordings[0], timings)
    return {
        "vector": heard.vector,
        **_measured(heard),
        "model": context.embedder.model_id,
        "timings_ms": timings.to_dict(),
    }


@question("compare", "compare", arguments.Compare)
def compare(context: WorkerContext, question: Question[arguments.Compare]) -> dict[str, Any]:
    """Whether two recordings are of one voice; the shorter one says how much the score says."""
    timings, options = question.timings, question.options
    first, second = (hear(context, recording, timings) for recording in question.recordings)
    with timings.step("match"):
        judge = context.terms.of_pairs
        shorter = min((first, second), key=lambda one: one.speech_seconds)
        score = float(first.vector @ second.vector)
        (standing,) = judge.standings(first.vector, second.vector[np.newaxis])
        bar = judge.bar(shorter.speech_seconds, 1, options.threshold, standing)
        decided = decision.verify(score, shorter.speech_seconds, bar)
    return {
        **_decided(decided, bar),
        "score": round(score, 4),
        "probability": judge.same_speaker(standing.of(score), shorter.speech_seconds),
        "calibration": judge.source,
        "recordings": [_measured(first), _measured(second)],
        "model": context.embedder.model_id,
        "timings_ms": timings.to_dict(),
    }


def _as_norm(
    context: WorkerContext,
    bank: Bank,
    name: str | None,
    ranked: Sequence[tuple[str, float]],
    heard: Heard,
    *,
    token: bytes,
) -> list[dict[str, float]]:
    """For each ranked speaker `as_norm`, if the bank has a cohort of that name and of the same model; else nothing."""
    try:
        cohort = None if name is None else asnorm.cohort_of(context.active.bank(name, token)[1], bank)
    except SpeakerTasksError:
        cohort = None  # it was deleted, or built again under another model
    if cohort is None:
        return [{} for _ in ranked]
    enrolled = enrolled_vectors(bank, [label for label, _ in ranked], heard.vector)
    scores = np.array([score for _, score in ranked], np.float32)
    normalised = asnorm.normalised(scores, enrolled, heard.vector, cohort)
    return [{"as_norm": round(float(value), 3)} for value in normalised]


def _bank(context: WorkerContext, requested: str | None, token: bytes) -> tuple[Bank, Terms]:
    """The bank that is asked, of the worker's model, and its terms. Raises `NotFound`, `EmptyBank`, `ModelMismatch`."""
    name, bank = context.active.bank(requested, token)
    if not len(bank):
        raise EmptyBank(f"nobody is enrolled in {name!r}; enroll speakers or ask another bank", bank=name)
    check_model(bank, context.embedder.model_id)
    return bank, context.terms.of(bank, token)


def _answer(
    context: WorkerContext, heard: Heard, bank: Bank, judge: Judge, timings: Timings, *, bank_name: str | None
) -> dict[str, Any]:
    return {
        **dict.fromkeys(("decision", "reason", "message", "speaker", "score")),  # stand first in the answer
        "bank": _bank_answer(context, bank_name, bank),
        **_measured(heard),
        "calibration": judge.source,
        "model": context.embedder.model_id,
        "timings_ms": timings.to_dict(),
    }


def _bank_answer(context: WorkerContext, bank_name: str | None, bank: Bank) -> dict[str, Any]:
    """The bank that was asked; where the question named none, also which ones that were."""
    used = {"name": bank.name, "version": bank.version, "speakers": speakers_of(bank)}
    if bank_name is None:
        used |= {"default": True, "banks": context.active.members(bank.name)}
    left_out = context.active.left_out(bank.name)
    return used | {"left_out": left_out} if left_out else used


def _decided(decided: Decision, bar: Bar) -> dict[str, Any]:
    return {
        "decision": decided.outcome,
        "reason": decided.reason,
        "message": decided.message,
        "threshold": None if bar.threshold is None else round(bar.threshold, 4),
        "least_speech": bar.speech,
    }


def _measured(heard: Heard) -> dict[str, Any]:
    return {
        "seconds": heard.seconds,
        "speech_seconds": heard.speech_seconds,
        "quality": heard.quality,
        "damaged": heard.damaged,
        "seconds_lost": heard.seconds_lost,
    }
