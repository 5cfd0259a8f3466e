"""Operations on timelines: show, correct, enrol one of the speakers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import redis

from banks import advice
from banks.bank import Bank, Clips, check_model
from banks.names import clean_bank_name, clean_name
from enrollment import gates
from enrollment.gates import Candidate, EnrolledVoice, Voices
from speaker_tasks.errors import Conflict, Malformed, NotFound, Unusable
from speaker_tasks.jobs.timelines import KeptVoices, TimelineStore
from speaker_tasks.operations.banks import BankKeeper, Change
from speaker_tasks.settings import Settings
from speaker_tasks.timelines import corrections
from speaker_tasks.timelines.clips import CleanClip
from speaker_tasks.timelines.document import UNKNOWN, Timeline

UNDO = "undo"
INSIDE = 0.05
"""Seconds by which a clip may reach over the edges of other speakers' turns."""


@dataclass(frozen=True)
class Enrolled:
    """Somebody who was enrolled from a timeline."""

    change: Change
    speaker: str
    clips: int
    seconds: float
    left_out: Mapping[str, int]
    """Clips that a gate left out, by its reason."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        fields = {
            "speaker": self.speaker,
            "clips": self.clips,
            "seconds": self.seconds,
            "left_out": dict(self.left_out),
        }
        return self.change.to_dict() | fields


class TimelineKeeper:
    """The operations on the timelines of one Redis server."""

    def __init__(self, client: redis.Redis, settings: Settings, keeper: BankKeeper) -> None:
        self._store, self._settings, self._banks = TimelineStore(client, settings.job_ttl), settings, keeper

    def get(self, job_id: str) -> Timeline:
        """The timeline as it was corrected so far. Raises `NotFound`."""
        return Timeline.from_dict(self._store.get(job_id))

    def correct(self, job_id: str, wanted: Mapping[str, Any]) -> Timeline:
        """Apply a correction, or take the last one back. Raises `NotFound`, `Malformed`, `Unusable`, `Conflict`."""
        given = dict(wanted)
        revision = given.pop("revision", None)
        if given.get("action") == UNDO:
            if set(given) != {"action"}:
                raise Malformed("undo takes nothing but revision", where="action")
            return Timeline.from_dict(self._store.undo(job_id, revision=revision))

        def change(now: dict[str, Any]) -> dict[str, Any]:
            return corrections.correct(Timeline.from_dict(now), given).to_dict()

        return Timeline.from_dict(self._store.change(job_id, change, revision=revision))

    def enroll(self, job_id: str, speaker: str, bank: str, *, name: str | None = None, force: bool = False) -> Enrolled:
        """Enrol a speaker of the timeline from the clean clips of their turns, under `name` or the timeline's.

        The quality gates look at the clips unless `force`. The speaker has that name in the timeline, too. Raises
        `NotFound`, `ModelMismatch`, and `Unusable` where too little is left, or the name is no name.
        """
        timeline, voices = self.get(job_id), self._store.voices(job_id)
        if timeline.of(speaker) is None:
            raise NotFound(f"{speaker!r} does not speak here", speaker=speaker)
        label, bank = clean_name(name or speaker), clean_bank_name(bank)
        if label.startswith(UNKNOWN):
            raise Unusable(f"{label} is no name; give one", speaker=label)
        clips = clean_clips(timeline, voices.clips, speaker)
        if not clips:
            raise Unusable(f"{speaker} has no clean turn that is long enough to be enrolled by", speaker=speaker)
        before = self._before(bank, voices.model)
        kept, left_out = list(clips), Counter[str]()
        if not force:
            kept, left_out = self._gated(clips, voices, label, before)
        change = self._banks.add_clips(bank, label, _columns(kept, voices.digest), voices.model, f"timeline {job_id}")
        change = change.warned(self._warnings(bank, label), self._called(job_id, timeline, speaker, label))
        return Enrolled(change, label, len(kept), round(sum(one.seconds for one in kept), 2), left_out)

    def _called(self, job_id: str, timeline: Timeline, speaker: str, label: str) -> list[str]:
        """Give the speaker their name in the timeline; a warning if somebody corrected it so that it cannot be."""
        if label == speaker:
            return []
        wanted = {"action": "name", "speaker": speaker, "name": label}
        if timeline.of(label) is not None:
            wanted = {"action": "merge", "speaker": speaker, "into": label}
        try:
            self.correct(job_id, wanted)
        except (NotFound, Unusable, Conflict) as error:
            return [f"{label} is enrolled, but the timeline was corrected meanwhile: {error.message}"]
        return []

    def _before(self, bank: str, model: str) -> Bank | None:
        if bank not in self._banks.store.names():
            return None
        stored = self._banks.store.get(bank, clips=True)
        check_model(stored, model)
        return stored

    def _gated(
        self, clips: Sequence[CleanClip], voices: KeptVoices, label: str, before: Bank | None
    ) -> tuple[list[CleanClip], Counter[str]]:
        """The clips that the quality gates let through, and how many they do not, by reason. Raises `Unusable`."""
        limits = gates.thresholds(self._settings)
        candidates = [
            Candidate(str(number), label, one.vector, one.seconds, one.seconds, voices.snr, voices.clipped)
            for number, one in enumerate(clips)
        ]
        verdicts = {one.key: verdict for one in candidates if (verdict := gates.single(one, limits)) is not None}
        enrolled = _enrolled(before, label)
        usual = gates.chance(Voices(candidates, enrolled), limits)
        for judge in (lambda left: gates.outliers(left, usual), lambda left: gates.too_little(left, limits)):
            left = [one for one in candidates if one.key not in verdicts]
            if left:
                verdicts |= judge(Voices(left, enrolled))
        for mixed in gates.mixed(Voices([one for one in candidates if one.key not in verdicts], enrolled), usual):
            if mixed.clear:
                raise Unusable(
                    f"the turns of {label} are of two voices (cosine {mixed.cosine:.2f} between them): correct the "
                    "timeline first, or force it",
                    speaker=label,
                )
        kept = [one for number, one in enumerate(clips) if str(number) not in verdicts]
        reasons = Counter(verdict.reason.value for verdict in verdicts.values())
        if not kept:
            first = next(iter(verdicts.values()))
            raise Unusable(f"{label} is not enrolled: {first.message}", speaker=label, reasons=dict(reasons))
        return kept, reasons

    def _warnings(self, name: str, label: str) -> list[str]:
        bank = self._banks.store.get(name)
        warnings = list(advice.on_labels(bank, [label]))
        (row,) = [row for row, one in enumerate(bank.labels) if one == label][:1]
        unit = bank.vectors / np.maximum(np.linalg.norm(bank.vectors, axis=1, keepdims=True), 1e-12)
        cosines = unit @ unit[row]
        twins = [
            f"{label} and {other} are nearly the same voice (cosine {cosine:.2f}): one person under two names?"
            for other, cosine in zip(bank.labels, cosines, strict=True)
            if other != label and cosine > self._settings.gate_twin
        ]
        return warnings + twins


def clean_clips(timeline: Timeline, clips: Sequence[CleanClip], speaker: str) -> list[CleanClip]:
    """The speaker's clips: a clip that also touches another speaker's turn of the same cluster is left out."""
    clean = []
    for clip in clips:
        near = [
            turn
            for turn in timeline.turns
            if turn.cluster == clip.cluster and turn.start < clip.end - INSIDE and turn.end > clip.start + INSIDE
        ]
        if near and all(turn.speaker == speaker for turn in near):
            clean.append(clip)
    return clean


def _enrolled(bank: Bank | None, label: str) -> dict[str, EnrolledVoice]:
    if bank is None or label not in bank.labels:
        return {}
    row = bank.labels.index(label)
    return {label: EnrolledVoice(bank.vectors[row], max(1, int(bank.counts[row])), float(bank.seconds[row]))}


def _columns(clips: Sequence[CleanClip], digest: str) -> Clips:
    """The clips as a bank keeps them; without a path, since the recording is not kept."""
    return Clips(
        keys=tuple(f"{digest}@{one.start:g}-{one.end:g}" for one in clips),
        owners=np.zeros(len(clips), np.int64),
        vectors=np.stack([one.vector for one in clips]).astype(np.float32),
        seconds=np.array([one.seconds for one in clips], np.float32),
        weights=np.ones(len(clips), np.int64),
        paths=("",) * len(clips),
        spans=tuple((one.start, one.end) for one in clips),
    )
