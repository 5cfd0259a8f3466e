"""CleanClip: speech of one voice alone, by which a speaker of a timeline can be enrolled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class CleanClip:
    """A stretch in which one cluster speaks alone; at most one window long."""

    cluster: int
    start: float
    """Seconds from the recording's start."""
    end: float
    seconds: float
    """Speech between `start` and `end`."""
    vector: np.ndarray
    """(D,) float32."""
