"""All that can be done to banks, for the command line, the API and the tasks alike: each change a new version.

A change is done when Redis has it. A snapshot that fails then (a full disk, a bucket that is away) is a warning of the
change, never its failure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import redis

from banks import asnorm, editing
from banks.active import ActiveMode
from banks.bank import EMBEDDING_SIZE, Bank, check_model
from banks.diff import Diff, diff
from banks.names import clean_bank_name, clean_label
from banks.npz import read_npz, write_npz
from banks.snapshots import SnapshotFailed, Snapshots
from banks.store import BankStore
from speaker_tasks.audit import SERVICE, AuditLog, audited
from speaker_tasks.bankjudge import BankJudges
from speaker_tasks.errors import Conflict, NotFound, Unusable
from speaker_tasks.jobs import JobStore
from speaker_tasks.purge import others_with, purge_bank, purge_speaker, rewrite_log
from speaker_tasks.settings import Settings
from speaker_tasks.vectorcache import VectorCache

SNAPSHOTS_KEY = "speaker:snapshots"
"""Where the workers write snapshots."""


@dataclass(frozen=True)
class Change:
    """A change that is done: the bank's new version, and what went wrong beside it."""

    bank: str
    version: int
    warnings: tuple[str, ...] = ()

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
        found = []
        for name in self.store.names():
            with contextlib.suppress(NotFound):  # deleted since the names were read
                found.append(self.about(name))
        return found

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
        return self._put_new(name, Bank((), np.zeros((0, size)), model=model, source="created"))

    @audited("put")
    def put_new(self, name: str, bank: Bank) -> Change:
        """A bank under a new name. Raises `Conflict` if it is taken, `Unusable` if no bank may have it."""
        return self._put_new(name, bank)

    def _put_new(self, name: str, bank: Bank) -> Change:
        clean = clean_bank_name(name)
        try:
            return self._changed(clean, self.store.put(clean, bank, expect_version=0))
        except Conflict:
            raise Conflict(f"there is a bank {clean!r} already", bank=clean) from None

    @audited("imported from {path}")
    def import_npz(self, name: str, path: Path, *, model: str | None = None, replace_it: bool = False) -> Change:
        """Read a bank file, of the first server or ours, into a bank. Raises what `read_npz` raises, `Conflict`."""
        bank = replace(read_npz(path, model=model or self.settings.legacy_model), source=f"imported from {path.name}")
        if not replace_it:
            return self._put_new(name, bank)
        clean = clean_bank_name(name)
        return self._changed(clean, self.store.put(clean, bank))

    def export_npz(self, name: str, path: Path, version: int | None = None) -> None:
        """Write a bank file that the first server's readers read too. Raises `NotFound`, `OSError`."""
        write_npz(path, self.store.get(name, version=version, clips=True))

    @audited("copied from {name}", bank="to")
    def copy(self, name: str, to: str) -> Change:
        """The same bank under another name. Raises `NotFound`, `Conflict`."""
        bank = self.store.get(name, clips=True)
        return self._put_new(to, replace(bank, created="", source=f"copy of {name} version {bank.version}"))

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
        return self._put_new(to, replace(whole, created="", source=f"union of {', '.join(names)}"))

    @audited("rolled back to {version}")
    def rollback(self, name: str, version: int | None = None) -> Change:
        """An earlier version again, under a new number. Raises `NotFound`."""
        return self._changed(name, self.store.rollback(name, version))

    @audited("deleted")
    def delete(self, name: str) -> tuple[str, ...]:
        """Remove a bank with its versions, thresholds, snapshot, reports and remembered vectors; gives warnings.

        Raises `NotFound`.
        """
        purge_bank(self.store, self.cache, self.jobs, name)
        self.judges.forget(name)
        return self._warned(lambda snapshots: snapshots.remove(name)) + rewrite_log(self.store.redis)

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
        clean = clean_label(to)
        return self._edit(name, f"renamed {label} to {clean}", lambda bank: editing.rename(bank, label, clean))

    @audited("merged {label} into {into}")
    def merge(self, name: str, label: str, into: str) -> Change:
        """One speaker's clips to another. Raises `NotFound`, `Conflict`."""
        return self._edit(name, f"merged {label} into {into}", lambda bank: editing.merge(bank, label, into))

    @audited("removed {label}")
    def remove(self, name: str, label: str) -> Change:
        """The bank without a speaker, who stays in earlier versions: see `purge`. Raises `NotFound`."""
        return self._edit(name, f"removed {label}", lambda bank: editing.remove(bank, label))

    @audited("removed the clips {keys}")
    def remove_clips(self, name: str, keys: Sequence[str]) -> Change:
        """The bank without some recordings. Raises `NotFound`, `Conflict` for a speaker's last one."""
        return self._edit(name, f"removed {len(keys)} clips", lambda bank: editing.remove_clips(bank, keys))

    @audited("purged {label}")
    def purge(self, name: str, label: str) -> Change:
        """Remove a speaker from every version, the snapshot, the cached vectors and the reports of past jobs.

        The append-only file is rewritten, so that it holds the voice no longer either. Other banks that hold the
        voice are named in the warnings. Raises `NotFound`.
        """
        gone = purge_speaker(self.store, self.cache, self.jobs, name, label)
        warnings = rewrite_log(self.store.redis)
        if others := others_with(self.store, name, label, gone):
            warnings += (f"{label!r} is in other banks too, which keep the voice: {', '.join(others)}",)
        change = self._changed(name, self.store.version(name))
        return replace(change, warnings=change.warnings + warnings)

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
        told: Any = self.store.redis.get(SNAPSHOTS_KEY)
        if told is None or ("://" not in (place := told.decode()) and not Path(place).is_dir()):
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

    def saved(self, name: str) -> tuple[str, ...]:
        """Write the snapshot of a bank that has changed, if that is configured; gives warnings."""
        return self._warned(lambda snapshots: snapshots.save(self.store.get(name, clips=True)))

    def _edit(self, name: str, what: str, change: Callable[[Bank], Bank]) -> Change:
        version = self.store.update(name, lambda bank: replace(change(bank), created="", source=what))
        return self._changed(name, version)

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
