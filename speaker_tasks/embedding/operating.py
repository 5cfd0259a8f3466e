"""Operating points: which cosine to ask for, given the false accepts allowed, the speech heard and the people enrolled.

A threshold for one trial is not one for a bank: a stranger is scored against each of N people, and the best of N scores
counts. To be accepted by a bank at most with probability p, each trial may be accepted with 1 - (1 - p)^(1/N) only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

FALSE_ACCEPT_RATE = 0.01
"""The share of strangers that may be taken for someone enrolled."""
RATES = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
"""False accept rates of one trial at which thresholds are measured."""
LEAST_ACCEPTS = 10
"""A rate is measured only where it means at least so many false accepts; beyond it the tail is extrapolated."""
STRICTEST_RATE = 1e-7


@dataclass(frozen=True)
class OperatingPoints:
    """Thresholds measured on impostor trials, by seconds of speech and by false accept rate of one trial."""

    seconds: tuple[float, ...]
    """Ascending; the thresholds between two lengths are interpolated, beyond the last they are the last's."""
    rates: tuple[float, ...]
    """Descending."""
    thresholds: tuple[tuple[float, ...], ...]
    """A row for each length, a column for each rate."""

    @classmethod
    def fit(cls, trials: Mapping[float, np.ndarray]) -> OperatingPoints:
        """Measure on impostor scores `(K,)` by seconds of speech. Raises ValueError with too few for two rates."""
        least = min(len(scores) for scores in trials.values())
        rates = tuple(rate for rate in RATES if rate * least >= LEAST_ACCEPTS)
        if len(rates) < 2:
            raise ValueError(f"{least} impostor trials are too few for a threshold; {LEAST_ACCEPTS / RATES[1]:.0f} do")
        lengths = tuple(sorted(trials))
        wanted = [1 - rate for rate in rates]
        rows = tuple(tuple(float(v) for v in np.quantile(trials[length], wanted)) for length in lengths)
        return cls(lengths, rates, rows)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OperatingPoints:
        """Read what `to_dict` wrote. Raises KeyError, TypeError or ValueError on anything else."""
        rows = tuple(tuple(float(value) for value in row) for row in data["thresholds"])
        points = cls(tuple(map(float, data["seconds"])), tuple(map(float, data["rates"])), rows)
        if not rows or len(points.rates) < 2 or len(rows) != len(points.seconds):
            raise ValueError("the table of thresholds has not the shape of its lengths and rates")
        if any(len(row) != len(points.rates) for row in rows):
            raise ValueError("a row of the table has not one threshold for each rate")
        return points

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON."""
        return {
            "seconds": list(self.seconds),
            "rates": list(self.rates),
            "thresholds": [list(r) for r in self.thresholds],
        }

    def threshold(self, rate: float, seconds: float) -> float:
        """The cosine that a share `rate` of impostor trials reaches at `seconds` of speech.

        Rates between and beyond the measured ones are read on the normal scale, on which the tail is nearly straight.
        """
        at = [_at_rate(self.rates, row, rate) for row in self.thresholds]
        return float(np.interp(math.log(max(seconds, 1e-3)), np.log(self.seconds), at))

    def for_bank(self, rate: float, seconds: float, speakers: int) -> float:
        """The cosine that the best of `speakers` scores of a stranger reaches with probability `rate` at most."""
        return self.threshold(trial_rate(rate, speakers), seconds)


def trial_rate(rate: float, speakers: int) -> float:
    """The false accept rate of one trial that gives `rate` for the best of `speakers` independent trials."""
    return max(STRICTEST_RATE, -math.expm1(math.log1p(-rate) / max(1, speakers)))


def _at_rate(rates: Sequence[float], thresholds: Sequence[float], rate: float) -> float:
    normal = NormalDist()
    known = [normal.inv_cdf(1 - one) for one in rates]
    wanted = normal.inv_cdf(1 - min(max(rate, STRICTEST_RATE), 0.5))
    if wanted <= known[-1]:
        return float(np.interp(wanted, known, thresholds))
    tail = slice(-3, None)
    slope = float(np.polyfit(known[tail], thresholds[tail], 1)[0])
    return float(thresholds[-1]) + max(0.0, slope) * (wanted - known[-1])
