"""AS-norm: how far a score stands out from the scores with a cohort of other people.

Adaptive symmetric normalisation, Matejka et al., *Analysis of Score Normalization in Multilingual Speaker Recognition*
(Interspeech 2017): both sides' scores with their nearest cohort speakers give a mean and a deviation each.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from banks.bank import Bank, check_model
from banks.matching import scores
from banks.store import BankStore
from banks.vectors import unit
from speaker_tasks.errors import Unusable

NEAREST = 200
"""Cohort speakers whose scores are looked at for each side."""
FEWEST = 10
"""With fewer, mean and deviation say nothing."""


def cohort_name(store: BankStore, bank: str) -> str | None:
    """The bank that a bank's scores are normalised with; None without."""
    stored: Any = store.redis.get(store.cohort_key(bank))
    return stored.decode() if stored else None


def set_cohort(store: BankStore, bank: str, cohort: str | None) -> None:
    """Normalise a bank's scores with another's speakers, or no more.

    Raises `NotFound`, and what `cohort_of` raises.
    """
    if cohort is None:
        store.history(bank)
    else:
        cohort_of(store.get(cohort), store.get(bank))
    with store.redis.pipeline(transaction=True) as pipe:
        if cohort is None:
            pipe.unlink(store.cohort_key(bank))
        else:
            pipe.set(store.cohort_key(bank), cohort)
        store.touch(pipe)
        pipe.execute()


def cohort_of(cohort: Bank, bank: Bank) -> np.ndarray:
    """The cohort's unit vectors (M, D), without speakers who are in the bank too.

    Raises `ModelMismatch`, and `Unusable` for a cohort of fewer than `FEWEST` other speakers.
    """
    check_model(cohort, bank.model)
    own = set(bank.labels)
    rows = [row for row, label in enumerate(cohort.labels) if label not in own]
    if len(rows) < FEWEST:
        raise Unusable(
            f"cohort {cohort.name!r} has {len(rows)} speakers who are not in {bank.name!r}; at least {FEWEST} are "
            "wanted",
            cohort=cohort.name,
            speakers=len(rows),
        )
    return unit(cohort.vectors[rows])


def normalised(cosines: np.ndarray, enrolled: np.ndarray, query: np.ndarray, cohort: np.ndarray) -> np.ndarray:
    """The AS-norm of the cosines (K,) between a unit query (D,) and enrolled vectors (K, D), for a cohort (M, D)."""
    query_mean, query_deviation = _nearest(scores(cohort, query)[None])
    row_mean, row_deviation = _nearest(unit(enrolled) @ cohort.T)
    sides = (cosines - query_mean) / query_deviation + (cosines - row_mean) / row_deviation
    return (sides / 2).astype(np.float32)


def _nearest(with_cohort: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the highest scores of each row: (R, M) to two of (R,)."""
    count = min(NEAREST, with_cohort.shape[1])
    best = np.partition(with_cohort, with_cohort.shape[1] - count, axis=1)[:, -count:]
    return best.mean(axis=1), np.maximum(best.std(axis=1), 1e-3)
