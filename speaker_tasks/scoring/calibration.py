"""From cosine scores to log-likelihood ratios: logistic calibration by score and seconds of speech.

Brümmer and du Preez, *Application-independent evaluation of speaker detection*, 2006. The ratio is linear in the score,
in the logarithm of the shorter clip's speech, and in their product: with little speech a score says less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

REFERENCE_SECONDS = 4.0
_RIDGE = 1e-3
_STEPS = 50


@dataclass(frozen=True)
class Calibration:
    """llr = bias + score x by_score + x (by_seconds + score x by_both), where x = log(seconds / 4)."""

    bias: float
    by_score: float
    by_seconds: float
    by_both: float

    @classmethod
    def fit(cls, scores: np.ndarray, seconds: np.ndarray, target: np.ndarray) -> Calibration:
        """Fit on trials: `(N,)` cosines, `(N,)` seconds of speech of the shorter side, `(N,)` whether one speaker.

        Targets and impostors weigh the same in all, so that the fitted log-odds are the log-likelihood ratio. Newton's
        method on the logistic loss with a small ridge. Raises ValueError when one of the two kinds is missing.
        """
        if target.all() or not target.any():
            raise ValueError("calibration needs trials of one speaker and of two")
        design = _design(scores, seconds)
        weight = np.where(target, 0.5 / target.sum(), 0.5 / (~target).sum())
        coefficients = np.zeros(design.shape[1])
        ridge = _RIDGE * np.diag([0.0, 0.0, 1.0, 1.0]) / REFERENCE_SECONDS
        for _ in range(_STEPS):
            probability = _sigmoid(design @ coefficients)
            gradient = design.T @ (weight * (probability - target)) + ridge @ coefficients
            curvature = (design * (weight * probability * (1 - probability))[:, None]).T @ design + ridge
            step = np.linalg.solve(curvature + 1e-9 * np.eye(len(curvature)), gradient)
            coefficients -= step
            if np.abs(step).max() < 1e-8:
                break
        return cls(*map(float, coefficients))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` wrote; raises TypeError or KeyError on anything else."""
        return cls(*(float(data[name]) for name in ("bias", "by_score", "by_seconds", "by_both")))

    def to_dict(self) -> dict[str, float]:
        """The coefficients as JSON, for a weights card."""
        return asdict(self)

    def llr(self, scores: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """Log-likelihood ratios (natural) of `(N,)` cosines at `(N,)` seconds of speech."""
        scores, duration = np.asarray(scores, np.float64), _duration(np.asarray(seconds))
        return self.bias + self.by_score * scores + duration * (self.by_seconds + self.by_both * scores)

    def probability(self, scores: np.ndarray, seconds: np.ndarray, prior: float = 0.5) -> np.ndarray:
        """Posterior probability that the two sides are one speaker, for a prior in (0, 1)."""
        return _sigmoid(self.llr(scores, seconds) + math.log(prior / (1 - prior)))


def cllr(llr: np.ndarray, target: np.ndarray) -> float:
    """Cost of log-likelihood ratios in bits: 0 is perfect, 1 says nothing."""
    misses = np.logaddexp(0, -llr[target]).mean()
    alarms = np.logaddexp(0, llr[~target]).mean()
    return float((misses + alarms) / (2 * math.log(2)))


def _design(scores: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    duration = _duration(seconds)
    return np.stack([np.ones_like(scores), scores, duration, scores * duration], axis=-1).astype(np.float64)


def _duration(seconds: np.ndarray) -> np.ndarray:
    return np.log(np.minimum(np.maximum(seconds, 0.2), 60.0) / REFERENCE_SECONDS)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -500, 500)))
