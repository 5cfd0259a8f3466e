"""Matching: the scores of a vector against a bank's matrix, and the best of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from banks.bank import Bank
from banks.index import index_of
from speaker_tasks.errors import NotFinite, Unusable


@dataclass(frozen=True)
class Match:
    """One enrolled row and its score, the dot product with the query: in [-1, 1] for means of unit vectors."""

    label: str
    score: float
    row: int


def scores(matrix: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The dot product of the query (D,) with each row of the matrix (N, D): (N,) float32.

    Raises `Unusable` for another number of values, `NotFinite` for NaN or infinity in the query.
    """
    vector = np.asarray(query, np.float32)
    if vector.shape != (matrix.shape[1],):
        raise Unusable(f"the vector has shape {vector.shape}; the bank's rows have {matrix.shape[1]} values")
    if not np.isfinite(vector).all():
        raise NotFinite("the vector holds NaN or infinity")
    return matrix @ vector


def top_k(values: np.ndarray, k: int) -> np.ndarray:
    """Indices of the `k` highest of (N,) values, best first, the earlier row first among equals; no full sort."""
    k = min(k, len(values))
    if k <= 0:
        return np.zeros(0, np.int64)
    if k == 1:
        return np.array([np.argmax(values)], np.int64)
    least = values[np.argpartition(values, len(values) - k)[len(values) - k]]
    above = np.flatnonzero(values > least)
    equal = np.flatnonzero(values == least)[: k - len(above)]
    chosen = np.concatenate([above, equal])
    return chosen[np.lexsort((chosen, -values[chosen]))]


def best_rows(bank: Bank, query: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` best rows of a bank and their exact scores, best first; from the bank's index if it has one.

    Raises as `scores`.
    """
    rows = candidate_rows(bank, query, k)
    if rows is None:
        cosines = scores(bank.vectors, query)
        best = top_k(cosines, k)
        return best, cosines[best]
    cosines = scores(bank.vectors[rows], query)
    best = top_k(cosines, k)
    return rows[best], cosines[best]


def candidate_rows(bank: Bank, query: np.ndarray, k: int) -> np.ndarray | None:
    """The rows that the bank's index names for the `k` best; None where all rows are to be looked at."""
    index = index_of(bank)
    return None if index is None else index.rows(query, k)


def match(bank: Bank, query: np.ndarray, k: int = 1) -> list[Match]:
    """The `k` best rows of the bank for a query (D,), best first; labels may repeat. Empty for an empty bank."""
    if not len(bank):
        return []
    rows, cosines = best_rows(bank, query, k)
    return [Match(bank.labels[row], float(score), int(row)) for row, score in zip(rows, cosines, strict=True)]
