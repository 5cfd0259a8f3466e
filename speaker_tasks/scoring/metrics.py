"""Measures of verification: EER, minDCF, thresholds. Scores are similarities: higher is more alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ErrorCurve:
    """False accepts and false rejects at every threshold, from strict to lenient.

    `thresholds`, `false_accepts` and `false_rejects` are `(K,)`: a trial is accepted when its score >= the threshold.
    """

    thresholds: np.ndarray
    false_accepts: np.ndarray
    false_rejects: np.ndarray

    @classmethod
    def of(cls, target: np.ndarray, impostor: np.ndarray) -> ErrorCurve:
        """The curve of `(P,)` scores of target trials and `(N,)` of impostor trials; both must hold some."""
        if not len(target) or not len(impostor):
            raise ValueError("an error curve needs at least one target and one impostor trial")
        scores = np.concatenate([target, impostor])
        is_target = np.concatenate([np.ones(len(target), bool), np.zeros(len(impostor), bool)])
        order = np.argsort(-scores, kind="stable")
        scores, is_target = scores[order], is_target[order]
        last_of_tie = np.append(scores[1:] != scores[:-1], True)
        accepted_impostors = np.cumsum(~is_target)[last_of_tie]
        accepted_targets = np.cumsum(is_target)[last_of_tie]
        return cls(
            thresholds=np.append(np.inf, scores[last_of_tie]),
            false_accepts=np.append(0.0, accepted_impostors / len(impostor)),
            false_rejects=np.append(1.0, 1.0 - accepted_targets / len(target)),
        )

    def eer(self) -> float:
        """Equal error rate in [0, 1], interpolated where the two rates cross."""
        difference = self.false_accepts - self.false_rejects
        after = self._crossing()
        before = after - 1
        span = difference[after] - difference[before]
        share = -difference[before] / span
        return float(self.false_accepts[before] + share * (self.false_accepts[after] - self.false_accepts[before]))

    def eer_threshold(self) -> float:
        """The threshold at which the two rates are nearest to equal."""
        return float(self.thresholds[self._crossing()])

    def min_dcf(self, prior: float = 0.01) -> float:
        """Minimum detection cost for unit costs, normalised by the best blind decision (NIST SRE)."""
        cost = prior * self.false_rejects + (1 - prior) * self.false_accepts
        return float(cost.min() / min(prior, 1 - prior))

    def threshold_at(self, false_accept_rate: float) -> float:
        """The most lenient threshold whose false accepts stay at or below the rate; inf when none does."""
        allowed = np.flatnonzero(self.false_accepts <= false_accept_rate)
        return float(self.thresholds[allowed[-1]])

    def rates_at(self, threshold: float) -> tuple[float, float]:
        """(false accepts, false rejects) at a threshold."""
        accepted = np.flatnonzero(self.thresholds >= threshold)[-1]
        return float(self.false_accepts[accepted]), float(self.false_rejects[accepted])

    def _crossing(self) -> int:
        """The first point whose false accepts are no fewer than its false rejects; never the strictest."""
        return int(np.argmax(self.false_accepts >= self.false_rejects))
