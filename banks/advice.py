"""What somebody should know of a bank after a change: sentences for people, each with what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import numpy as np

from banks import lookalike
from banks.active import ActiveMode
from banks.bank import EMBEDDING_SIZE, Bank, misfit
from banks.names import ALL, CUSTOM
from banks.npz import UNNAMED
from banks.store import BankStore
from banks.vectors import unit

SHOWN = 10
"""Names in one sentence."""


def on_labels(bank: Bank, among: Collection[str] | None = None) -> tuple[str, ...]:
    """Speakers without a name, names of several rows, names that look alike; with `among`, what concerns these."""
    unnamed = [label for row, label in enumerate(bank.labels, start=1) if label == UNNAMED.format(row=row)]
    repeated = [label for label, count in Counter(bank.labels).items() if count > 1]
    warnings = []
    if unnamed and among is None:
        warnings.append(f"speakers without a name are called {shown(unnamed)}: `banks rename` or `banks remove` them")
    if repeated and among is None:
        warnings.append(f"several rows are called {shown(repeated)}: they are asked as one speaker each")
    return (*warnings, *lookalike.warnings(bank.labels, among))


def on_model(bank: Bank, serving: str | None) -> tuple[str, ...]:
    """That the workers cannot ask the bank, if they run another model; `serving` is None where that is not known."""
    why = misfit(bank.name, bank.model, bank.size, serving, EMBEDDING_SIZE) if len(bank) else None
    if why is None:
        return ()
    cure = "enroll its recordings again (`banks re-enroll`), or say which model made it (`banks import --model`)"
    return (f"{why}, which the workers run: it is left out of `all`, and questions to it are refused; {cure}",)


def on_default(store: BankStore, name: str) -> tuple[str, ...]:
    """That questions without a bank ask two banks together, when `name` has just become the second one."""
    names = [one for one in store.names() if one != CUSTOM]
    if len(names) != 2 or ActiveMode(store).mode() != ALL:
        return ()
    return (
        f"there are two banks now, {shown(names)}, and a question that names none asks both together (`all`): "
        f"`speaker-tasks banks use {name}`, or PUT /v1/active, makes one of them the default",
    )


def shown(names: Collection[str]) -> str:
    """Names for a sentence, not more than `SHOWN`."""
    quoted = [repr(name) for name in names]
    more = f" and {len(quoted) - SHOWN} more" if len(quoted) > SHOWN else ""
    return ", ".join(quoted[:SHOWN]) + more


def holders(bank: Bank, keys: Collection[str], vectors: np.ndarray, *, same: float) -> dict[str, float]:
    """The speakers of a bank who have one of the recordings, by content, or one of the vectors (K, D), each with the
    highest cosine to these, if that is `same` or more.
    """
    contents = {key.partition("@")[0] for key in keys}
    nearest: dict[str, float] = {}
    if bank.clips is not None:
        for key, owner in zip(bank.clips.keys, bank.clips.owners.tolist(), strict=True):
            if key.partition("@")[0] in contents:
                nearest[bank.labels[owner]] = 1.0
    if len(vectors) and len(bank) and vectors.shape[1] == bank.size:
        rows = unit(bank.vectors)
        best = (rows @ unit(vectors).T).max(axis=1)
        for row in np.flatnonzero(best >= same):
            nearest[bank.labels[row]] = max(nearest.get(bank.labels[row], -1.0), round(float(best[row]), 3))
    return nearest
