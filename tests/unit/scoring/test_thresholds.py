"""Which cosine to ask for: by rate, by seconds, by people enrolled."""

from __future__ import annotations

import json

import numpy as np
import pytest

from speaker_tasks.scoring.thresholds import OperatingPoints, least_speech, trial_rate


@pytest.fixture
def points() -> OperatingPoints:
    """Impostors whose scores scatter more with less speech."""
    random = np.random.default_rng(0)
    return OperatingPoints.fit({2.0: [random.normal(0, 0.2, 50_000)], 8.0: [random.normal(0, 0.1, 50_000)]})


def test_the_threshold_lets_through_the_share_that_was_asked_for(points: OperatingPoints) -> None:
    strangers = np.random.default_rng(1).normal(0, 0.1, 100_000)
    assert np.mean(strangers >= points.threshold(0.01, 8.0)) == pytest.approx(0.01, abs=0.002)


def test_a_bank_of_many_is_stricter_so_that_the_best_of_its_scores_keeps_the_rate(points: OperatingPoints) -> None:
    random = np.random.default_rng(2)
    for people in (1, 10, 100, 1000):
        best = random.normal(0, 0.1, (3_000, people)).max(axis=1)
        assert np.mean(best >= points.for_bank(0.01, 8.0, people)) == pytest.approx(0.01, abs=0.008)


def test_between_two_lengths_the_threshold_lies_between_theirs(points: OperatingPoints) -> None:
    short, middle, long = (points.threshold(0.01, seconds) for seconds in (2.0, 4.0, 8.0))
    assert long < middle < short
    assert points.threshold(0.01, 60.0) == long
    assert points.threshold(0.01, 0.1) == short


def test_thresholds_rise_as_the_rate_falls_beyond_what_was_measured(points: OperatingPoints) -> None:
    found = [points.threshold(rate, 3.0) for rate in (0.3, 0.2, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)]
    assert found == sorted(found)
    assert len(set(found)) > 5


def test_the_table_survives_the_card(points: OperatingPoints) -> None:
    assert OperatingPoints.from_dict(json.loads(json.dumps(points.to_dict()))) == points


@pytest.mark.parametrize("broken", [{}, {"seconds": [1.0], "rates": [0.1, 0.01], "thresholds": [[0.5]]}])
def test_a_broken_table_is_refused(broken: dict[str, object]) -> None:
    with pytest.raises((KeyError, ValueError)):
        OperatingPoints.from_dict(broken)


def test_too_few_trials_give_no_threshold() -> None:
    with pytest.raises(ValueError, match="too few"):
        OperatingPoints.fit({4.0: [np.zeros(50)]})


def test_a_trial_rate_shrinks_with_the_bank() -> None:
    assert trial_rate(0.01, 1) == pytest.approx(0.01)
    assert trial_rate(0.01, 100) == pytest.approx(0.0001, rel=0.01)


def test_a_small_corpus_weighs_as_much_as_a_large_one() -> None:
    random = np.random.default_rng(0)
    large, small = random.normal(0, 0.1, 90_000), random.normal(0.3, 0.1, 9_000)
    threshold = OperatingPoints.fit({4.0: [large, small]}).threshold(0.1, 4.0)
    shares = np.mean(large >= threshold), np.mean(small >= threshold)
    assert np.mean(shares) == pytest.approx(0.1, abs=0.005)


def test_a_rate_is_measured_only_where_enough_trials_say_so() -> None:
    random = np.random.default_rng(0)
    points = OperatingPoints.fit({4.0: [random.normal(0, 0.1, 5_000)], 8.0: [random.normal(0, 0.1, 50_000)]})
    assert points.rates[-1] == 0.002


@pytest.mark.parametrize(
    ("eers", "seconds"),
    [
        ({0.5: 0.05, 1.0: 0.02}, 0.5),
        ({0.5: 0.2, 1.0: 0.1, 2.0: 0.05}, 1.0),
        ({0.5: 0.15, 1.0: 0.05}, 0.71),
        ({0.5: 0.4, 1.0: 0.3}, 1.0),
    ],
)
def test_the_least_speech_is_where_one_trial_in_ten_is_decided_wrongly(
    eers: dict[float, float], seconds: float
) -> None:
    assert least_speech(eers) == pytest.approx(seconds, abs=0.01)
