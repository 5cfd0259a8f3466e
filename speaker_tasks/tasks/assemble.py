"""The end of an enrollment: the recordings' vectors become a new version of the bank, and the report is completed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from banks import editing
from banks.bank import Bank, Clips, check_model
from banks.store import BankStore
from enrollment.report import Outcome, Reason
from speaker_tasks.errors import Conflict, Unusable
from speaker_tasks.tasks.plan import Head, Numbered, Request

MODES = ("create", "add", "replace")


@dataclass(frozen=True)
class Clip:
    """One recording that made it: its entry, content hash, length and vector (D,)."""

    one: Numbered
    hash: str
    seconds: float
    vector: np.ndarray

    @property
    def key(self) -> str:
        """The clip's identity in the bank: the content, and its part."""
        entry = self.one.entry
        part = "" if entry.start is None and entry.end is None else f"@{entry.start or 0:g}-{entry.end or 0:g}"
        return f"{self.hash}{part}"


@dataclass(frozen=True)
class Assembled:
    """What an enrollment brings to the bank."""

    labels: tuple[str, ...]
    clips: Clips
    amended: dict[str, Outcome]
    """Outcomes that changed when all recordings were seen together, by their key in the report."""


def assemble(clips: list[Clip]) -> Assembled:
    """Put the clips of an enrollment together, each recording once.

    Raises `Unusable`, with the names, for one recording under two names.
    """
    first: dict[str, Clip] = {}
    amended: dict[str, Outcome] = {}
    for clip in clips:
        entry = clip.one.entry
        before = first.setdefault(clip.key, clip)
        if before is clip:
            continue
        other = before.one.entry
        if other.speaker != entry.speaker:
            raise Unusable(
                f"one recording is given to two speakers: {shown(other)} to {other.speaker!r} and {shown(entry)} to "
                f"{entry.speaker!r}",
                speakers=[other.speaker, entry.speaker],
                recordings=[shown(other), shown(entry)],
            )
        message = f"the same recording as {shown(other)}"
        amended[clip.one.key] = Outcome(entry.speaker, entry.path, Reason.DUPLICATE, message, entry.row, clip.seconds)
    kept = list(first.values())
    labels = tuple(dict.fromkeys(clip.one.entry.speaker for clip in kept))
    return Assembled(labels, _columns(kept, labels), amended)


def check(store: BankStore, request: Request, model: str) -> None:
    """Refuse, before any work, an enrollment that could not be written. Raises `Conflict`, `ModelMismatch`."""
    if request.bank not in store.names():
        return
    if request.mode == "create":
        raise _there_is_one(request.bank)
    check_model(store.get(request.bank), model)


def write(store: BankStore, head: Head, assembled: Assembled, model: str, job_id: str) -> int:
    """Write the new version; returns its number, also if this job has written it before (a task may run twice).

    Raises `Conflict` for mode `create` and a bank that is there, `ModelMismatch`.
    """
    name, source = head.request.bank, f"job {job_id}"
    for _ in range(20):
        history = store.history(name) if name in store.names() else []
        mine = next((version for version in history if version.source == source), None)
        if mine is not None:
            return mine.version
        before = store.get(name, clips=True) if history else None
        changed = replace(change(before, head, assembled, model), created="", source=source)
        try:
            return store.put(name, changed, expect_version=before.version if before else 0)
        except Conflict as error:
            if error.code != Conflict.code:
                raise
    raise Conflict(f"bank {name!r} is changed by others all the time; enroll again")


def change(before: Bank | None, head: Head, assembled: Assembled, model: str) -> Bank:
    """The bank after the enrollment. Raises `Conflict`, `ModelMismatch`."""
    labels, clips = assembled.labels, assembled.clips
    if before is None:
        return editing.new(labels, clips, model, size=clips.vectors.shape[1])
    if head.request.mode == "create":
        raise _there_is_one(before.name)
    if head.request.mode == "replace":
        return editing.replace_speakers(before, labels, clips, model)
    return editing.add(before, labels, clips, model)


def result(head: Head, report: list[Outcome], version: int, model: str, *, speakers: int) -> dict[str, Any]:
    """What the job's record says at its end."""
    counts = Counter(outcome.reason.value for outcome in report)
    usable = {outcome.speaker for outcome in report if outcome.enrolled or outcome.reason is Reason.DUPLICATE}
    return {
        "bank": head.request.bank,
        "version": version,
        "model": model,
        "mode": head.request.mode,
        "speakers": speakers,
        "enrolled": counts.get(Reason.ENROLLED.value, 0),
        "left_out": head.recordings - counts.get(Reason.ENROLLED.value, 0),
        "outcomes": dict(counts),
        "speakers_without": [speaker for speaker in head.speakers if speaker not in usable],
    }


def shown(entry: Any) -> str:
    """How messages name a recording."""
    return str(entry.row or entry.path)


def _there_is_one(name: str) -> Conflict:
    return Conflict(f"there is a bank {name!r} already; add to it, replace in it, or take another name", bank=name)


def _columns(clips: list[Clip], labels: tuple[str, ...]) -> Clips:
    rows = {label: row for row, label in enumerate(labels)}
    entries = [clip.one.entry for clip in clips]
    return Clips(
        keys=tuple(clip.key for clip in clips),
        owners=np.array([rows[entry.speaker] for entry in entries], np.int64),
        vectors=np.stack([clip.vector for clip in clips]),
        seconds=np.array([clip.seconds for clip in clips], np.float32),
        weights=np.ones(len(clips), np.int64),
        paths=tuple("" if entry.path.startswith("payload:") else entry.path for entry in entries),
        spans=tuple(
            None if entry.start is None and entry.end is None else (entry.start or 0.0, entry.end or 0.0)
            for entry in entries
        ),
    )
