"""The quality gates of an enrollment, with what they need from the worker: the bank's speakers, and second looks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from banks import advice
from banks.store import BankStore
from enrollment import gates
from enrollment.gates import Candidate, Chance, EnrolledVoice, Verdict, Voices
from enrollment.report import Reason
from speaker_tasks.errors import NotFound, SpeakerTasksError, Unavailable
from speaker_tasks.jobs.vectors import Measures
from speaker_tasks.scoring import selfcheck
from speaker_tasks.settings import Settings
from speaker_tasks.tasks.assemble import Clip, shown
from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.tasks.plan import Request
from speaker_tasks.tasks.recordings import Run

SHOWN_NAMES = 8
"""Recordings of each voice that a warning names."""
MOST_TRIALS, MOST_TRIED = 1_000, 20_000_000
"""Clips, and clips times rows of the bank, that the end of a job spends on who would be named: a few seconds."""
MOST_SECOND_LOOKS = 200
"""Recordings whose parts are compared at the end of a job, the least convincing first."""


def alone(measures: Measures, settings: Settings) -> Verdict | None:
    """What is wrong with one recording by itself."""
    return gates.single(_candidate("", "", np.zeros(1), measures), gates.thresholds(settings))


def together(context: WorkerContext, request: Request, clips: list[Clip]) -> dict[str, Verdict]:
    """Which of the recordings spoil the whole, by their keys in the job, and why."""
    limits = gates.thresholds(context.settings)
    enrolled = _enrolled(context.banks, request, clips)
    candidates = [_candidate(clip.one.key, clip.entry.speaker, clip.vector, clip.measures) for clip in clips]
    voices = Voices(candidates, enrolled)
    usual = gates.chance(voices, limits)
    candidates = _looked_again(context, voices, usual, {clip.one.key: clip for clip in clips})
    verdicts: dict[str, Verdict] = {}
    for one in candidates:
        verdict = gates.several_voices(one, usual)
        if verdict is not None:
            verdicts[one.key] = verdict
    rest = Voices([one for one in candidates if one.key not in verdicts], enrolled)
    for mixed in gates.mixed(rest, usual):
        if mixed.clear:
            message = f"the recordings of {mixed.speaker} are of two voices: cosine {mixed.cosine:.2f} between them"
            verdicts |= dict.fromkeys(mixed.doubtful, Verdict(Reason.MIXED_VOICES, message))
    verdicts |= gates.outliers(Voices([one for one in candidates if one.key not in verdicts], enrolled), usual)
    left = Voices([one for one in candidates if one.key not in verdicts], enrolled)
    return verdicts | gates.too_little(left, limits)


def mixed_warnings(context: WorkerContext, request: Request, clips: list[Clip]) -> list[str]:
    """Speakers whose recordings are of two voices, with the recordings of each."""
    enrolled = _enrolled(context.banks, request, clips)
    voices = Voices([_candidate(one.one.key, one.entry.speaker, one.vector, one.measures) for one in clips], enrolled)
    names = {clip.one.key: shown(clip.entry) for clip in clips}
    messages = []
    for mixed in gates.mixed(voices, gates.chance(voices, gates.thresholds(context.settings))):
        halves = zip(mixed.halves, mixed.enrolled, strict=True)
        lists = " | ".join(_listed([names[key] for key in keys], of_bank) for keys, of_bank in halves)
        if not mixed.clear:
            done = "both are enrolled; listen to them, and name each voice"
        elif request.force:
            done = "all are enrolled (force)"
        else:
            left = _listed([names[key] for key in mixed.doubtful], 0)
            done = f"left out: {left}; give each voice its own name, or force it"
        messages.append(
            f"the recordings of {mixed.speaker!r} are of two voices (cosine {mixed.cosine:.2f}): {lists}; {done}"
        )
    return messages[:20]


def _listed(names: list[str], of_bank: int) -> str:
    shown_names = names[:SHOWN_NAMES] + ([f"{len(names) - SHOWN_NAMES} more"] if len(names) > SHOWN_NAMES else [])
    return ", ".join(shown_names + ([f"{of_bank} of the bank"] if of_bank else []))


def warnings(context: WorkerContext, request: Request, clips: list[Clip], version: int | None) -> list[str]:
    """Damaged recordings, and speakers of this job who may be one person with another of the job or the bank."""
    candidates = [_candidate(clip.one.key, clip.entry.speaker, clip.vector, clip.measures) for clip in clips]
    voices = Voices(candidates)
    labels, vectors = list(voices.labels), voices.means()
    if version is not None:
        bank = context.banks.get(request.bank)
        others = [row for row, label in enumerate(bank.labels) if label not in voices.rows]
        labels += [bank.labels[row] for row in others]
        vectors = np.concatenate([vectors, bank.vectors[others]])
    pairs = gates.twins(labels, vectors, gates.chance(voices, gates.thresholds(context.settings)))
    return (
        _damaged(clips)
        + [
            f"{first} and {second} are nearly the same voice (cosine {cosine:.2f}): one person under two names?"
            for first, second, cosine in pairs
            if first in voices.rows or second in voices.rows
        ][:20]
    )


def _damaged(clips: list[Clip]) -> list[str]:
    damaged = [shown(clip.entry) for clip in clips if clip.measures.damaged]
    names = ", ".join(damaged[:5]) + (", ..." if len(damaged) > 5 else "")
    lost = sum(clip.measures.lost for clip in clips)
    what = "1 recording is" if len(damaged) == 1 else f"{len(damaged)} recordings are"
    return [f"{what} damaged and enrolled in part, about {lost:.0f} s are lost: {names}"] if damaged else []


def advice_on(context: WorkerContext, name: str, version: int, job_id: str, clips: list[Clip]) -> list[str]:
    """What somebody should know of the bank that was written: that nothing was new, look-alike names, the default,
    and of whom most clips would not be named.
    """
    bank = context.banks.get(name, clips=True)
    if version == bank.version and bank.source != f"job {job_id}":
        return [f"bank {name!r} has all of these recordings already, so that it stays at version {version}"]
    speakers = {clip.entry.speaker for clip in clips}
    judge = context.terms.of(bank, context.active.token()).judge
    most = min(MOST_TRIALS, MOST_TRIED // len(bank)) // selfcheck.CLIPS_EACH
    tried = sorted(speakers)[: max(1, most)]
    messages = [*advice.on_labels(bank, speakers), *selfcheck.warnings(selfcheck.recognised(bank, judge, tried))]
    if len(tried) < len(speakers):
        messages.append(
            f"whether they would be named was tried for {len(tried)} of the speakers; `banks check` tries all"
        )
    return messages + list(context.keeper.on_new_bank(name) if version == 1 else ())


def _looked_again(context: WorkerContext, voices: Voices, usual: Chance, clips: dict[str, Clip]) -> list[Candidate]:
    """The candidates, the suspicious ones with the agreement of their parts."""
    doubtful = set(gates.suspects(voices, usual)[:MOST_SECOND_LOOKS])
    run, candidates = Run(context), []
    for one in voices.candidates:
        if one.key not in doubtful:
            candidates.append(one)
            continue
        try:
            clip = clips[one.key]
            candidates.append(replace(one, agreement=run.agreement(clip.entry, clip.measures.seconds)))
        except Unavailable:
            raise
        except SpeakerTasksError:
            candidates.append(one)  # it was readable a moment ago; what the first look found stands
    return candidates


def _enrolled(store: BankStore, request: Request, clips: list[Clip]) -> dict[str, EnrolledVoice]:
    """The bank's speakers to whom recordings are added; their own recordings, enrolled again, do not count twice."""
    if request.mode != "add":
        return {}
    try:
        bank = store.get(request.bank, clips=True)
    except NotFound:
        return {}
    mine = {clip.entry.speaker for clip in clips}
    again = {(clip.entry.speaker, clip.key) for clip in clips}
    enrolled = {}
    for row, label in enumerate(bank.labels):
        if label not in mine:
            continue
        if bank.clips is None:
            enrolled[label] = EnrolledVoice(bank.vectors[row], max(1, int(bank.counts[row])), float(bank.seconds[row]))
            continue
        owned = np.flatnonzero(bank.clips.owners == row)
        old = [index for index in owned if (label, bank.clips.keys[index]) not in again]
        if old:
            seconds = float(bank.clips.seconds[old].sum())
            vectors = bank.clips.vectors[old]
            enrolled[label] = EnrolledVoice(vectors.mean(axis=0), len(old), seconds, vectors)
    return enrolled


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
