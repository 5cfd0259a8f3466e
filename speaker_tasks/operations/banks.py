"""All that can be done to banks, for the command line, the API and the tasks alike: each change a new version.

A change is done when Redis has it. A snapshot that fails then (a full disk, a bucket that is away) is a warning of the
change, never its failure.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import redis

from banks import advice, asnorm, editing
from banks.active import ActiveMode
from banks.audit import SERVICE, AuditLog, audited
from banks.bank import EMBEDDING_SIZE, Bank, Clips, check_model, misfit
from banks.calibrations import BankJudges
from banks.diff import Diff, diff
from banks.names import CUSTOM, as_kept, clean_bank_name, clean_name
from banks.npz import read_npz, write_npz
from banks.snapshots import SnapshotFailed, Snapshots
from banks.store import BankStore
from enrollment.roots import inside
from speaker_tasks.errors import Conflict, NotFound, Unusable
from speaker_tasks.jobs import JobStore
from speaker_tasks.jobs.heartbeat import WorkerRegistry
from speaker_tasks.jobs.timelines import TimelineStore
from speaker_tasks.jobs.vectors import VectorCache
from speaker_tasks.operations.purge import others_with, purge_bank, purge_speaker, rewrite_log
from speaker_tasks.settings import Settings

logger = logging.getLogger(__name__)

SNAPSHOTS_KEY = "speaker:snapshots"
"""Where the workers write snapshots."""
NOTHING_CHANGED = "nothing was changed: the bank is as it was wanted"


@dataclass(frozen=True)
class Change:
    """A change that is done: the bank's new version, and what went wrong beside it."""

    bank: str
    version: int
    warnings: tuple[str, ...] = ()

    def warned(self, *more: Sequence[str]) -> Change:
        """The change with more warnings."""
        return replace(self, warnings=(*self.warnings, *(one for warnings in more for one in warnings)))

    def to_dict(self) -> dict[str, Any]:
        """The change as JSON."""
        return {"bank": self.bank, "version": self.version, "warnings": list(self.warnings)}


class BankKeeper:
    """The operations on the banks of one Redis server."""

    def __init__(self, client: redis.Redis, settings: Settings, *, who: str | None = None) -> None:
        """Each change is written to the audit log as that of `who`; None: by the caller, who knows more of it."""
        self.settings, self.who = settings, who
        self.audit = AuditLog(client)
        self.store = BankStore(client, keep=settings.bank_versions)
        self.judges = BankJudges(self.store)
        self.cache = VectorCache(client, settings.vector_ttl, passing_ttl=settings.job_ttl)
        self.jobs = JobStore(client, settings.job_ttl)

    # Looking

    def overview(self) -> list[dict[str, Any]]:
        """Each bank's name, version, model, number of speakers, time and source."""
        banks = []
        for name in self.store.names():
            with contextlib.suppress(NotFound):  # deleted since the names were read
                banks.append(self.about(name))
        return banks

    def about(self, name: str) -> dict[str, Any]:
        """What is known of a bank without reading its vectors. Raises `NotFound`."""
        history = self.store.history(name)
        newest = history[0]
        return {
            "name": name,
            "version": newest.version,
            "model": newest.model,
            "speakers": newest.speakers,
            "size": newest.size,
            "created": newest.created,
            "source": newest.source,
            "versions": [one.version for one in history],
            "cohort": asnorm.cohort_name(self.store, name),
        }

    def speakers(self, name: str, version: int | None = None) -> list[dict[str, Any]]:
        """Each speaker of a bank with its recordings and seconds. Raises `NotFound`."""
        bank = self.store.get(name, version=version)
        rows = zip(bank.labels, bank.counts.tolist(), bank.seconds.tolist(), strict=True)
        return [{"label": label, "recordings": count, "seconds": round(seconds, 2)} for label, count, seconds in rows]

    def clips(self, name: str, label: str) -> list[dict[str, Any]]:
        """The recordings of a speaker, each with how it sounds beside the others and beside other speakers.

        Raises `NotFound`.
        """
        bank = editing.with_clips(self.store.get(name, clips=True))
        rows = editing.rows_of(bank, label)
        return [clip for row in rows for clip in editing.described_clips(bank, row)]

    def versions(self, name: str) -> list[dict[str, Any]]:
        """The kept versions of a bank, newest first: when each was made, and what made it. Raises `NotFound`."""
        keys = ("version", "created", "source", "speakers", "model")
        history = self.store.history(name)
        return [{key: getattr(one, key) for key in keys} | {"restores": one.restores or None} for one in history]

    def recording(self, name: str, key: str) -> tuple[Path, tuple[float, float] | None]:
        """The file of a clip, given by its key or how that begins, and the part of it that was used.

        Only what lies below the folders that recordings may be read from. Raises `NotFound`, also for what was
        uploaded and not kept, `OutsideRoots`, `Conflict` for a beginning of several keys.
        """
        bank = editing.with_clips(self.store.get(name, clips=True))
        (full,) = editing.full_keys(bank, [key])
        assert bank.clips is not None
        row = bank.clips.keys.index(full)
        path = bank.clips.paths[row]
        if not path.startswith("/"):
            raise NotFound(
                f"the recording of clip {full} is not kept here: it was uploaded or lies elsewhere", key=full
            )
        return inside(path, self.settings.data_roots), bank.clips.spans[row]

    def left_out(self) -> dict[str, str]:
        """The banks that are missing in `all`, each with the reason: those of another model than the workers run."""
        serving = self.serving_model()
        files = {"ai": self.settings.ai_bank, "moring": self.settings.moring_bank}
        configured = {name for name, path in files.items() if path is not None}
        reasons = {}
        for one in self.overview():
            meant = one["name"] in configured if configured else one["name"] != CUSTOM
            why = misfit(one["name"], one["model"], one["size"], serving, EMBEDDING_SIZE)
            if meant and one["speakers"] and why is not None:
                reasons[one["name"]] = f"{why}: it is left out of `all`"
        return reasons

    def diff(self, name: str, before: int | None = None, after: int | None = None) -> Diff:
        """What changed between two versions; by default between the last two. Raises `NotFound`."""
        history = self.store.history(name)
        if before is None:
            older = [one.version for one in history if after is None or one.version < after]
            start = 1 if after is None else 0
            if len(older) <= start:
                raise NotFound(f"bank {name!r} has no version before this one to compare with")
            before = older[start]
        return diff(self.store.get(name, version=before), self.store.get(name, version=after))

    # Whole banks

    @audited("created")
    def create(self, name: str, model: str, *, size: int = EMBEDDING_SIZE) -> Change:
        """A bank without speakers. Raises `Conflict` if there is one of that name."""
        return self.put_new(name, Bank((), np.zeros((0, size)), model=model, source="created"))

    def put_new(self, name: str, bank: Bank) -> Change:
        """A bank under a new name. Raises `Conflict` if it is taken, `Unusable` if no bank may have it.

        The operation that calls this stands in the audit log.
        """
        clean = clean_bank_name(name)
        try:
            done = self._changed(clean, self.store.put(clean, bank, expect_version=0))
            return done.warned(self.on_new_bank(clean))
        except Conflict:
            raise Conflict(f"there is a bank {clean!r} already", bank=clean) from None

    @audited("imported from {path}")
    def import_npz(self, name: str, path: Path, *, model: str | None = None, replace_it: bool = False) -> Change:
        """Read a bank file, of the first server or ours, into a bank. Raises what `read_npz` raises, `Conflict`."""
        clean = clean_bank_name(name)
        bank = read_npz(path, model=model or self.settings.legacy_model)
        if bank.size != EMBEDDING_SIZE:
            raise Unusable(
                f"the file has vectors of {bank.size} values, and this service's models make {EMBEDDING_SIZE}: it was "
                "made by another program; enroll the recordings",
                size=bank.size,
                wanted=EMBEDDING_SIZE,
            )
        bank = replace(bank, name=clean, source=f"imported from {path.name}")
        done = self._changed(clean, self.store.put(clean, bank)) if replace_it else self.put_new(clean, bank)
        return done.warned(advice.on_labels(bank), advice.on_model(bank, self.serving_model()))

    def export_npz(self, name: str, path: Path, version: int | None = None) -> None:
        """Write a bank file that the first server's readers read too. Raises `NotFound`, `OSError`."""
        write_npz(path, self.store.get(name, version=version, clips=True))

    @audited("copied from {name}", bank="to")
    def copy(self, name: str, to: str) -> Change:
        """The same bank under another name. Raises `NotFound`, `Conflict`."""
        bank = self.store.get(name, clips=True)
        return self.put_new(to, replace(bank, created="", source=f"copy of {name} version {bank.version}"))

    @audited("made the union of {names}", bank="to")
    def unite(self, names: Sequence[str], to: str) -> Change:
        """A new bank of all speakers of others; who is in two of them has the clips of both. Raises `ModelMismatch`."""
        if not names:
            raise Unusable("at least one bank is wanted for a union")
        banks = [self.store.get(name, clips=True) for name in names]
        whole = editing.with_clips(banks[0])
        for bank in banks[1:]:
            check_model(whole, bank.model)
            clips = editing.with_clips(bank).clips
            if clips is not None:
                whole = editing.add(whole, bank.labels, clips, bank.model)
        whole = replace(whole, created="", source=f"union of {', '.join(names)}")
        return self.put_new(to, whole).warned(advice.on_labels(whole))

    @audited("rolled back to {version}")
    def rollback(self, name: str, version: int | None = None) -> Change:
        """An earlier version again, under a new number; repeated, it goes further back. Raises `NotFound`."""
        return self._changed(name, self.store.rollback(name, version))

    @audited("took a rollback back")
    def redo(self, name: str) -> Change:
        """The version that was rolled back last again, under a new number. Raises `NotFound`."""
        return self._changed(name, self.store.redo(name))

    @audited("deleted")
    def delete(self, name: str) -> tuple[str, ...]:
        """Remove a bank with its versions, thresholds, snapshot, reports and remembered vectors; gives warnings.

        If it was the active one, `all` is. Raises `NotFound`.
        """
        purge_bank(self.store, self.cache, self.jobs, name)
        self.judges.forget(name)
        was_active = ActiveMode(self.store).forget(name)
        warnings = (f"{name!r} was the active bank: questions that name none ask `all` now",) if was_active else ()
        return warnings + self._warned(lambda snapshots: snapshots.remove(name)) + rewrite_log(self.store.redis)

    @audited("took {cohort} as cohort")
    def set_cohort(self, name: str, cohort: str | None) -> None:
        """Tell a bank's scores also as AS-norm against another bank's speakers; None: no more.

        Raises `NotFound`, `ModelMismatch`, and `Unusable` for a cohort that is too small.
        """
        asnorm.set_cohort(self.store, name, cohort)

    @audited("made it the active bank")
    def activate(self, active: ActiveMode, name: str) -> str:
        """Make a bank, or `all`, the one that is asked where a question names none. Raises `NotFound`."""
        return active.set_mode(name)[0]

    # Speakers

    @audited("renamed {label} to {to}")
    def rename(self, name: str, label: str, to: str) -> Change:
        """Another name for a speaker. Raises `NotFound`, `Conflict`."""
        clean = clean_name(to)
        label = as_kept(label)
        done = self._edit(name, f"renamed {label} to {clean}", lambda bank: editing.rename(bank, label, clean))
        return done.warned(advice.on_labels(self.store.get(name), [clean]))

    @audited("merged {label} into {into}")
    def merge(self, name: str, label: str, into: str) -> Change:
        """One speaker's clips to another. Raises `NotFound`, `Conflict`."""
        label, into = as_kept(label), as_kept(into)
        return self._edit(name, f"merged {label} into {into}", lambda bank: editing.merge(bank, label, into))

    @audited("removed {label}")
    def remove(self, name: str, label: str) -> Change:
        """The bank without a speaker, who stays in earlier versions: see `purge`. Raises `NotFound`."""
        label = as_kept(label)
        return self._edit(name, f"removed {label}", lambda bank: editing.remove(bank, label))

    @audited("removed the clips {keys}")
    def remove_clips(self, name: str, keys: Sequence[str]) -> Change:
        """The bank without some recordings, given by their keys or how these begin.

        Raises `NotFound`, `Conflict` for a speaker's last one.
        """
        what = f"removed {len(keys)} clips"
        return self._edit(name, what, lambda bank: editing.remove_clips(bank, editing.full_keys(bank, keys)))

    @audited("moved the clips {keys} to {to}")
    def move_clips(self, name: str, keys: Sequence[str], to: str, *, new: bool = False) -> Change:
        """Some recordings, given as in `remove_clips`, to another speaker; only with `new` to one who is not there yet.

        Raises `NotFound`, `Conflict` for a speaker's last one.
        """
        clean = clean_name(to)
        what = f"moved {len(keys)} clips to {clean}"
        done = self._edit(
            name, what, lambda bank: editing.move_clips(bank, editing.full_keys(bank, keys), clean, new=new)
        )
        return done.warned(advice.on_labels(self.store.get(name), [clean]) if new else ())

    @audited("purged {label}")
    def purge(self, name: str, label: str) -> Change:
        """Remove a speaker from every version, the snapshot, the cached vectors, the reports and answers of past jobs.

        The append-only file is rewritten, so that it holds the voice no longer either. Other banks that hold the
        voice are named in the warnings. Raises `NotFound`.
        """
        gone = purge_speaker(self.store, self.cache, self.jobs, name, as_kept(label))
        TimelineStore(self.store.redis, self.settings.job_ttl).purge(as_kept(label))
        warnings = rewrite_log(self.store.redis)
        if others := others_with(self.store, name, gone, alike=self.settings.gate_twin):
            warnings += (f"the voice is in other banks too, which keep it: {'; '.join(others)}",)
        return self._changed(name, self.store.version(name)).warned(warnings)

    @audited("enrolled {label} from {source}")
    def add_clips(self, name: str, label: str, clips: Clips, model: str, source: str) -> Change:
        """Give a speaker clips that were embedded already, in a bank that is made if there is none.

        `source` says where they come from. Raises `ModelMismatch`, `Conflict`.
        """
        what = f"{source}: {label}"
        if name not in self.store.names():
            made = editing.new([label], clips, model, size=clips.vectors.shape[1], source=what)
            return self.put_new(name, made)
        return self._edit(name, what, lambda bank: _unless_same(bank, editing.add(bank, [label], clips, model)))

    # Thresholds

    @audited("set thresholds of its own")
    def calibrate(self, name: str, fitted: dict[str, Any]) -> None:
        """Keep what was fitted for a bank, so that its questions are judged by it."""
        self.judges.put(name, fitted)

    @audited("went back to the model's thresholds")
    def forget_calibration(self, name: str) -> bool:
        """Back to the model's own thresholds; False if the bank had none of its own. Raises `NotFound`."""
        self.store.version(name)
        return self.judges.forget(name)

    # Snapshots

    @property
    def snapshots(self) -> Snapshots | None:
        """Where changes are written too: what the settings say, else the place of the workers, if it is in reach."""
        if self.settings.snapshots:
            return Snapshots(self.settings.snapshots)
        stored: Any = self.store.redis.get(SNAPSHOTS_KEY)
        if stored is None or ("://" not in (place := stored.decode()) and not Path(place).is_dir()):
            return None
        return Snapshots(place)

    def snapshot(self, name: str) -> str:
        """Write a bank's snapshot now; gives its place. Raises `SnapshotFailed`, `Unusable` if none are configured."""
        snapshots = self.snapshots
        if snapshots is None:
            raise Unusable("no place for snapshots is set: SPEAKER_SNAPSHOTS names a folder or a URL")
        return snapshots.save(self.store.get(name, clips=True))

    def restore(self) -> list[str]:
        """Put the snapshots of banks that Redis has lost into it; gives their names. Raises `SnapshotFailed`.

        Called by each worker at its start, which also tells the others, the command line among them, of the place.
        """
        place = self.settings.snapshots
        if not place:
            self.store.redis.unlink(SNAPSHOTS_KEY)
            return []
        self.store.redis.set(SNAPSHOTS_KEY, place if "://" in place else str(Path(place).absolute()))
        restored = Snapshots(place).restore(self.store)
        for name in restored:
            self.audit.note(SERVICE, "restored from its snapshot", name)
        return restored

    def load_files(self, active: ActiveMode) -> None:
        """Put the npz banks that the settings name into Redis. Raises what `ActiveMode.load_files` raises."""
        for name in active.load_files():
            self.audit.note(SERVICE, "loaded from the file of the settings", name)
            for warning in (*advice.on_labels(self.store.get(name)), *filter(None, [self.left_out().get(name)])):
                logger.warning("%s: %s", name, warning)

    def saved(self, name: str) -> tuple[str, ...]:
        """Write the snapshot of a bank that has changed, if that is configured; gives warnings."""
        return self._warned(lambda snapshots: snapshots.save(self.store.get(name, clips=True)))

    def on_new_bank(self, name: str) -> tuple[str, ...]:
        """What somebody should know when a bank is new."""
        configured = self.settings.ai_bank or self.settings.moring_bank  # then `all` is these
        return () if configured else advice.on_default(self.store, name)

    def serving_model(self) -> str | None:
        """The id of the model that the workers run; None while none is alive, or several models are."""
        alive = WorkerRegistry(self.store.redis, self.settings.heartbeat_seconds).alive()
        models = {worker.model for worker in alive}
        return models.pop() if len(models) == 1 else None

    def _edit(self, name: str, what: str, change: Callable[[Bank], Bank]) -> Change:
        def edited(bank: Bank) -> Bank:
            changed = change(bank)
            return bank if changed is bank else replace(changed, created="", source=what)

        before = self.store.version(name)
        version = self.store.update(name, edited)
        return self._changed(name, version) if version != before else Change(name, version, (NOTHING_CHANGED,))

    def _changed(self, name: str, version: int) -> Change:
        return Change(name, version, self.saved(name))

    def _warned(self, work: Callable[[Snapshots], object]) -> tuple[str, ...]:
        snapshots = self.snapshots
        if snapshots is None:
            return ()
        try:
            work(snapshots)
        except SnapshotFailed as error:
            return (error.message,)
        return ()


def _unless_same(before: Bank, after: Bank) -> Bank:
    return before if editing.same_content(before, after) else after
