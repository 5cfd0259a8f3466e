"""What changed between two versions of a bank, speaker by speaker."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from banks.bank import Bank


@dataclass(frozen=True)
class SpeakerChange:
    """One speaker whose row is another: its recordings and how far its vector moved."""

    label: str
    count_before: int
    count_after: int
    cosine: float
    """Between the two vectors: 1 is no change of direction."""


@dataclass(frozen=True)
class Diff:
    """What is new, gone and changed, each in the order of its bank."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    """Before and after: the vector is the same."""
    changed: tuple[SpeakerChange, ...]

    def to_dict(self) -> dict[str, Any]:
        """The difference as JSON."""
        return asdict(self)


def diff(before: Bank, after: Bank) -> Diff:
    """Compare two banks by label; of repeated labels, the first row counts."""
    old = {label: row for row, label in reversed(list(enumerate(before.labels)))}
    new = {label: row for row, label in reversed(list(enumerate(after.labels)))}
    added = [label for label in dict.fromkeys(after.labels) if label not in old]
    removed = [label for label in dict.fromkeys(before.labels) if label not in new]
    by_vector = {after.vectors[new[label]].tobytes(): label for label in added}
    renamed = [
        (label, by_vector[before.vectors[old[label]].tobytes()])
        for label in removed
        if before.vectors[old[label]].tobytes() in by_vector
    ]
    moved = {name for pair in renamed for name in pair}
    return Diff(
        added=tuple(label for label in added if label not in moved),
        removed=tuple(label for label in removed if label not in moved),
        renamed=tuple(renamed),
        changed=tuple(
            _change(label, before, old[label], after, new[label])
            for label in dict.fromkeys(after.labels)
            if label in old and not np.array_equal(before.vectors[old[label]], after.vectors[new[label]])
        ),
    )


def _change(label: str, before: Bank, old: int, after: Bank, new: int) -> SpeakerChange:
    a, b = before.vectors[old], after.vectors[new]
    same_size = a.shape == b.shape
    norms = float(np.linalg.norm(a) * np.linalg.norm(b)) if same_size else 0.0
    cosine = float(a @ b) / norms if norms else 0.0
    return SpeakerChange(label, int(before.counts[old]), int(after.counts[new]), round(cosine, 6))
