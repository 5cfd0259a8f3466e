"""The end of an enrollment: the recordings' vectors become a new version of the bank."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from banks import editing
from banks.bank import Bank, Clips, check_model
from banks.store import BankStore
from enrollment.manifest import Entry
from enrollment.report import Outcome, Reason, Report
from speaker_tasks.errors import Conflict, Unusable
from speaker_tasks.tasks.plan import Head, Numbered, Request
from speaker_tasks.vectorcache import Measures

MODES = ("create", "add", "replace", "rebuild")
"""`rebuild` gives the whole bank anew, also under another model."""


@dataclass(frozen=True)
class Clip:
    """One recording that was embedded: its entry, identity, measures and vector (D,)."""

    one: Numbered
    key: str
    measures: Measures
    vector: np.ndarray

    @property
    def entry(self) -> Entry:
        """Where it came from and whose it is."""
        return self.one.entry


def each_once(clips: list[Clip], *, force: bool) -> tuple[list[Clip], dict[str, Outcome]]:
    """The clips without repeated ones, and the outcomes of those that were.

    Raises `Unusable`, with the names, for one recording under two names; with `force` both keep it.
    """
    first: dict[tuple[str, str], Clip] = {}
    owners: dict[str, Clip] = {}
    repeated: dict[str, Outcome] = {}
    for clip in clips:
        entry, other = clip.entry, owners.setdefault(clip.key, clip).entry
        if other.speaker != entry.speaker and not force:
            raise Unusable(
                f"one recording is given to two speakers: {shown(other)} to {other.speaker!r} and {shown(entry)} to "
                f"{entry.speaker!r}",
                speakers=[other.speaker, entry.speaker],
                recordings=[shown(other), shown(entry)],
            )
        before = first.setdefault((entry.speaker, clip.key), clip)
        if before is not clip:
            message = f"the same recording as {shown(before.entry)}"
            repeated[clip.one.key] = Outcome(
                entry.speaker, shown_path(entry), Reason.DUPLICATE, message, entry.row, clip.measures.seconds
            )
    return list(first.values()), repeated


def check(store: BankStore, request: Request, model: str) -> None:
    """Refuse, before any work, an enrollment that could not be written. Raises `Conflict`, `ModelMismatch`."""
    if request.bank not in store.names() or request.mode == "rebuild":
        return
    if request.mode == "create":
        raise _there_is_one(request.bank)
    check_model(store.get(request.bank), model)


def write(store: BankStore, head: Head, clips: list[Clip], model: str, job_id: str) -> int:
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
        changed = replace(change(before, head, clips, model), created="", source=source)
        try:
            return store.put(name, changed, expect_version=before.version if before else 0)
        except Conflict as error:
            if error.code != Conflict.code:
                raise
    raise Conflict(f"bank {name!r} is changed by others all the time; enroll again")


def change(before: Bank | None, head: Head, clips: list[Clip], model: str) -> Bank:
    """The bank after the enrollment. Raises `Conflict`, `ModelMismatch`."""
    labels = tuple(dict.fromkeys(clip.entry.speaker for clip in clips))
    columns = _columns(clips, labels)
    if before is None or head.request.mode == "rebuild":
        return editing.new(labels, columns, model, size=columns.vectors.shape[1])
    if head.request.mode == "create":
        raise _there_is_one(before.name)
    if head.request.mode == "replace":
        return editing.replace_speakers(before, labels, columns, model)
    return editing.add(before, labels, columns, model)


def result(head: Head, report: list[Outcome], version: int | None, model: str) -> dict[str, Any]:
    """What the job's record says at its end; no version for a dry run."""
    whole = Report.of([*report, *map(Outcome.from_dict, head.skipped)])
    usable = {outcome.speaker for outcome in report if outcome.enrolled}
    return {
        "bank": head.request.bank,
        "version": version,
        "dry_run": head.request.dry_run,
        "model": model,
        "mode": head.request.mode,
        "speakers": len(usable),
        "enrolled": whole.enrolled,
        "left_out": len(whole.left_out),
        "outcomes": whole.counts(),
        "speakers_without": [speaker for speaker in head.speakers if speaker not in usable],
    }


def shown(entry: Entry) -> str:
    """How messages name a recording."""
    return entry.row or entry.path


def shown_path(entry: Entry) -> str:
    """A recording's path in the report; uploads have none but the one that they had where they came from."""
    return entry.row if entry.path.startswith("payload:") else entry.path


def _columns(clips: list[Clip], labels: tuple[str, ...]) -> Clips:
    rows = {label: row for row, label in enumerate(labels)}
    entries = [clip.entry for clip in clips]
    return Clips(
        keys=tuple(clip.key for clip in clips),
        owners=np.array([rows[entry.speaker] for entry in entries], np.int64),
        vectors=np.stack([clip.vector for clip in clips]),
        seconds=np.array([clip.measures.seconds for clip in clips], np.float32),
        weights=np.ones(len(clips), np.int64),
        paths=tuple("" if entry.path.startswith("payload:") else entry.path for entry in entries),
        spans=tuple(_span(entry) for entry in entries),
    )


def _span(entry: Entry) -> tuple[float, float] | None:
    if entry.start is None and entry.end is None:
        return None
    return (entry.start or 0.0, entry.end if entry.end is not None else -1.0)


def _there_is_one(name: str) -> Conflict:
    return Conflict(f"there is a bank {name!r} already; add to it, replace in it, or take another name", bank=name)
