"""The end of an enrollment: the recordings' vectors become a new version of the bank."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from banks import editing
from banks.bank import Bank, Clips, check_model
from banks.store import BankStore
from enrollment.manifest import Entry
from enrollment.report import Outcome, Reason, Report
from enrollment.soundfiles import by_name
from speaker_tasks.errors import Conflict
from speaker_tasks.jobs.vectors import Measures
from speaker_tasks.tasks.plan import Head, Numbered, Request

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


def check(store: BankStore, request: Request, model: str) -> None:
    """Refuse, before any work, an enrollment that could not be written. Raises `Conflict`, `ModelMismatch`."""
    if request.bank not in store.names() or request.mode == "rebuild":
        return
    if request.mode == "create":
        raise _there_is_one(request.bank)
    check_model(store.get(request.bank), model)


def write(store: BankStore, head: Head, clips: list[Clip], model: str, job_id: str) -> int:
    """Write the new version; returns its number, also if this job has written it before (a task may run twice).

    A bank that has all of it already stays at its version: runs by night must not push out the older ones.
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
        if before is not None and head.request.mode != "rebuild" and editing.same_content(before, changed):
            return before.version
        try:
            return store.put(name, changed, expect_version=0 if before is None else before.version)
        except Conflict as error:
            if error.code != Conflict.code:
                raise
    raise Conflict(f"bank {name!r} is changed by others all the time; enroll again")


def change(before: Bank | None, head: Head, clips: list[Clip], model: str) -> Bank:
    """The bank after the enrollment. Raises `Conflict`, `ModelMismatch`."""
    labels = tuple(dict.fromkeys(clip.entry.speaker for clip in clips))
    columns = _columns(clips, labels)
    if before is None or head.request.mode == "rebuild":
        made = editing.new(labels, columns, model, size=columns.vectors.shape[1])
        return made if before is None else replace(made, aliases=before.aliases)
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


def outcome(entry: Entry, reason: Reason, message: str, measures: Measures) -> Outcome:
    """What the report says of a recording that was heard; that it is damaged stands in the message too."""
    message = "; ".join(filter(None, (message, measures.damage)))
    path, seconds = shown_path(entry), measures.seconds
    return Outcome(entry.speaker, path, reason, message, entry.row, seconds, measures.damaged, measures.lost)


def shown(entry: Entry) -> str:
    """How messages name a recording."""
    return entry.row or entry.path


def shown_path(entry: Entry) -> str:
    """A recording's path in the report; uploads have none but the one that they had where they came from."""
    return entry.row if entry.path.startswith("payload:") else entry.path


def kept_path(entry: Entry) -> str:
    """Where the recording lies, as an absolute path or a URL.

    Of an upload, which is not kept, the file's name; empty if a list named it, whose row says no more than a number.
    """
    if not entry.path.startswith("payload:"):
        return entry.path
    name = PurePosixPath(entry.row).name
    return name.replace(":", "_") if by_name(name) else ""


def _columns(clips: list[Clip], labels: tuple[str, ...]) -> Clips:
    rows = {label: row for row, label in enumerate(labels)}
    entries = [clip.entry for clip in clips]
    return Clips(
        keys=tuple(clip.key for clip in clips),
        owners=np.array([rows[entry.speaker] for entry in entries], np.int64),
        vectors=np.stack([clip.vector for clip in clips]),
        seconds=np.array([clip.measures.seconds for clip in clips], np.float32),
        weights=np.ones(len(clips), np.int64),
        paths=tuple(map(kept_path, entries)),
        spans=tuple(_span(entry) for entry in entries),
    )


def _span(entry: Entry) -> tuple[float, float] | None:
    if entry.start is None and entry.end is None:
        return None
    return (entry.start or 0.0, entry.end if entry.end is not None else -1.0)


def _there_is_one(name: str) -> Conflict:
    return Conflict(f"there is a bank {name!r} already; add to it, replace in it, or take another name", bank=name)
