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
from banks.bank import EMBEDDING_SIZE, Bank, check_model
from banks.diff import Diff, diff
from banks.names import clean_bank_name, clean_label
from banks.npz import read_npz, write_npz
from banks.snapshots import SnapshotFailed, Snapshots
from banks.store import BankStore
from speaker_tasks.errors import Conflict, NotFound, Unusable
from speaker_tasks.jobs import JobStore
from speaker_tasks.settings import Settings
from speaker_tasks.vectorcache import VectorCache


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

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self.settings = settings
        self.store = BankStore(client, keep=settings.bank_versions)
        self.snapshots = Snapshots(settings.snapshots) if settings.snapshots else None
        self.cache = VectorCache(client, settings.vector_ttl)
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

    def create(self, name: str, model: str, *, size: int = EMBEDDING_SIZE) -> Change:
        """A bank without speakers. Raises `Conflict` if there is one of that name."""
        return self.put_new(name, Bank((), np.zeros((0, size)), model=model, source="created"))

    def put_new(self, name: str, bank: Bank) -> Change:
        """A bank under a new name. Raises `Conflict` if it is taken, `Unusable` if no bank may have it."""
        clean = clean_bank_name(name)
        try:
            return self._changed(clean, self.store.put(clean, bank, expect_version=0))
        except Conflict:
            raise Conflict(f"there is a bank {clean!r} already", bank=clean) from None

    def import_npz(self, name: str, path: Path, *, model: str | None = None, replace_it: bool = False) -> Change:
        """Read a bank file, of the first server or ours, into a bank. Raises what `read_npz` raises, `Conflict`."""
        bank = replace(read_npz(path, model=model or self.settings.legacy_model), source=f"imported from {path.name}")
        if not replace_it:
            return self.put_new(name, bank)
        clean = clean_bank_name(name)
        return self._changed(clean, self.store.put(clean, bank))

    def export_npz(self, name: str, path: Path, version: int | None = None) -> None:
        """Write a bank file that the first server's readers read too. Raises `NotFound`, `OSError`."""
        write_npz(path, self.store.get(name, version=version, clips=True))

    def copy(self, name: str, to: str) -> Change:
        """The same bank under another name. Raises `NotFound`, `Conflict`."""
        bank = self.store.get(name, clips=True)
        return self.put_new(to, replace(bank, created="", source=f"copy of {name} version {bank.version}"))

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
        return self.put_new(to, replace(whole, created="", source=f"union of {', '.join(names)}"))

    def rollback(self, name: str, version: int | None = None) -> Change:
        """An earlier version again, under a new number. Raises `NotFound`."""
        return self._changed(name, self.store.rollback(name, version))

    def delete(self, name: str) -> tuple[str, ...]:
        """Remove a bank, all its versions and its snapshot; gives warnings. Raises `NotFound`."""
        self.store.delete(name)
        return self._warned(lambda snapshots: snapshots.remove(name))

    def set_cohort(self, name: str, cohort: str | None) -> None:
        """Tell a bank's scores also as AS-norm against another bank's speakers; None: no more.

        Raises `NotFound`, `ModelMismatch`, and `Unusable` for a cohort that is too small.
        """
        asnorm.set_cohort(self.store, name, cohort)

    # Speakers

    def rename(self, name: str, label: str, to: str) -> Change:
        """Another name for a speaker. Raises `NotFound`, `Conflict`."""
        clean = clean_label(to)
        return self._edit(name, f"renamed {label} to {clean}", lambda bank: editing.rename(bank, label, clean))

    def merge(self, name: str, label: str, into: str) -> Change:
        """One speaker's clips to another. Raises `NotFound`, `Conflict`."""
        return self._edit(name, f"merged {label} into {into}", lambda bank: editing.merge(bank, label, into))

    def remove(self, name: str, label: str) -> Change:
        """The bank without a speaker, who stays in earlier versions: see `purge`. Raises `NotFound`."""
        return self._edit(name, f"removed {label}", lambda bank: editing.remove(bank, label))

    def remove_clips(self, name: str, keys: Sequence[str]) -> Change:
        """The bank without some recordings. Raises `NotFound`, `Conflict` for a speaker's last one."""
        return self._edit(name, f"removed {len(keys)} clips", lambda bank: editing.remove_clips(bank, keys))

    def purge(self, name: str, label: str) -> Change:
        """Remove a speaker from every version, the snapshot, the cached vectors and the reports of past jobs.

        The append-only file is rewritten, so that it holds the voice no longer either. Raises `NotFound`.
        """
        gone: set[str] = set()
        found = False

        def without(bank: Bank) -> Bank:
            nonlocal found
            if label not in bank.labels:
                return replace(bank, source=bank.source.replace(label, "someone"))
            found = True
            rows = {row for row, one in enumerate(bank.labels) if one == label}
            if bank.clips is not None:
                pairs = zip(bank.clips.keys, bank.clips.owners, strict=True)
                gone.update(key for key, owner in pairs if int(owner) in rows)
            return replace(editing.remove(bank, label), source=bank.source.replace(label, "someone"))

        self.store.rewrite(name, without)
        if not found:
            raise NotFound(f"bank {name!r} has no speaker {label!r} in any version", speaker=label)
        self.cache.forget(gone)
        self._purge_reports(label)
        with contextlib.suppress(redis.ResponseError):  # no append-only file, or a rewrite runs already
            self.store.redis.bgrewriteaof()
        return self._changed(name, self.store.version(name))

    # Snapshots

    def snapshot(self, name: str) -> str:
        """Write a bank's snapshot now; gives its place. Raises `SnapshotFailed`, `Unusable` if none are configured."""
        if self.snapshots is None:
            raise Unusable("no place for snapshots is set: SPEAKER_SNAPSHOTS names a folder or a URL")
        return self.snapshots.save(self.store.get(name, clips=True))

    def restore(self) -> list[str]:
        """Put the snapshots of banks that Redis has lost into it; gives their names. Raises `SnapshotFailed`."""
        return self.snapshots.restore(self.store) if self.snapshots else []

    def saved(self, name: str) -> tuple[str, ...]:
        """Write the snapshot of a bank that has changed, if that is configured; gives warnings."""
        return self._warned(lambda snapshots: snapshots.save(self.store.get(name, clips=True)))

    def _edit(self, name: str, what: str, change: Callable[[Bank], Bank]) -> Change:
        version = self.store.update(name, lambda bank: replace(change(bank), created="", source=what))
        return self._changed(name, version)

    def _changed(self, name: str, version: int) -> Change:
        return Change(name, version, self.saved(name))

    def _warned(self, work: Callable[[Snapshots], object]) -> tuple[str, ...]:
        if self.snapshots is None:
            return ()
        try:
            work(self.snapshots)
        except SnapshotFailed as error:
            return (error.message,)
        return ()

    def _purge_reports(self, label: str) -> None:
        for key in self.store.redis.scan_iter(self.jobs.report_template.format(id="*")):
            self.jobs.purge(key, label)
