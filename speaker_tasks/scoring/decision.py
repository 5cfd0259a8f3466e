"""The decision: from the ranking of a bank's speakers to match, unknown or inconclusive, with the reason.

A match needs a score over the threshold and a margin to the best other speaker. What is too short to judge, just below
the threshold, or between two speakers is inconclusive, never a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from speaker_tasks.scoring.calibration import Calibration
from speaker_tasks.scoring.cohort import PLAIN, Cohort, Standing
from speaker_tasks.scoring.thresholds import FALSE_ACCEPT_RATE, WRONG_NAME_RATE, OperatingPoints

Outcome = Literal["match", "unknown", "inconclusive"]

LEAST_SPEECH_SECONDS = 1.0
"""With less speech than this nobody is named, where the weights' card says nothing of it."""
MARGIN = 0.03
"""The least difference in cosine to the best other speaker, where the weights' card says nothing of it."""
LEAST_MARGIN = 0.01
"""The margin is never smaller: which of two such near voices is ahead is chance."""
NEAR_RATE = 0.05
"""Near the threshold is what would pass if so large a share of strangers might."""
NEAR_BAND = 0.03
"""How near is near where no table of thresholds tells."""
STRANGER_PRIOR = 0.5
"""The probability, before anything is heard, that the speaker is not enrolled."""


@dataclass(frozen=True)
class Bar:
    """What is asked of a score: cosines, and seconds of speech."""

    threshold: float | None
    """None where nothing is known: then nobody is named."""
    near: float = 0.0
    """From here on a score below the threshold is near it."""
    margin: float = MARGIN
    """To the best other speaker."""
    speech: float = LEAST_SPEECH_SECONDS


@dataclass(frozen=True)
class Judge:
    """What is known of a model's scores, or of a bank's own: from the weights' card, or from `calibrate`."""

    points: OperatingPoints | None = None
    calibration: Calibration | None = None
    source: str = "none"
    """`model`, `bank`, `clusters` (a model's, of a recording's voices) or `none`."""
    margins: OperatingPoints | None = None
    """How far another enrolled speaker is ahead of the right one, by rate."""
    least_speech: float = LEAST_SPEECH_SECONDS
    fixed_margin: float | None = None
    """A margin of the settings, which goes before `margins`."""
    cohort: Cohort | None = None
    """Whom scores are seen against; then `points` and `calibration` are of standings, else of cosines."""

    @classmethod
    def of_card(cls, details: Mapping[str, Any]) -> Judge:
        """The model's own; without a table in the card there is no default threshold."""
        operating = details.get("operating") or {}
        fitted = operating.get("calibration") or details.get("calibration")
        margins = operating.get("margins")
        return cls(
            OperatingPoints.from_dict(operating) if operating else None,
            Calibration.from_dict(fitted) if fitted else None,
            "model" if operating else "none",
            OperatingPoints.from_dict(margins) if margins else None,
            float(operating.get("least_speech", LEAST_SPEECH_SECONDS)),
            cohort=Cohort.of_card(details),
        )

    @classmethod
    def of_pairs(cls, details: Mapping[str, Any]) -> Judge:
        """The model's own for two recordings, neither of them an enrolled speaker."""
        pairs, model = details.get("pairs") or {}, cls.of_card(details)
        fitted = pairs.get("calibration") or details.get("calibration")
        return replace(
            model,
            points=OperatingPoints.from_dict(pairs) if pairs else None,
            calibration=Calibration.from_dict(fitted) if fitted else None,
            source="model" if pairs else "none",
            cohort=model.cohort if pairs.get("standings") else None,
        )

    @classmethod
    def of_bank(cls, fitted: Mapping[str, Any], model: Judge) -> Judge:
        """A bank's own, as `calibrate` left it; what could not be fitted there stays the model's.

        Its thresholds may be of cosines though the model's are of standings: then the model's calibration says nothing.
        """
        operating = fitted["operating"]
        own, cohort = operating.get("calibration"), model.cohort if operating.get("standings") else None
        return replace(
            model,
            points=OperatingPoints.from_dict(operating),
            calibration=Calibration.from_dict(own) if own else model.calibration if cohort is model.cohort else None,
            source="bank",
            cohort=cohort,
        )

    def with_settings(self, *, margin: float | None, least_speech: float | None) -> Judge:
        """The same, but with what the settings say of margin and speech, where they say something."""
        return replace(
            self, fixed_margin=margin, least_speech=self.least_speech if least_speech is None else least_speech
        )

    def standings(self, voice: np.ndarray, enrolled: np.ndarray) -> list[Standing]:
        """How the cosines between a voice (D,) and enrolled vectors (K, D) are read."""
        return [PLAIN] * len(enrolled) if self.cohort is None else self.cohort.standings(voice, enrolled)

    def bar(
        self,
        seconds: float,
        speakers: int,
        override: float | None = None,
        standing: Standing = PLAIN,
        *,
        voices: int = 1,
    ) -> Bar:
        """What is asked of a recording with `seconds` of speech in a bank; `override` is a threshold of the caller's.

        `standing` is how the best speaker's cosine is read; the thresholds are cosines. The rate of false accepts is
        that of `voices` together, each of which is tried against each speaker.
        """
        trials = speakers * voices
        threshold = self.threshold(seconds, trials, standing) if override is None else override
        near = 0.0 if threshold is None else self.near(threshold, seconds, trials, standing)
        return Bar(threshold, near, self.margin(seconds, speakers), self.least_speech)

    def margin(self, seconds: float, speakers: int) -> float:
        """The cosine by which the best speaker must be ahead of the next, so that few get another's name."""
        if self.fixed_margin is not None:
            return self.fixed_margin
        if self.margins is None:
            return MARGIN
        return max(LEAST_MARGIN, self.margins.for_bank(WRONG_NAME_RATE, seconds, speakers - 1))

    def threshold(self, seconds: float, speakers: int, standing: Standing = PLAIN) -> float | None:
        """The cosine to ask for, 1 at most, or None if nothing is known."""
        if self.points is None:
            return None
        return min(1.0, standing.cosine(self.points.for_bank(FALSE_ACCEPT_RATE, seconds, speakers)))

    def near(self, threshold: float, seconds: float, speakers: int, standing: Standing = PLAIN) -> float:
        """The cosine from which on a score below the threshold is near it."""
        if self.points is None:
            return threshold - NEAR_BAND
        strict, lenient = (self.points.for_bank(rate, seconds, speakers) for rate in (FALSE_ACCEPT_RATE, NEAR_RATE))
        return threshold - max(0.0, strict - lenient) / standing.slope

    def same_speaker(self, score: float, seconds: float) -> float | None:
        """The probability that two sides are one person, equal odds given before; None if not calibrated.

        `score` is a standing where there is a cohort, here and in `posteriors`.
        """
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


def identify(score: float, margin: float | None, speech: float, bar: Bar) -> Decision:
    """Decide on the best speaker of a bank. `margin` is None if nobody else is enrolled."""
    if speech < bar.speech:
        return _too_little(speech, bar)
    if bar.threshold is None:
        return _uncalibrated()
    if score >= bar.threshold and margin is not None and margin < bar.margin:
        text = f"two speakers are alike: the margin is {margin:.3f}, at least {bar.margin:.3f} is wanted"
        return Decision("inconclusive", "small_margin", text)
    return _by_threshold(score, bar.threshold, bar.near)


def verify(score: float, speech: float, bar: Bar) -> Decision:
    """Decide whether a voice is the claimed one, or two recordings are of one voice."""
    if speech < bar.speech:
        return _too_little(speech, bar)
    return _uncalibrated() if bar.threshold is None else _by_threshold(score, bar.threshold, bar.near)


def _by_threshold(score: float, threshold: float, near: float) -> Decision:
    if score >= threshold:
        return Decision("match", "above_threshold", f"score {score:.3f} reaches the threshold {threshold:.3f}")
    if score >= near:
        text = f"score {score:.3f} is just below the threshold {threshold:.3f}"
        return Decision("inconclusive", "near_threshold", text)
    return Decision("unknown", "below_threshold", f"score {score:.3f} is below the threshold {threshold:.3f}")


def _too_little(speech: float, bar: Bar) -> Decision:
    text = f"{speech:.2f} s of speech; at least {bar.speech:g} s are wanted to name anyone"
    return Decision("inconclusive", "too_little_speech", text)


def _uncalibrated() -> Decision:
    text = "neither the model nor the bank has a calibrated threshold: give one, or run `speaker-tasks calibrate`"
    return Decision("inconclusive", "not_calibrated", text)
