"""Changes to a bank, each a pure function from one bank to the next: every row stays the mean of its kept clips."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import numpy as np

from banks.bank import Bank, Clips, check_model
from speaker_tasks.errors import Conflict, NotFound

NO_CLIPS = Clips((), np.zeros(0, np.int64), np.zeros((0, 0), np.float32), np.zeros(0), np.zeros(0, np.int64), (), ())


def new(labels: Sequence[str], clips: Clips, model: str, *, size: int, source: str = "") -> Bank:
    """A bank of those `labels` that have clips, each row the mean of its clips."""
    empty = Bank((), np.zeros((0, size)), model=model, source=source)
    return add(empty, labels, clips, model)


def with_clips(bank: Bank) -> Bank:
    """The bank with its clips; a row that came without any becomes one clip of itself."""
    if bank.clips is not None:
        return bank
    rows = len(bank)
    return replace(
        bank,
        clips=Clips(
            keys=tuple(_row_key(vector) for vector in bank.vectors),
            owners=np.arange(rows),
            vectors=bank.vectors,
            seconds=bank.seconds,
            weights=np.maximum(bank.counts, 1),
            paths=("",) * rows,
            spans=(None,) * rows,
        ),
    )


def add(bank: Bank, labels: Sequence[str], clips: Clips, model: str) -> Bank:
    """Add clips, whose owners index `labels`; new labels follow the old ones, a clip that is there is not added twice.

    Raises `ModelMismatch`.
    """
    check_model(bank, model)
    kept = _own(bank)
    names = list(bank.labels)
    rows = {label: row for row, label in reversed(list(enumerate(names)))}
    for label in dict.fromkeys(labels[int(owner)] for owner in clips.owners):
        if label not in rows:
            rows[label] = len(names)
            names.append(label)
    have = {(int(owner), key) for owner, key in zip(kept.owners, kept.keys, strict=True)}
    owners = np.array([rows[labels[int(owner)]] for owner in clips.owners], np.int64)
    fresh = [i for i, (owner, key) in enumerate(zip(owners, clips.keys, strict=True)) if (int(owner), key) not in have]
    added = replace(clips, owners=owners).take(fresh)
    exact = max(bank.model, model, key=len) if len(bank) else model
    return _averaged(replace(bank, model=exact), names, _join(kept, added))


def replace_speakers(bank: Bank, labels: Sequence[str], clips: Clips, model: str) -> Bank:
    """Give the speakers `labels` these clips instead of those that they have; others stay."""
    check_model(bank, model)
    gone = set(labels)
    kept = _select(bank, lambda label: label not in gone)
    return add(kept, labels, clips, model)


def remove(bank: Bank, label: str) -> Bank:
    """The bank without a speaker. Raises `NotFound`."""
    rows_of(bank, label)
    return _select(bank, lambda one: one != label)


def without(bank: Bank, label: str, keys: Collection[str]) -> Bank:
    """The bank without a speaker, if it has one of that name, and without some clips, under whatever name they are.

    Rows that no clip is left for go too; the others are the means of theirs.
    """
    left = _select(bank, lambda one: one != label)
    kept = _own(left)
    indices = [i for i, key in enumerate(kept.keys) if key not in keys]
    if len(indices) == len(kept):
        return left
    owners = set(kept.owners[indices].tolist())
    rows = [row for row in range(len(left)) if row in owners]
    changed = _averaged(left, [left.labels[row] for row in rows], _renumber(kept.take(indices), rows))
    return replace(changed, created=bank.created, clips=None if bank.clips is None else changed.clips)


def remove_clips(bank: Bank, keys: Iterable[str]) -> Bank:
    """The bank without some clips. Raises `NotFound` for an unknown key, `Conflict` for the last clip of a speaker."""
    kept, gone = _own(bank), set(keys)
    missing = sorted(gone - set(kept.keys))
    if missing:
        raise NotFound(f"bank {bank.name!r} has no clip {missing[0]}", keys=missing)
    left = kept.take([i for i, key in enumerate(kept.keys) if key not in gone])
    empty = sorted({bank.labels[row] for row in set(range(len(bank))) - set(left.owners.tolist())})
    if empty:
        raise Conflict(f"no clip of {', '.join(empty)} would be left; remove the speaker instead", speakers=empty)
    return _averaged(bank, bank.labels, left)


def rename(bank: Bank, label: str, to: str) -> Bank:
    """The bank with a speaker under another name. Raises `NotFound`, and `Conflict` if the name is taken."""
    rows = rows_of(bank, label)
    if to == label:
        return bank
    if to in bank.labels:
        raise Conflict(f"bank {bank.name!r} has a speaker {to!r} already; merge the two instead", speaker=to)
    names = tuple(to if row in rows else name for row, name in enumerate(bank.labels))
    return replace(bank, labels=names)


def merge(bank: Bank, label: str, into: str) -> Bank:
    """Give all clips of `label` to the speaker `into`. Raises `NotFound`, and `Conflict` for a speaker with itself."""
    if label == into:
        raise Conflict(f"{label!r} cannot be merged with itself", speaker=label)
    rows, target = set(rows_of(bank, label)), rows_of(bank, into)[0]
    kept = _own(bank)
    owners = np.array([target if int(owner) in rows else owner for owner in kept.owners], np.int64)
    left = [row for row in range(len(bank)) if row not in rows]
    return _averaged(bank, [bank.labels[row] for row in left], _renumber(_unique(replace(kept, owners=owners)), left))


def rows_of(bank: Bank, label: str) -> list[int]:
    """The rows of a speaker. Raises `NotFound`."""
    rows = [row for row, name in enumerate(bank.labels) if name == label]
    if not rows:
        raise NotFound(f"bank {bank.name!r} has no speaker {label!r}", speaker=label)
    return rows


def _select(bank: Bank, wanted: Callable[[str], bool]) -> Bank:
    rows = [row for row, label in enumerate(bank.labels) if wanted(label)]
    clips = None
    if bank.clips is not None:
        chosen = set(rows)
        left = bank.clips.take([i for i, owner in enumerate(bank.clips.owners) if int(owner) in chosen])
        clips = _renumber(left, rows)
    return replace(
        bank,
        labels=tuple(bank.labels[row] for row in rows),
        vectors=bank.vectors[rows],
        counts=bank.counts[rows],
        seconds=bank.seconds[rows],
        clips=clips,
    )


def _averaged(bank: Bank, labels: Sequence[str], clips: Clips) -> Bank:
    """Rows as the weighted means of their clips, in double precision."""
    order = np.argsort(clips.owners, kind="stable")
    clips = clips.take(order)
    rows, size = len(labels), clips.vectors.shape[1] if len(clips) else bank.size
    sums, weights = np.zeros((rows, size)), np.zeros(rows, np.int64)
    seconds = np.zeros(rows)
    if len(clips):
        owners, starts = np.unique(clips.owners, return_index=True)
        sums[owners] = np.add.reduceat(clips.vectors * clips.weights[:, None].astype(np.float64), starts)
        weights[owners] = np.add.reduceat(clips.weights, starts)
        seconds[owners] = np.add.reduceat(clips.seconds.astype(np.float64), starts)
    return replace(
        bank,
        created="",
        labels=tuple(labels),
        vectors=sums / np.maximum(weights, 1)[:, None],
        counts=weights,
        seconds=seconds,
        clips=clips,
    )


def _own(bank: Bank) -> Clips:
    clips = with_clips(bank).clips
    return NO_CLIPS if clips is None else clips


def _join(first: Clips, second: Clips) -> Clips:
    if not len(first) or not len(second):
        return second if len(second) else first
    return Clips(
        keys=first.keys + second.keys,
        owners=np.concatenate([first.owners, second.owners]),
        vectors=np.concatenate([first.vectors, second.vectors]),
        seconds=np.concatenate([first.seconds, second.seconds]),
        weights=np.concatenate([first.weights, second.weights]),
        paths=first.paths + second.paths,
        spans=first.spans + second.spans,
    )


def _unique(clips: Clips) -> Clips:
    seen: dict[tuple[int, str], int] = {}
    for index, (owner, key) in enumerate(zip(clips.owners, clips.keys, strict=True)):
        seen.setdefault((int(owner), key), index)
    return clips.take(list(seen.values()))


def _renumber(clips: Clips, rows: Sequence[int]) -> Clips:
    """Owners as positions in `rows`."""
    place = {row: position for position, row in enumerate(rows)}
    return replace(clips, owners=np.array([place[int(owner)] for owner in clips.owners], np.int64))


def _row_key(vector: np.ndarray) -> str:
    return "row:" + hashlib.blake2b(vector.tobytes(), digest_size=16).hexdigest()
