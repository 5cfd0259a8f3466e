"""Error rates against hand-counted trials."""

import numpy as np
import pytest

from speaker_tasks.scoring.metrics import ErrorCurve


def test_separated_scores_have_no_errors():
    curve = ErrorCurve.of(np.array([0.9, 0.8]), np.array([0.1, 0.2, 0.3]))
    assert curve.eer() == 0.0
    assert curve.min_dcf() == 0.0


def test_eer_of_a_hand_counted_list():
    # Of four targets one scores below one of the four impostors: at the crossing each rate is 1/4.
    curve = ErrorCurve.of(np.array([0.9, 0.8, 0.7, 0.3]), np.array([0.4, 0.2, 0.1, 0.0]))
    assert curve.eer() == pytest.approx(0.25)


def test_reversed_scores_are_all_wrong():
    assert ErrorCurve.of(np.array([0.0, 0.1]), np.array([0.8, 0.9])).eer() == pytest.approx(1.0)


def test_random_scores_are_a_coin():
    rng = np.random.default_rng(0)
    assert ErrorCurve.of(rng.normal(size=4000), rng.normal(size=4000)).eer() == pytest.approx(0.5, abs=0.03)


def test_tied_scores_are_accepted_or_rejected_together():
    curve = ErrorCurve.of(np.array([0.5, 0.5]), np.array([0.5, 0.5]))
    assert list(curve.false_accepts) == [0.0, 1.0]
    assert curve.eer() == pytest.approx(0.5)


def test_min_dcf_weighs_false_accepts_by_their_prior():
    # Rejecting everything costs prior x 1, which is the normaliser: one impostor above all targets leaves just that.
    curve = ErrorCurve.of(np.array([0.1]), np.array([0.9]))
    assert curve.min_dcf(0.01) == pytest.approx(1.0)


def test_threshold_at_a_false_accept_rate_keeps_it():
    rng = np.random.default_rng(1)
    target, impostor = rng.normal(2, 1, 500), rng.normal(0, 1, 1000)
    threshold = ErrorCurve.of(target, impostor).threshold_at(0.01)
    assert np.mean(impostor >= threshold) <= 0.01
    assert np.mean(impostor >= threshold - 0.2) > 0.01


def test_rates_at_a_threshold_count_the_trials():
    target, impostor = np.array([0.9, 0.6, 0.4]), np.array([0.7, 0.2])
    assert ErrorCurve.of(target, impostor).rates_at(0.5) == pytest.approx((0.5, 1 / 3))


def test_an_empty_side_is_refused():
    with pytest.raises(ValueError, match="at least one target"):
        ErrorCurve.of(np.array([]), np.array([0.1]))
