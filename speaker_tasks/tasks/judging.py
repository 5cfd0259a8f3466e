"""The quality gates of an enrollment, with what they need from the worker: the bank's speakers, and second looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from banks.store import BankStore
from enrollment import gates
from enrollment.gates import Candidate, Chance, Known, Thresholds, Verdict, Voices
from speaker_tasks.errors import NotFound, SpeakerTasksError, Unavailable
from speaker_tasks.settings import Settings
from speaker_tasks.tasks.assemble import Clip
from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.tasks.plan import Request
from speaker_tasks.tasks.recordings import Run
from speaker_tasks.vectorcache import Measures

MOST_SECOND_LOOKS = 200
"""Recordings whose parts are compared at the end of a job, the least convincing first."""


def thresholds(settings: Settings) -> Thresholds:
    """What the settings ask of recordings."""
    return Thresholds(
        clip_speech=settings.gate_clip_speech,
        speaker_speech=settings.gate_speaker_speech,
        snr=settings.gate_snr,
        clipped=settings.gate_clipped,
        outlier=settings.gate_outlier,
        agreement=settings.gate_agreement,
        twin=settings.gate_twin,
    )


def alone(measures: Measures, settings: Settings) -> Verdict | None:
    """What is wrong with one recording by itself."""
    return gates.single(_candidate("", "", np.zeros(1), measures), thresholds(settings))


def together(context: WorkerContext, request: Request, clips: list[Clip]) -> dict[str, Verdict]:
    """Which of the recordings spoil the whole, by their keys in the job, and why."""
    asked = thresholds(context.settings)
    known = _known(context.banks, request, clips)
    candidates = [_candidate(clip.one.key, clip.entry.speaker, clip.vector, clip.measures) for clip in clips]
    voices = Voices(candidates, known)
    usual = gates.chance(voices, asked)
    candidates = _looked_again(context, voices, usual, {clip.one.key: clip for clip in clips})
    found: dict[str, Verdict] = {}
    for one in candidates:
        verdict = gates.several_voices(one, usual)
        if verdict is not None:
            found[one.key] = verdict
    found |= gates.outliers(Voices([one for one in candidates if one.key not in found], known), usual)
    left = Voices([one for one in candidates if one.key not in found], known)
    return found | gates.too_little(left, asked)


def warnings(context: WorkerContext, request: Request, clips: list[Clip], version: int | None) -> list[str]:
    """Speakers of this job who may be one person with another speaker of the job or the bank."""
    candidates = [_candidate(clip.one.key, clip.entry.speaker, clip.vector, clip.measures) for clip in clips]
    voices = Voices(candidates)
    labels, vectors = list(voices.labels), voices.means()
    if version is not None:
        bank = context.banks.get(request.bank)
        others = [row for row, label in enumerate(bank.labels) if label not in voices.rows]
        labels += [bank.labels[row] for row in others]
        vectors = np.concatenate([vectors, bank.vectors[others]])
    pairs = gates.twins(labels, vectors, gates.chance(voices, thresholds(context.settings)))
    return [
        f"{first} and {second} are nearly the same voice (cosine {cosine:.2f}): one person under two names?"
        for first, second, cosine in pairs
        if first in voices.rows or second in voices.rows
    ][:20]


def _looked_again(context: WorkerContext, voices: Voices, usual: Chance, clips: dict[str, Clip]) -> list[Candidate]:
    """The candidates, the suspicious ones with the agreement of their parts."""
    doubtful = set(gates.suspects(voices, usual)[:MOST_SECOND_LOOKS])
    run, candidates = Run(context), []
    for one in voices.candidates:
        if one.key not in doubtful:
            candidates.append(one)
            continue
        try:
            candidates.append(replace(one, agreement=run.agreement(clips[one.key].entry)))
        except Unavailable:
            raise
        except SpeakerTasksError:
            candidates.append(one)  # it was readable a moment ago; what the first look found stands
    return candidates


def _known(store: BankStore, request: Request, clips: list[Clip]) -> dict[str, Known]:
    """The bank's speakers to whom recordings are added; their own recordings, enrolled again, do not count twice."""
    if request.mode != "add":
        return {}
    try:
        bank = store.get(request.bank, clips=True)
    except NotFound:
        return {}
    mine = {clip.entry.speaker for clip in clips}
    again = {(clip.entry.speaker, clip.key) for clip in clips}
    known = {}
    for row, label in enumerate(bank.labels):
        if label not in mine:
            continue
        if bank.clips is None:
            known[label] = Known(bank.vectors[row], max(1, int(bank.counts[row])), float(bank.seconds[row]))
            continue
        owned = np.flatnonzero(bank.clips.owners == row)
        old = [index for index in owned if (label, bank.clips.keys[index]) not in again]
        if old:
            seconds = float(bank.clips.seconds[old].sum())
            known[label] = Known(bank.clips.vectors[old].mean(axis=0), len(old), seconds)
    return known


def _candidate(key: str, speaker: str, vector: np.ndarray, measures: Measures) -> Candidate:
    return Candidate(
        key,
        speaker,
        vector,
        seconds=measures.seconds,
        speech=measures.speech,
        snr=measures.snr,
        clipped=measures.clipped,
        agreement=measures.agreement,
    )
