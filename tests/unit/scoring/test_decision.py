"""The decision: a table of scores, margins and speech."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from speaker_tasks.scoring import decision
from speaker_tasks.scoring.calibration import Calibration
from speaker_tasks.scoring.cohort import PLAIN, Cohort, Standing
from speaker_tasks.scoring.decision import Bar, Judge
from speaker_tasks.scoring.thresholds import OperatingPoints

BAR = Bar(threshold=0.6, near=0.5, margin=0.03, speech=1.0)


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
    found = decision.identify(score, margin, speech, BAR)
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
    found = decision.verify(score, speech, BAR)
    assert (found.outcome, found.reason) == (outcome, reason)


def test_without_a_calibrated_threshold_nobody_is_named() -> None:
    judge = Judge.of_card({})
    assert judge.threshold(4.0, 10) is None
    assert judge.same_speaker(0.9, 4.0) is None
    assert judge.posteriors([0.9, 0.1], 4.0, 2) == [None, None]
    found = decision.identify(0.99, 0.5, 4.0, judge.bar(4.0, 10))
    assert (found.outcome, found.reason) == ("inconclusive", "not_calibrated")


class TestJudge:
    @pytest.fixture
    def judge(self) -> Judge:
        points = _points()
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
        fitted = {"operating": {**stricter.to_dict(), "rates": judge.points.rates[:9]}}
        own = Judge.of_bank(fitted, judge)
        assert own.source == "bank"
        assert own.threshold(4.0, 1) == pytest.approx(0.9)
        assert own.calibration is judge.calibration
        seen = replace(judge, cohort=Cohort(np.eye(40, 16, dtype=np.float32)))
        assert Judge.of_bank(fitted, seen).calibration is None, "the model's is of standings, the bank's of cosines"

    def test_with_a_cohort_the_threshold_is_another_for_each_voice(self, judge: Judge) -> None:
        drawn = np.random.default_rng(0).normal(size=(60, 16))
        cohort = Cohort((drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32))
        seen = replace(judge, cohort=cohort)
        alike = cohort.vectors.mean(axis=0) / np.linalg.norm(cohort.vectors.mean(axis=0))
        common, rare = Standing(1.0, 0.9), Standing(1.0, 0.1)
        plain = judge.threshold(4.0, 1) or 0
        assert seen.threshold(4.0, 1, rare) == pytest.approx(plain + 0.1)
        assert seen.threshold(4.0, 1, common) == 1.0, "no cosine is higher"
        assert seen.bar(4.0, 1, standing=rare).near == pytest.approx(judge.bar(4.0, 1).near + 0.1)
        assert seen.bar(4.0, 1, override=0.3, standing=common).threshold == 0.3
        assert len(seen.standings(alike, cohort.vectors[:3])) == 3
        assert judge.standings(alike, cohort.vectors[:3]) == [PLAIN] * 3

    def test_the_margin_grows_with_the_bank_and_shrinks_with_speech(self) -> None:
        random = np.random.default_rng(0)
        leads = {1.0: [random.normal(-0.3, 0.1, 50_000)], 8.0: [random.normal(-0.4, 0.1, 50_000)]}
        card = {"operating": {**_points().to_dict(), "margins": OperatingPoints.fit(leads).to_dict()}}
        judge = Judge.of_card(card)
        assert judge.margin(1.0, 20) > judge.margin(8.0, 20)
        assert judge.margin(1.0, 2000) > judge.margin(1.0, 20)
        assert judge.margin(8.0, 1) == decision.LEAST_MARGIN
        assert judge.bar(1.0, 20).margin == judge.margin(1.0, 20)

    def test_the_cards_least_speech_is_asked_of_banks_and_pairs_alike(self) -> None:
        card = {"operating": {**_points().to_dict(), "least_speech": 0.7}, "pairs": _points().to_dict()}
        assert Judge.of_card(card).bar(4.0, 10).speech == 0.7
        assert Judge.of_pairs(card).bar(4.0, 1).speech == 0.7

    def test_a_card_of_older_weights_leaves_margin_and_speech_as_they_were(self, judge: Judge) -> None:
        bar = judge.bar(4.0, 10)
        assert (bar.margin, bar.speech) == (0.03, 1.0)

    def test_what_the_settings_say_goes_before_the_card(self, judge: Judge) -> None:
        bar = judge.with_settings(margin=0.1, least_speech=2.5).bar(4.0, 10)
        assert (bar.margin, bar.speech) == (0.1, 2.5)
        assert judge.with_settings(margin=None, least_speech=None).bar(4.0, 10) == judge.bar(4.0, 10)

    def test_a_threshold_of_the_callers_goes_before_all(self, judge: Judge) -> None:
        assert judge.bar(4.0, 10, override=0.33).threshold == 0.33


def _points() -> OperatingPoints:
    return OperatingPoints.fit({4.0: [np.random.default_rng(0).normal(0, 0.15, 20_000)]})
