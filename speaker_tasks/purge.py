"""Purge: voices leave all that one Redis server holds of them, for they are personal data.

A speaker is in every kept version of a bank, in the reports of past jobs, and in the cache: with the recordings that
were enrolled, and with those that a quality gate left out, which only a report knows to be this speaker's.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
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

    Raises `NotFound` if no version has the speaker.
    """
    gone: set[str] = set()
    found = False

    def without(bank: Bank) -> Bank:
        nonlocal found
        source = bank.source.replace(label, SOMEONE)
        if label not in bank.labels:
            return replace(bank, source=source)
        found = True
        rows = {row for row, one in enumerate(bank.labels) if one == label}
        if bank.clips is not None:
            pairs = zip(bank.clips.keys, bank.clips.owners, strict=True)
            gone.update(key for key, owner in pairs if int(owner) in rows)
        return replace(editing.remove(bank, label), source=source)

    store.rewrite(name, without)
    if not found:
        raise NotFound(f"bank {name!r} has no speaker {label!r} in any version", speaker=label)
    cache.forget(gone | jobs.purge(label, gone))
    return gone


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
