"""Whether the people of a bank would be recognised: each kept clip is asked of the bank without it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from banks import editing
from banks.bank import Bank, Clips
from banks.vectors import unit
from speaker_tasks.scoring import decision
from speaker_tasks.scoring.decision import Decision, Judge

CLIPS_EACH = 10
"""Clips of a speaker that are tried, spread over all of them."""
SPEECH_SHARE = 0.75
"""How much of a clip is speech, usually: a bank keeps its clips' lengths, and questions are judged by their speech."""
WARNINGS = 20
CURES = {
    "too_little_speech": "the recordings are short: enroll some with 5 s of speech and more",
    "small_margin": "the two sound alike: if they are one person, merge them; else enroll more recordings of both",
}
CURE = "enroll more recordings with 5 s of clear speech and more, of the room and the microphone that will be used"


@dataclass(frozen=True)
class Recognised:
    """How many of a speaker's clips would be named rightly, each asked of the bank without it."""

    speaker: str
    named: int
    clips: int
    """Clips that could be tried; none for a speaker of a single one."""
    nearest: str | None
    """The other speaker whom the clips are most like."""
    reason: str | None
    """Why most of those that would not be named are not; `another` is another speaker's name."""

    @property
    def doubtful(self) -> bool:
        """Whether most of the clips would not be named."""
        return self.clips > 0 and 2 * self.named < self.clips

    @property
    def message(self) -> str:
        """The finding as a sentence, with the cure where one is needed."""
        if not self.clips:
            return f"{self.speaker!r} has a single recording: whether it would be named cannot be tried; enroll another"
        nearest = f"; nearest is {self.nearest!r}" if self.nearest else ""
        summary = f"{self.speaker!r} would be named in {self.named} of {self.clips} of the own recordings{nearest}"
        return f"{summary}: {CURES.get(self.reason or '', CURE)}" if self.doubtful else summary

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON."""
        counts = {"speaker": self.speaker, "named": self.named, "clips": self.clips, "nearest": self.nearest}
        return {**counts, "reason": self.reason, "doubtful": self.doubtful, "message": self.message}


def recognised(bank: Bank, judge: Judge, speakers: Collection[str] | None = None) -> list[Recognised]:
    """What becomes of the clips of all speakers, or of some, in the bank's order; empty without thresholds or clips."""
    clips = editing.with_clips(bank).clips
    if judge.points is None or clips is None or not len(clips):
        return []
    wanted = list(dict.fromkeys(label for label in bank.labels if speakers is None or label in speakers))
    trials = _Trials(bank, clips)
    outcomes: dict[str, list[tuple[str, str | None]]] = {label: [] for label in wanted}
    for clip in _chosen(bank, clips, set(wanted)):
        outcomes[bank.labels[clips.owners[clip]]].append(trials.ask(clip, judge))
    return [_summed(label, results) for label, results in outcomes.items()]


def warnings(checks: Sequence[Recognised]) -> list[str]:
    """A sentence for each speaker most of whose clips would not be named, the worst first."""
    doubtful = sorted((one for one in checks if one.doubtful), key=lambda one: one.named / one.clips)
    messages = [one.message for one in doubtful[:WARNINGS]]
    if len(doubtful) > WARNINGS:
        messages.append(
            f"{len(doubtful) - WARNINGS} more would hardly be named: `speaker-tasks banks check` lists them all"
        )
    return messages


class _Trials:
    """Clips against the rows of a bank, the own row without the clip."""

    def __init__(self, bank: Bank, clips: Clips) -> None:
        self.bank, self.clips = bank, clips
        self._rows = unit(bank.vectors)
        self._labels = np.array(bank.labels, object)
        self._people = len(set(bank.labels))
        self._sums = np.zeros((len(bank), bank.size))
        np.add.at(self._sums, clips.owners, clips.vectors * clips.weights[:, None])

    def ask(self, clip: int, judge: Judge) -> tuple[str, str | None]:
        """What a question about the clip would be answered, `named` if rightly, and the nearest other speaker."""
        voice, owner = self.clips.vectors[clip], int(self.clips.owners[clip])
        own = unit((self._sums[owner] - voice)[None])[0].astype(np.float32)
        cosines = self._rows @ voice
        cosines[self._labels == self._labels[owner]] = -2.0
        other = int(np.argmax(cosines)) if self._people > 1 else None
        ranked = [(float(own @ voice), own, True)]
        if other is not None:
            ranked.append((float(cosines[other]), self._rows[other], False))
        ranked.sort(key=lambda one: -one[0])
        speech = SPEECH_SHARE * float(self.clips.seconds[clip])
        decided = _decide(judge, voice, [(score, row) for score, row, _ in ranked], self._people, speech)
        reason = decided.reason if decided.outcome != "match" else "named" if ranked[0][2] else "another"
        return reason, None if other is None else str(self._labels[other])


def _decide(
    judge: Judge, voice: np.ndarray, ranked: Sequence[tuple[float, np.ndarray]], people: int, speech: float
) -> Decision:
    """As `identify` decides on the two best speakers, given with their scores and rows."""
    (standing, *_) = judge.standings(voice, np.stack([row for _, row in ranked]))
    margin = ranked[0][0] - ranked[1][0] if len(ranked) > 1 else None
    return decision.identify(ranked[0][0], margin, speech, judge.bar(speech, people, None, standing))


def _chosen(bank: Bank, clips: Clips, wanted: set[str]) -> list[int]:
    """The clips that are tried: those that others are left for, `CLIPS_EACH` of a speaker at most."""
    counts = np.bincount(clips.owners, clips.weights, len(bank))
    chosen: list[int] = []
    order = np.argsort(clips.owners, kind="stable")
    for mine in np.split(order, np.flatnonzero(np.diff(clips.owners[order])) + 1):
        usable = [int(clip) for clip in mine if clips.weights[clip] == 1 and counts[clips.owners[clip]] > 1]
        if usable and bank.labels[clips.owners[usable[0]]] in wanted:
            spread = np.linspace(0, len(usable) - 1, min(CLIPS_EACH, len(usable))).round().astype(int)
            chosen += [usable[at] for at in spread]
    return chosen


def _summed(label: str, results: list[tuple[str, str | None]]) -> Recognised:
    reasons = Counter(reason for reason, _ in results)
    named = reasons.pop("named", 0)
    nearest = Counter(other for _, other in results if other is not None).most_common(1)
    reason = reasons.most_common(1)[0][0] if reasons else None
    return Recognised(label, named, len(results), nearest[0][0] if nearest else None, reason)
