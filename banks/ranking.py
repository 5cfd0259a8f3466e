"""Ranking: the enrolled speakers by the cosine between a voice and theirs, one score a speaker."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np

from banks.bank import Bank
from banks.matching import candidate_rows, scores, top_k
from speaker_tasks.errors import NotFound

_norms: WeakKeyDictionary[Bank, np.ndarray] = WeakKeyDictionary()
"""Lengths of the rows of the banks that are in use: (N,) float32 each."""
_speakers: WeakKeyDictionary[Bank, int] = WeakKeyDictionary()
_repeated: WeakKeyDictionary[Bank, dict[str, np.ndarray]] = WeakKeyDictionary()
"""The rows of each label that stands more than once, of the banks that are in use."""


def rank_speakers(bank: Bank, query: np.ndarray, k: int) -> list[tuple[str, float]]:
    """The `k` best speakers with the cosine of their best row, best first; each speaker stands once.

    Unlike `matching.match`, rows are normalised: how much a speaker's recordings differ is no part of the score.
    """
    if not len(bank) or k <= 0:
        return []
    wanted = k
    while True:
        best: dict[str, float] = {}
        rows = candidate_rows(bank, query, wanted)
        scores = cosines(bank, query, rows)
        for place in top_k(scores, wanted):
            best.setdefault(bank.labels[place if rows is None else rows[place]], float(scores[place]))
        if len(best) >= k or wanted >= len(bank):
            return list(best.items())[:k]
        wanted *= 4


def cosines(bank: Bank, query: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
    """The cosine of a unit vector (D,) with each row of the bank, or with some: (N,) float32. Raises as `scores`."""
    if rows is None:
        return scores(bank.vectors, query) / _lengths(bank)
    return scores(bank.vectors[rows], query) / _lengths(bank)[rows]


def cosine_with(bank: Bank, label: str, query: np.ndarray) -> float:
    """The cosine with one speaker's best row. Raises `NotFound`."""
    rows = [row for row, one in enumerate(bank.labels) if one == label]
    if not rows:
        raise NotFound(f"bank {bank.name!r} has no speaker {label!r}", speaker=label)
    return float(cosines(bank, query, np.array(rows)).max())


def speakers_of(bank: Bank) -> int:
    """How many different speakers the bank has."""
    count = _speakers.get(bank)
    if count is None:
        count = _speakers[bank] = len(set(bank.labels))
    return count


def enrolled_vectors(bank: Bank, labels: Sequence[str], voice: np.ndarray) -> np.ndarray:
    """The vector of each of the speakers whose cosine is the score: where a label repeats, the nearest; (K, D)."""
    repeated = _rows_of_repeated(bank)
    return bank.vectors[
        [_nearest(bank, repeated[one], voice) if one in repeated else bank.labels.index(one) for one in labels]
    ]


def _nearest(bank: Bank, rows: np.ndarray, voice: np.ndarray) -> int:
    return int(rows[np.argmax(cosines(bank, voice, rows))])


def _rows_of_repeated(bank: Bank) -> dict[str, np.ndarray]:
    """The rows of each label that the bank has more than once."""
    repeated = _repeated.get(bank)
    if repeated is None:
        rows_of: dict[str, list[int]] = {}
        if speakers_of(bank) < len(bank):
            for row, label in enumerate(bank.labels):
                rows_of.setdefault(label, []).append(row)
        repeated = _repeated[bank] = {label: np.array(rows) for label, rows in rows_of.items() if len(rows) > 1}
    return repeated


def _lengths(bank: Bank) -> np.ndarray:
    norms = _norms.get(bank)
    if norms is None:
        norms = np.maximum(np.sqrt(np.einsum("nd,nd->n", bank.vectors, bank.vectors)), np.float32(1e-12))
        _norms[bank] = norms
    return norms
