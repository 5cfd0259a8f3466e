"""Tasks of the `/v1` API: identify, verify, vector, compare; each gives the whole answer as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from celery import shared_task

from banks import asnorm
from banks.bank import Bank, check_model
from banks.ranking import cosine_with, cosines, rank_speakers, speakers_of
from speaker_tasks.embedding.crowd import Standing
from speaker_tasks.errors import EmptyBank, SpeakerTasksError
from speaker_tasks.tasks import decision
from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.tasks.decision import Bar, Decision, Judge
from speaker_tasks.tasks.listening import Heard, Timings, hear
from speaker_tasks.tasks.running import queued_ms, run_job
from speaker_tasks.tasks.terms import Terms

_repeated: WeakKeyDictionary[Bank, dict[str, np.ndarray]] = WeakKeyDictionary()
"""The rows of each label that stands more than once, of the banks that are in use."""
Ask = dict[str, Any]
"""What was asked beside the recordings: `bank`, `top_k`, `threshold`, `speaker`; each may be missing."""


@shared_task(name="speaker_tasks.identify")
def identify(job_id: str, audio: Sequence[str], ask: Ask, webhook: str | None = None) -> dict[str, Any]:
    """Who of a bank speaks, how sure, or nobody."""
    return run_job(job_id, audio, partial(identify_sources, job_id=job_id, ask=ask), webhook)


@shared_task(name="speaker_tasks.verify")
def verify(job_id: str, audio: Sequence[str], ask: Ask, webhook: str | None = None) -> dict[str, Any]:
    """Whether the claimed speaker of a bank speaks."""
    return run_job(job_id, audio, partial(verify_sources, job_id=job_id, ask=ask), webhook)


@shared_task(name="speaker_tasks.vector")
def vector(job_id: str, audio: Sequence[str], ask: Ask, webhook: str | None = None) -> dict[str, Any]:
    """The recording's vector."""
    return run_job(job_id, audio, partial(vector_sources, job_id=job_id), webhook)


@shared_task(name="speaker_tasks.compare")
def compare(job_id: str, audio: Sequence[str], ask: Ask, webhook: str | None = None) -> dict[str, Any]:
    """Whether two recordings are of one voice."""
    return run_job(job_id, audio, partial(compare_sources, job_id=job_id, ask=ask), webhook)


def identify_sources(context: WorkerContext, sources: Sequence[str], *, job_id: str, ask: Ask) -> dict[str, Any]:
    """The answer of identify. The bank is looked at before the network runs: a wrong one costs no computing."""
    timings = _timings(job_id)
    bank, terms = _bank(context, ask)
    heard = hear(context, sources[0], timings)
    with timings.step("match"):
        judge, people = terms.judge, speakers_of(bank)
        wanted = int(ask.get("top_k") or 5)
        ranked = rank_speakers(bank, heard.vector, max(2, wanted))
        scores = [score for _, score in ranked]
        margin = scores[0] - scores[1] if len(scores) > 1 else None
        standings = judge.standings(heard.vector, _enrolled(bank, [name for name, _ in ranked], heard.vector))
        bar = _bar(judge, ask, heard, people, standings[0])
        decided = decision.identify(scores[0], margin, heard.speech_seconds, bar)
        read = [standing.of(score) for standing, score in zip(standings, scores, strict=True)]
        likely = judge.posteriors(read, heard.speech_seconds, people)
        standing = _as_norm(context, bank, terms.cohort, ranked, heard)
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
    return _answer(context, heard, bank, judge, timings) | _decided(decided, bar) | best


def verify_sources(context: WorkerContext, sources: Sequence[str], *, job_id: str, ask: Ask) -> dict[str, Any]:
    """The answer of verify: the claimed speaker's score alone decides."""
    timings = _timings(job_id)
    bank, terms = _bank(context, ask)
    claimed = str(ask["speaker"])
    if claimed not in bank.labels:
        cosine_with(bank, claimed, bank.vectors[0])  # raises, before the network runs
    heard = hear(context, sources[0], timings)
    with timings.step("match"):
        judge = terms.judge
        score = cosine_with(bank, claimed, heard.vector)
        (standing,) = judge.standings(heard.vector, _enrolled(bank, [claimed], heard.vector))
        bar = _bar(judge, ask, heard, 1, standing)
        decided = decision.verify(score, heard.speech_seconds, bar)
        probability = judge.same_speaker(standing.of(score), heard.speech_seconds)
        found = {"speaker": claimed, "score": round(score, 4), "probability": probability}
    return _answer(context, heard, bank, judge, timings) | _decided(decided, bar) | found


def vector_sources(context: WorkerContext, sources: Sequence[str], *, job_id: str) -> dict[str, Any]:
    """The recording's unit vector, and what was measured of it."""
    timings = _timings(job_id)
    heard = hear(context, sources[0], timings)
    return {
        "vector": heard.vector,
        **_measured(heard),
        "model": context.embedder.model_id,
        "timings_ms": timings.to_dict(),
    }


def compare_sources(context: WorkerContext, sources: Sequence[str], *, job_id: str, ask: Ask) -> dict[str, Any]:
    """The answer of compare: one recording against the other; the shorter one says how much the score says."""
    timings = _timings(job_id)
    first, second = (hear(context, source, timings) for source in sources)
    with timings.step("match"):
        judge = context.terms.of_pairs
        shorter = min((first, second), key=lambda one: one.speech_seconds)
        score = float(first.vector @ second.vector)
        (standing,) = judge.standings(first.vector, second.vector[np.newaxis])
        bar = _bar(judge, ask, shorter, 1, standing)
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
    context: WorkerContext, bank: Bank, name: str | None, ranked: Sequence[tuple[str, float]], heard: Heard
) -> list[dict[str, float]]:
    """For each ranked speaker `as_norm`, if the bank has a cohort of that name and of the same model; else nothing."""
    try:
        cohort = None if name is None else asnorm.cohort_of(context.active.bank(name, context.token)[1], bank)
    except SpeakerTasksError:
        cohort = None  # it was deleted, or built again under another model
    if cohort is None:
        return [{} for _ in ranked]
    enrolled = _enrolled(bank, [label for label, _ in ranked], heard.vector)
    scores = np.array([score for _, score in ranked], np.float32)
    found = asnorm.normalised(scores, enrolled, heard.vector, cohort)
    return [{"as_norm": round(float(value), 3)} for value in found]


def _bank(context: WorkerContext, ask: Ask) -> tuple[Bank, Terms]:
    """The bank that is asked, of the worker's model, and its terms. Raises `NotFound`, `EmptyBank`, `ModelMismatch`."""
    token = context.active.token() if context.token is None else context.token
    name, bank = context.active.bank(ask.get("bank"), token)
    if not len(bank):
        raise EmptyBank(f"nobody is enrolled in {name!r}; enroll speakers or ask another bank", bank=name)
    check_model(bank, context.embedder.model_id)
    return bank, context.terms.of(bank, token)


def _enrolled(bank: Bank, labels: Sequence[str], voice: np.ndarray) -> np.ndarray:
    """The vector of each of the speakers whose cosine is the score: where a label repeats, the nearest; (K, D)."""
    repeated = _rows_of_repeated(bank)
    return bank.vectors[
        [_nearest(bank, repeated[one], voice) if one in repeated else bank.labels.index(one) for one in labels]
    ]


def _nearest(bank: Bank, rows: np.ndarray, voice: np.ndarray) -> int:
    return int(rows[np.argmax(cosines(bank, voice, rows))])


def _rows_of_repeated(bank: Bank) -> dict[str, np.ndarray]:
    """The rows of each label that the bank has more than once."""
    known = _repeated.get(bank)
    if known is None:
        found: dict[str, list[int]] = {}
        if speakers_of(bank) < len(bank):
            for row, label in enumerate(bank.labels):
                found.setdefault(label, []).append(row)
        known = _repeated[bank] = {label: np.array(rows) for label, rows in found.items() if len(rows) > 1}
    return known


def _bar(judge: Judge, ask: Ask, heard: Heard, people: int, standing: Standing) -> Bar:
    asked = ask.get("threshold")
    return judge.bar(heard.speech_seconds, people, None if asked is None else float(asked), standing)


def _answer(context: WorkerContext, heard: Heard, bank: Bank, judge: Judge, timings: Timings) -> dict[str, Any]:
    return {
        **dict.fromkeys(("decision", "reason", "message", "speaker", "score")),  # stand first in the answer
        **_measured(heard),
        "calibration": judge.source,
        "bank": {"name": bank.name, "version": bank.version, "speakers": speakers_of(bank)},
        "model": context.embedder.model_id,
        "timings_ms": timings.to_dict(),
    }


def _decided(decided: Decision, bar: Bar) -> dict[str, Any]:
    return {
        "decision": decided.outcome,
        "reason": decided.reason,
        "message": decided.message,
        "threshold": None if bar.threshold is None else round(bar.threshold, 4),
        "least_speech": bar.speech,
    }


def _measured(heard: Heard) -> dict[str, Any]:
    return {"seconds": heard.seconds, "speech_seconds": heard.speech_seconds, "quality": heard.quality}


def _timings(job_id: str) -> Timings:
    timings = Timings()
    timings.add("queue", queued_ms(job_id))
    return timings
