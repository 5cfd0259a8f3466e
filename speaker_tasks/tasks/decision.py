"""The decision: from the ranking of a bank's speakers to match, unknown or inconclusive, with the reason.

A match needs a score over the threshold and a margin to the best other speaker. What is too short to judge, just below
the threshold, or between two speakers is inconclusive, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from speaker_tasks.embedding.calibration import Calibration
from speaker_tasks.embedding.operating import FALSE_ACCEPT_RATE, OperatingPoints

Outcome = Literal["match", "unknown", "inconclusive"]

MIN_SPEECH_SECONDS = 1.0
"""With less speech than this nobody is named."""
MIN_MARGIN = 0.03
"""The least difference in cosine to the best other speaker."""
NEAR_RATE = 0.05
"""Near the threshold is what would pass if so large a share of strangers might."""
NEAR_BAND = 0.03
"""How near is near where no table of thresholds tells."""
STRANGER_PRIOR = 0.5
"""The probability, before anything is heard, that the speaker is not enrolled."""


@dataclass(frozen=True)
class Judge:
    """What is known of a model's scores, or of a bank's own: from the weights' card, or from `calibrate`."""

    points: OperatingPoints | None = None
    calibration: Calibration | None = None
    source: str = "none"
    """`model`, `bank` or `none`."""

    @classmethod
    def of_card(cls, details: Mapping[str, Any]) -> Judge:
        """The model's own; without a table in the card there is no default threshold."""
        operating = details.get("operating")
        fitted = (operating or {}).get("calibration") or details.get("calibration")
        return cls(
            OperatingPoints.from_dict(operating) if operating else None,
            Calibration.from_dict(fitted) if fitted else None,
            "model" if operating else "none",
        )

    @classmethod
    def of_pairs(cls, details: Mapping[str, Any]) -> Judge:
        """The model's own for two recordings, neither of them an enrolled speaker."""
        pairs, fitted = details.get("pairs"), details.get("calibration")
        return cls(
            OperatingPoints.from_dict(pairs) if pairs else None,
            Calibration.from_dict(fitted) if fitted else None,
            "model" if pairs else "none",
        )

    @classmethod
    def of_bank(cls, fitted: Mapping[str, Any], model: Judge) -> Judge:
        """A bank's own, as `calibrate` left it; probabilities stay the model's where too little was there to fit."""
        operating = fitted["operating"]
        own = operating.get("calibration")
        points = OperatingPoints.from_dict(operating)
        return cls(points, Calibration.from_dict(own) if own else model.calibration, "bank")

    def threshold(self, seconds: float, speakers: int, rate: float = FALSE_ACCEPT_RATE) -> float | None:
        """The cosine to ask for, or None if nothing is known."""
        return None if self.points is None else self.points.for_bank(rate, seconds, speakers)

    def near(self, threshold: float, seconds: float, speakers: int) -> float:
        """The cosine from which on a score below the threshold is near it."""
        if self.points is None:
            return threshold - NEAR_BAND
        strict = self.points.for_bank(FALSE_ACCEPT_RATE, seconds, speakers)
        return threshold - max(0.0, strict - self.points.for_bank(NEAR_RATE, seconds, speakers))

    def same_speaker(self, score: float, seconds: float) -> float | None:
        """The probability that two sides are one person, equal odds given before; None if not calibrated."""
        if self.calibration is None:
            return None
        return round(float(self.calibration.probability(np.array([score]), np.array([seconds]))[0]), 4)

    def posteriors(self, scores: Sequence[float], seconds: float, speakers: int) -> list[float | None]:
        """For each ranked speaker the probability that it is them and neither another of them nor a stranger.

        Before, a stranger is as likely as all `speakers` together, who are equally likely.
        """
        if self.calibration is None or not scores:
            return [None] * len(scores)
        ratios = self.calibration.llr(np.array(scores), np.full(len(scores), seconds))
        weights = ratios + math.log((1 - STRANGER_PRIOR) / max(1, speakers))
        whole = np.logaddexp.reduce(np.append(weights, math.log(STRANGER_PRIOR)))
        return [round(float(value), 4) for value in np.exp(weights - whole)]


@dataclass(frozen=True)
class Decision:
    """What was decided and why; `message` is for people."""

    outcome: Outcome
    reason: str
    message: str


def identify(score: float, margin: float | None, speech: float, threshold: float | None, near: float) -> Decision:
    """Decide on the best speaker of a bank. `margin` is None if nobody else is enrolled."""
    if speech < MIN_SPEECH_SECONDS:
        return _too_little(speech)
    if threshold is None:
        return _uncalibrated()
    if score >= threshold and (margin is None or margin >= MIN_MARGIN):
        return Decision("match", "above_threshold", f"score {score:.3f} reaches the threshold {threshold:.3f}")
    if score >= threshold:
        text = f"two speakers are alike: the margin is {margin:.3f}, at least {MIN_MARGIN} is wanted"
        return Decision("inconclusive", "small_margin", text)
    return _below(score, threshold, near)


def verify(score: float, speech: float, threshold: float | None, near: float) -> Decision:
    """Decide whether a voice is the claimed one, or two recordings are of one voice."""
    if speech < MIN_SPEECH_SECONDS:
        return _too_little(speech)
    if threshold is None:
        return _uncalibrated()
    if score >= threshold:
        return Decision("match", "above_threshold", f"score {score:.3f} reaches the threshold {threshold:.3f}")
    return _below(score, threshold, near)


def _below(score: float, threshold: float, near: float) -> Decision:
    if score >= near:
        text = f"score {score:.3f} is just below the threshold {threshold:.3f}"
        return Decision("inconclusive", "near_threshold", text)
    return Decision("unknown", "below_threshold", f"score {score:.3f} is below the threshold {threshold:.3f}")


def _too_little(speech: float) -> Decision:
    text = f"{speech:.2f} s of speech; at least {MIN_SPEECH_SECONDS} s are wanted to name anyone"
    return Decision("inconclusive", "too_little_speech", text)


def _uncalibrated() -> Decision:
    text = "neither the model nor the bank has a calibrated threshold: give one, or run `speaker-tasks calibrate`"
    return Decision("inconclusive", "not_calibrated", text)
