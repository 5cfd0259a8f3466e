"""Operating points: which cosine to ask for, given the false accepts allowed, the speech heard and the people enrolled.

A threshold for one trial is not one for a bank: a stranger is scored against each of N people, and the best of N scores
counts. To be accepted by a bank at most with probability p, each trial may be accepted with 1 - (1 - p)^(1/N) only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist, linear_regression
from typing import Any

import numpy as np

FALSE_ACCEPT_RATE = 0.01
"""The share of strangers that may be taken for someone enrolled."""
RATES = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001)
"""False accept rates of one trial at which thresholds are measured."""
WRONG_NAME_RATE = 0.005
"""The share of the recordings of those enrolled that may be given another's name."""
MOST_EER = 0.1
"""With so little speech that more trials than these are decided wrongly, at the best threshold, nobody is named."""
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
    def fit(cls, trials: Mapping[float, Sequence[np.ndarray]]) -> OperatingPoints:
        """Measure on impostor scores by seconds of speech: arrays `(K,)`, one a corpus, all of which weigh the same.

        Raises ValueError with too few for two rates.
        """
        lengths = tuple(sorted(trials))
        rows = [_reached(trials[length], RATES) for length in lengths]
        enough = min(sum(accepts >= LEAST_ACCEPTS for _, accepts in row) for row in rows)
        if enough < 2:
            least = min(sum(map(len, parts)) for parts in trials.values())
            raise ValueError(f"{least} impostor trials are too few for a threshold; {LEAST_ACCEPTS / RATES[1]:.0f} do")
        return cls(lengths, RATES[:enough], tuple(tuple(score for score, _ in row[:enough]) for row in rows))

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

    def raised(self, by: Mapping[float, float]) -> OperatingPoints:
        """The same with all thresholds of a length raised, by lengths."""
        rows = zip(self.seconds, self.thresholds, strict=True)
        return replace(self, thresholds=tuple(tuple(one + by[seconds] for one in row) for seconds, row in rows))

    def threshold(self, rate: float, seconds: float) -> float:
        """The cosine that a share `rate` of impostor trials reaches at `seconds` of speech.

        Rates between and beyond the measured ones are read on the normal scale, on which the tail is nearly straight.
        """
        at = _all_at_rate(self.rates, self.thresholds, rate)
        return float(np.interp(math.log(max(seconds, 1e-3)), _logs(self.seconds), at))

    def for_bank(self, rate: float, seconds: float, speakers: int) -> float:
        """The cosine that the best of `speakers` scores of a stranger reaches with probability `rate` at most."""
        return self.threshold(trial_rate(rate, speakers), seconds)


def least_speech(eers: Mapping[float, float]) -> float:
    """The seconds of speech from which on the equal error rate is `MOST_EER` at most, given rates by seconds.

    Between two lengths it is interpolated; it is at least the shortest of them, and at most the longest.
    """
    seconds = sorted(eers)
    enough = next((at for at, one in enumerate(seconds) if eers[one] <= MOST_EER), len(seconds) - 1)
    if enough == 0 or eers[seconds[enough]] > MOST_EER:
        return float(seconds[enough])
    short, long = seconds[enough - 1], seconds[enough]
    share = (eers[short] - MOST_EER) / (eers[short] - eers[long])
    return round(float(short * (long / short) ** share), 2)


def trial_rate(rate: float, speakers: int) -> float:
    """The false accept rate of one trial that gives `rate` for the best of `speakers` independent trials."""
    return max(STRICTEST_RATE, -math.expm1(math.log1p(-rate) / max(1, speakers)))


def _reached(parts: Sequence[np.ndarray], rates: Sequence[float]) -> list[tuple[float, int]]:
    """The score that is reached at each rate, the parts weighing the same, and by how many trials it is."""
    scores = np.concatenate([*parts, np.zeros(0)])
    if not len(scores):
        return []
    weights = np.concatenate([np.full(len(part), 1 / max(1, len(part))) for part in parts])
    order = np.argsort(scores)
    below = np.cumsum(weights[order]) - weights[order] / 2
    quantiles = np.interp([1 - rate for rate in rates], below / weights.sum(), scores[order])
    return [(float(one), int(np.count_nonzero(scores > one))) for one in quantiles]


@lru_cache(maxsize=1024)
def _all_at_rate(rates: tuple[float, ...], rows: tuple[tuple[float, ...], ...], rate: float) -> np.ndarray:
    """What each row has at a rate: kept, since the rates that banks ask for are few, one for each number of people."""
    return np.array([_at_rate(rates, row, rate) for row in rows])


@lru_cache(maxsize=64)
def _logs(seconds: tuple[float, ...]) -> np.ndarray:
    return np.log(seconds)


def _at_rate(rates: Sequence[float], thresholds: Sequence[float], rate: float) -> float:
    normal = NormalDist()
    quantiles = [normal.inv_cdf(1 - one) for one in rates]
    wanted = normal.inv_cdf(1 - min(max(rate, STRICTEST_RATE), 0.5))
    if wanted <= quantiles[-1]:
        return float(np.interp(wanted, quantiles, thresholds))
    slope = linear_regression(quantiles[-3:], thresholds[-3:]).slope
    return float(thresholds[-1]) + max(0.0, slope) * (wanted - quantiles[-1])
