"""The decision: a table of scores, margins and speech."""

from __future__ import annotations

import numpy as np
import pytest

from speaker_tasks.embedding.calibration import Calibration
from speaker_tasks.embedding.operating import OperatingPoints
from speaker_tasks.tasks import decision
from speaker_tasks.tasks.decision import Judge

THRESHOLD, NEAR = 0.6, 0.5


@pytest.mark.parametrize(
    ("score", "margin", "speech", "outcome", "reason"),
    [
        (0.8, 0.3, 4.0, "match", "above_threshold"),
        (0.6, 0.03, 4.0, "match", "above_threshold"),
        (0.8, None, 4.0, "match", "above_threshold"),
        (0.8, 0.01, 4.0, "inconclusive", "small_margin"),
        (0.55, 0.3, 4.0, "inconclusive", "near_threshold"),
        (0.49, 0.3, 4.0, "unknown", "below_threshold"),
        (0.1, 0.0, 4.0, "unknown", "below_threshold"),
        (0.9, 0.5, 0.8, "inconclusive", "too_little_speech"),
    ],
)
def test_identify(score: float, margin: float | None, speech: float, outcome: str, reason: str) -> None:
    found = decision.identify(score, margin, speech, THRESHOLD, NEAR)
    assert (found.outcome, found.reason) == (outcome, reason)
    assert found.message


@pytest.mark.parametrize(
    ("score", "speech", "outcome", "reason"),
    [
        (0.61, 4.0, "match", "above_threshold"),
        (0.55, 4.0, "inconclusive", "near_threshold"),
        (0.2, 4.0, "unknown", "below_threshold"),
        (0.9, 0.5, "inconclusive", "too_little_speech"),
    ],
)
def test_verify(score: float, speech: float, outcome: str, reason: str) -> None:
    found = decision.verify(score, speech, THRESHOLD, NEAR)
    assert (found.outcome, found.reason) == (outcome, reason)


def test_without_a_calibrated_threshold_nobody_is_named() -> None:
    judge = Judge.of_card({})
    assert judge.threshold(4.0, 10) is None
    assert judge.same_speaker(0.9, 4.0) is None
    assert judge.posteriors([0.9, 0.1], 4.0, 2) == [None, None]
    found = decision.identify(0.99, 0.5, 4.0, None, 0.0)
    assert (found.outcome, found.reason) == ("inconclusive", "not_calibrated")


class TestJudge:
    @pytest.fixture
    def judge(self) -> Judge:
        random = np.random.default_rng(0)
        points = OperatingPoints.fit({4.0: random.normal(0, 0.15, 20_000)})
        fitted = Calibration(bias=-6, by_score=15, by_seconds=0, by_both=2)
        return Judge.of_card({"operating": {**points.to_dict(), "calibration": fitted.to_dict()}})

    def test_near_is_below_the_threshold_and_moves_with_the_bank(self, judge: Judge) -> None:
        for people in (1, 100):
            threshold = judge.threshold(4.0, people)
            assert threshold is not None
            assert judge.near(threshold, 4.0, people) < threshold
        assert (judge.threshold(4.0, 100) or 0) > (judge.threshold(4.0, 1) or 0)

    def test_probabilities_share_one_between_the_people_and_a_stranger(self, judge: Judge) -> None:
        sure = judge.posteriors([0.9, 0.1, 0.0], 4.0, 3)
        assert sure[0] is not None
        assert sure[0] > 0.95
        assert sum(value or 0 for value in sure) <= 1
        torn = judge.posteriors([0.7, 0.7], 4.0, 2)
        assert torn[0] == torn[1]
        assert (torn[0] or 0) < 0.5
        assert (judge.posteriors([0.0, -0.1], 4.0, 2)[0] or 0) < 0.05

    def test_less_speech_is_less_sure(self, judge: Judge) -> None:
        assert (judge.same_speaker(0.7, 1.0) or 0) < (judge.same_speaker(0.7, 8.0) or 0)

    def test_a_banks_own_thresholds_go_before_the_models(self, judge: Judge) -> None:
        assert judge.points is not None
        stricter = OperatingPoints(judge.points.seconds, judge.points.rates, tuple((0.9,) * 9 for _ in (0,)))
        own = Judge.of_bank({"operating": {**stricter.to_dict(), "rates": judge.points.rates[:9]}}, judge)
        assert own.source == "bank"
        assert own.threshold(4.0, 1) == pytest.approx(0.9)
        assert own.calibration == judge.calibration
