"""Purge: voices leave all that one Redis server holds of them, for they are personal data.

A speaker is in every kept version of a bank, in the reports of past jobs, in answers, and in the cache: with the
recordings that were enrolled, and with those that a quality gate left out, which only a report knows to be this
speaker's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
import redis

from banks import advice, editing
from banks.bank import Bank, same_model
from banks.store import BankStore
from speaker_tasks.errors import NotFound
from speaker_tasks.jobs import JobStore, answers
from speaker_tasks.jobs.vectors import VectorCache

REWRITE_SECONDS = 5.0
"""How long a rewrite of the append-only file that runs already is waited for."""
SAME_VECTOR = 0.999
"""From this cosine on two rows are one: made of the same recordings."""
SOMEONE = "someone"
"""What the notes of a bank's versions call a speaker who was purged."""


@dataclass
class Gone:
    """What a purge took out of a bank."""

    keys: set[str] = field(default_factory=set)
    """Of the clips."""
    vectors: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """By model, what the speaker's rows were in the kept versions, `(D,)` each."""
    names: set[str] = field(default_factory=set)
    """What the speaker is, and was before a rename or a merge."""


def purge_speaker(store: BankStore, cache: VectorCache, jobs: JobStore, name: str, label: str) -> Gone:
    """Take a speaker out of a bank's versions, out of reports, answers and cache; gives what is gone.

    Earlier versions may have the recordings under another name, before a rename or a merge: they are the speaker's as
    the newest version that has them says. Raises `NotFound` if neither a version nor a report has the speaker.
    """
    gone = Gone(names={label})

    def plan(versions: Iterator[Bank]) -> Callable[[Bank], Bank]:
        owners: dict[str, str] = {}
        gone.vectors.clear()
        for bank in versions:
            for key, owner in _voices(bank):
                owners.setdefault(key, owner)
            rows = [row for row, one in enumerate(bank.labels) if one == label]
            gone.vectors.setdefault(bank.model, []).extend(bank.vectors[rows])
            gone.names.update(old for old, new in bank.aliases.items() if new == label)
        gone.keys.update(key for key, owner in owners.items() if owner == label)
        return lambda bank: replace(editing.without(bank, label, gone.keys), source=bank.source.replace(label, SOMEONE))

    is_kept = any(label in store.get(name, version=one.version).labels for one in store.history(name))
    if is_kept:
        store.rewrite(name, plan)
    reported = jobs.purge(label, gone.keys)
    cache.forget(gone.keys | reported)
    answers.purge(jobs, name, gone.names, SOMEONE)
    if not is_kept and not reported:
        raise NotFound(f"bank {name!r} has no speaker {label!r} in any version", speaker=label)
    return gone


def _voices(bank: Bank) -> Iterator[tuple[str, str]]:
    """The key of each clip, or of each row that came without clips, and the name that the bank has it under."""
    clips = editing.with_clips(bank).clips
    if clips is not None:
        for key, owner in zip(clips.keys, clips.owners, strict=True):
            yield key, bank.labels[int(owner)]


def purge_bank(store: BankStore, cache: VectorCache, jobs: JobStore, name: str) -> None:
    """Remove a bank with all its versions, reports and results of the jobs that filled it, and what the cache knows.

    Answers to questions about it by its name are forgotten, too.

    Raises `NotFound`.
    """
    clips = set(store.clip_keys(name))
    store.delete(name)
    for _, job in jobs.recent():
        if job is not None and job.over and job.about.get("bank") == name:
            clips.update(entry["clip"] for entry in jobs.report(job.id) if entry.get("clip"))
            jobs.client.unlink(jobs.report_template.format(id=job.id))
    answers.purge_bank(jobs, name)
    cache.forget(clips)


def others_with(store: BankStore, name: str, gone: Gone, *, alike: float) -> list[str]:
    """The other banks that hold the voice, whatever its name is there: by its recordings' content, and by vectors.

    From the cosine `alike` on a speaker is listed as perhaps the same voice.
    """
    similar = []
    for other in store.names():
        if other == name:
            continue
        with suppress(NotFound):  # deleted meanwhile
            bank = store.get(other, clips=True)
            matrices = [
                np.stack(rows) for model, rows in gone.vectors.items() if rows and same_model(model, bank.model)
            ]
            vectors = np.concatenate(matrices) if matrices else np.zeros((0, bank.size))
            who = advice.holders(bank, gone.keys, vectors, same=alike)
            sure = [label for label, cosine in who.items() if cosine >= SAME_VECTOR]
            perhaps = [f"{label!r} (cosine {cosine:.2f})" for label, cosine in who.items() if cosine < SAME_VECTOR]
            if sure or store.has_clips(other, sorted(gone.keys)):
                similar.append(f"{other} as {advice.shown(sure)}" if sure else f"{other}, in an earlier version")
            if perhaps:
                similar.append(f"{other} perhaps, as {', '.join(perhaps[: advice.SHOWN])}")
    return similar


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
