"""Changes to a bank, each a pure function from one bank to the next: every row stays the mean of its kept clips."""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np

from banks.bank import Bank, Clips, check_model
from banks.names import clean_name
from speaker_tasks.errors import Conflict, NotFound, Unusable

MOST_COMPARED = 20_000
"""Speakers of a bank up to which an unknown name is compared with theirs."""
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
    kept = select(bank, lambda label: label not in gone)
    return replace(add(kept, labels, clips, model), aliases=bank.aliases)


def remove(bank: Bank, label: str) -> Bank:
    """The bank without a speaker. Raises `NotFound`."""
    label = known_label(bank, label)
    return select(bank, lambda one: one != label)


def without(bank: Bank, label: str, keys: Collection[str]) -> Bank:
    """The bank without a speaker, if it has one of that name, and without some clips, under whatever name they are.

    Rows that no clip is left for go too; the others are the means of theirs.
    """
    left = select(bank, lambda one: one != label)
    left = replace(left, aliases={old: new for old, new in left.aliases.items() if old != label})
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
    _check_keys(bank, kept, gone)
    left = kept.take([i for i, key in enumerate(kept.keys) if key not in gone])
    _check_none_empty(bank, left)
    return _averaged(bank, bank.labels, left)


def move_clips(bank: Bank, keys: Iterable[str], to: str, *, new: bool = False) -> Bank:
    """Give some clips to another speaker, who has to be there unless `new` allows a new one.

    Raises `NotFound` for an unknown key or speaker, `Conflict` for the last clip of a speaker.
    """
    if to not in bank.labels and not new:
        known_label(bank, to)
    kept, moved = _own(bank), set(keys)
    _check_keys(bank, kept, moved)
    names = list(bank.labels) if to in bank.labels else [*bank.labels, to]
    row = names.index(to)
    owners = np.array([row if key in moved else owner for key, owner in zip(kept.keys, kept.owners, strict=True)])
    left = _unique(replace(kept, owners=owners.astype(np.int64)))
    if same_clips(kept, left):
        return bank
    _check_none_empty(bank, left)
    return _averaged(bank, names, left)


def full_keys(bank: Bank, given: Sequence[str]) -> list[str]:
    """The keys of clips, of which the first characters are enough. Raises `NotFound`, `Conflict` where several fit."""
    kept = _own(bank).keys
    keys = []
    for start in given:
        fitting = [start] if start in kept else sorted({key for key in kept if start and key.startswith(start)})
        if len(fitting) > 1:
            raise Conflict(
                f"several clips of bank {bank.name!r} begin with {start}; give more of the key", keys=fitting[:5]
            )
        if not fitting:
            raise NotFound(f"bank {bank.name!r} has no clip {start}; `banks clips` lists them", keys=[start])
        keys.append(fitting[0])
    return keys


def described_clips(bank: Bank, row: int) -> list[dict[str, Any]]:
    """The clips of one row as JSON: key, place, length, the cosine with the row's others and with the nearest other."""
    clips = _own(bank)
    mine = np.flatnonzero(clips.owners == row)
    sums = clips.vectors[mine].sum(axis=0, dtype=np.float64)
    elsewhere = [other for other, label in enumerate(bank.labels) if label != bank.labels[row]]
    described = []
    for index in mine:
        vector, span = clips.vectors[index], clips.spans[index]
        cosines = _cosines(bank.vectors[elsewhere], vector)
        nearest = int(np.argmax(cosines)) if elsewhere else None
        described.append(
            {
                "key": clips.keys[index],
                "path": clips.paths[index],
                "start": span[0] if span else None,
                "end": span[1] if span and span[1] >= 0 else None,
                "seconds": round(float(clips.seconds[index]), 2),
                "recordings": int(clips.weights[index]),
                "cosine": round(float(_cosines((sums - vector)[None], vector)[0]), 3) if len(mine) > 1 else None,
                "nearest": None if nearest is None else bank.labels[elsewhere[nearest]],
                "nearest_cosine": None if nearest is None else round(float(cosines[nearest]), 3),
            }
        )
    return described


def _cosines(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return (rows @ vector) / np.maximum(np.linalg.norm(rows, axis=1) * np.linalg.norm(vector), 1e-12)


def rename(bank: Bank, label: str, to: str) -> Bank:
    """The bank with a speaker under another name, which remembers the one before.

    Raises `NotFound`, and `Conflict` if the name is taken.
    """
    label = known_label(bank, label)
    rows = rows_of(bank, label)
    if to == label:
        return bank
    if to in bank.labels:
        raise Conflict(f"bank {bank.name!r} has a speaker {to!r} already; merge the two instead", speaker=to)
    names = tuple(to if row in rows else name for row, name in enumerate(bank.labels))
    return replace(bank, labels=names, aliases=_renamed(bank, label, to))


def merge(bank: Bank, label: str, into: str) -> Bank:
    """Give all clips of `label` to the speaker `into`. Raises `NotFound`, and `Conflict` for a speaker with itself."""
    label, into = known_label(bank, label), known_label(bank, into)
    if label == into:
        raise Conflict(f"{label!r} cannot be merged with itself", speaker=label)
    rows, target = set(rows_of(bank, label)), rows_of(bank, into)[0]
    kept = _own(bank)
    owners = np.array([target if int(owner) in rows else owner for owner in kept.owners], np.int64)
    left = [row for row in range(len(bank)) if row not in rows]
    clips = _renumber(_unique(replace(kept, owners=owners)), left)
    aliases = _renamed(bank, label, into)
    return replace(_averaged(bank, [bank.labels[row] for row in left], clips), aliases=aliases)


def known_label(bank: Bank, label: str) -> str:
    """The speaker's name as the bank has it: as it is given, else as names are kept.

    Raises `NotFound`, with the names that are most like it.
    """
    if label in bank.labels:
        return label
    with suppress(Unusable):
        if (cleaned := clean_name(label)) in bank.labels:
            return cleaned
    near = difflib.get_close_matches(label, bank.labels, 3) if len(bank) < MOST_COMPARED else []
    hint = f"; perhaps {' or '.join(map(repr, near))}" if near else ""
    raise NotFound(f"bank {bank.name!r} has no speaker {label!r}{hint}", speaker=label)


def same_content(a: Bank, b: Bank) -> bool:
    """Whether two banks have the same recordings under the same names, with vectors of the same model."""
    return a.model == b.model and sorted(a.labels) == sorted(b.labels) and _recordings(a) == _recordings(b)


def same_clips(a: Clips, b: Clips) -> bool:
    """Whether the same rows own the same clips."""
    return a.keys == b.keys and np.array_equal(a.owners, b.owners)


def _recordings(bank: Bank) -> Counter[tuple[str, ...]]:
    clips = _own(bank)
    columns = zip(clips.owners.tolist(), clips.keys, clips.paths, map(str, clips.spans), strict=True)
    return Counter((bank.labels[owner], *rest) for owner, *rest in columns)


def _renamed(bank: Bank, label: str, to: str) -> dict[str, str]:
    """The earlier names once `label` is `to`."""
    return {old: to if new == label else new for old, new in bank.aliases.items()} | {label: to}


def _check_keys(bank: Bank, kept: Clips, keys: Collection[str]) -> None:
    missing = sorted(set(keys) - set(kept.keys))
    if missing:
        raise NotFound(f"bank {bank.name!r} has no clip {missing[0]}", keys=missing)


def _check_none_empty(bank: Bank, left: Clips) -> None:
    empty = sorted({bank.labels[row] for row in set(range(len(bank))) - set(left.owners.tolist())})
    if empty:
        raise Conflict(
            f"no clip of {', '.join(empty)} would be left; remove or merge the speaker instead", speakers=empty
        )


def rows_of(bank: Bank, label: str) -> list[int]:
    """The rows of a speaker. Raises `NotFound`."""
    registered = known_label(bank, label)
    return [row for row, name in enumerate(bank.labels) if name == registered]


def select(bank: Bank, wanted: Callable[[str], bool]) -> Bank:
    """The bank of those speakers whose names are wanted, with their clips if it has them."""
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
