"""Purge: voices leave all that one Redis server holds of them, for they are personal data.

A speaker is in every kept version of a bank, in the reports of past jobs, and in the cache: with the recordings that
were enrolled, and with those that a quality gate left out, which only a report knows to be this speaker's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import redis

from banks import editing
from banks.bank import Bank
from banks.store import BankStore
from speaker_tasks.errors import NotFound
from speaker_tasks.jobs import JobStore
from speaker_tasks.vectorcache import VectorCache

REWRITE_SECONDS = 5.0
"""How long a rewrite of the append-only file that runs already is waited for."""
SOMEONE = "someone"
"""What the notes of a bank's versions call a speaker who was purged."""


def purge_speaker(store: BankStore, cache: VectorCache, jobs: JobStore, name: str, label: str) -> set[str]:
    """Take a speaker out of a bank's versions, out of reports and cache; gives the keys of the clips that are gone.

    Earlier versions may have the recordings under another name, before a rename or a merge: they are the speaker's as
    the newest version that has them says. Raises `NotFound` if neither a version nor a report has the speaker.
    """
    gone: set[str] = set()

    def plan(versions: Iterator[Bank]) -> Callable[[Bank], Bank]:
        owners: dict[str, str] = {}
        for bank in versions:
            for key, owner in _voices(bank):
                owners.setdefault(key, owner)
        gone.update(key for key, owner in owners.items() if owner == label)
        return lambda bank: replace(editing.without(bank, label, gone), source=bank.source.replace(label, SOMEONE))

    found = any(label in store.get(name, version=one.version).labels for one in store.history(name))
    if found:
        store.rewrite(name, plan)
    reported = jobs.purge(label, gone)
    cache.forget(gone | reported)
    if not found and not reported:
        raise NotFound(f"bank {name!r} has no speaker {label!r} in any version", speaker=label)
    return gone


def _voices(bank: Bank) -> Iterator[tuple[str, str]]:
    """The key of each clip, or of each row that came without clips, and the name that the bank has it under."""
    clips = editing.with_clips(bank).clips
    if clips is not None:
        for key, owner in zip(clips.keys, clips.owners, strict=True):
            yield key, bank.labels[int(owner)]


def purge_bank(store: BankStore, cache: VectorCache, jobs: JobStore, name: str) -> None:
    """Remove a bank with all its versions, the reports of the jobs that filled it, and what the cache knows of both.

    Raises `NotFound`.
    """
    clips = set(store.clip_keys(name))
    store.delete(name)
    for job in jobs.recent():
        if job.over and job.about.get("bank") == name:
            clips.update(entry["clip"] for entry in jobs.report(job.id) if entry.get("clip"))
            jobs.client.unlink(jobs.report_template.format(id=job.id))
    cache.forget(clips)


def others_with(store: BankStore, name: str, label: str, clips: Iterable[str]) -> list[str]:
    """The other banks that have a speaker of that name, or one of the clips under another."""
    found, keys = [], list(clips)
    for other in store.names():
        if other != name and (label in store.get(other).labels or store.has_clips(other, keys)):
            found.append(other)
    return found


def rewrite_log(client: redis.Redis) -> tuple[str, ...]:
    """Have the server write its append-only file anew, without what was deleted; gives a warning if it does not."""
    deadline = time.monotonic() + REWRITE_SECONDS
    while True:
        try:
            client.bgrewriteaof()
            return ()
        except redis.ResponseError as error:
            if "already in progress" not in str(error):
                return (f"the server's append-only file is not rewritten, and may hold what was deleted: {error}",)
            if time.monotonic() > deadline:
                return ("the server's append-only file is rewritten already; purge again when that has ended",)
            time.sleep(0.1)
