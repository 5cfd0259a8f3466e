"""Calibration and the evaluation report, on made-up voices with known errors."""

import numpy as np
import pytest

from speaker_tasks.scoring.calibration import Calibration, cllr
from speaker_tasks.scoring.evaluation import Identification, Report, Trials, Utterances
from speaker_tasks.scoring.plots import det_curve, score_histogram


def voices(speakers: int, clips: int, spread: float, seed: int = 0) -> Utterances:
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(speakers, 32)), clips, axis=0)
    vectors = centres + spread * rng.normal(size=centres.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"{speaker}/{clip}.wav" for speaker in range(speakers) for clip in range(clips)]
    labels = np.repeat([f"speaker {index}" for index in range(speakers)], clips)
    return Utterances(names, labels, vectors.astype(np.float32), rng.uniform(1, 8, len(names)))


def test_calibrated_log_odds_are_those_of_known_gaussians():
    # Scores N(1, 1) and N(0, 1) have the log-likelihood ratio s - 0.5.
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.normal(1, 1, 40_000), rng.normal(0, 1, 60_000)])
    target = np.arange(len(scores)) < 40_000
    calibration = Calibration.fit(scores, np.full(len(scores), 4.0), target)
    llr = calibration.llr(np.array([0.5, 2.0]), np.array([4.0, 4.0]))
    assert llr == pytest.approx([0.0, 1.5], abs=0.06)


def test_less_speech_makes_a_score_say_less():
    rng = np.random.default_rng(0)
    seconds = rng.uniform(0.5, 16, 40_000)
    target = rng.random(len(seconds)) < 0.5
    scores = target + rng.normal(0, 2 / np.sqrt(seconds))
    calibration = Calibration.fit(scores, seconds, target)
    short, long = calibration.llr(np.array([1.5, 1.5]), np.array([1.0, 10.0]))
    assert 0 < short < long


def test_probability_follows_the_prior():
    calibration = Calibration(0.0, 1.0, 0.0, 0.0)
    scores, seconds = np.array([0.0]), np.array([4.0])
    assert calibration.probability(scores, seconds)[0] == pytest.approx(0.5)
    assert calibration.probability(scores, seconds, prior=0.01)[0] == pytest.approx(0.01)


def test_calibration_survives_json():
    calibration = Calibration(-3.0, 12.5, 0.25, 1.0)
    assert Calibration.from_dict(calibration.to_dict()) == calibration


def test_calibration_needs_both_kinds_of_trials():
    with pytest.raises(ValueError, match="one speaker and of two"):
        Calibration.fit(np.ones(3), np.ones(3), np.ones(3, bool))


def test_cllr_is_one_bit_when_nothing_is_said():
    assert cllr(np.zeros(10), np.arange(10) < 5) == pytest.approx(1.0)


def test_distinct_voices_are_all_identified():
    report = Report.of("test", voices(6, 5, 0.1))
    assert report.curve.eer() == 0.0
    assert report.identification.top1 == 1.0
    assert report.identification.trials == 12


def test_a_swapped_clip_is_named_in_the_confusions():
    utterances = voices(4, 5, 0.05)
    vectors = utterances.vectors.copy()
    vectors[4] = vectors[5]  # the last clip of speaker 0 sounds like speaker 1
    identification = Identification.of(Utterances(utterances.names, utterances.speakers, vectors, utterances.seconds))
    assert identification.confusions == [{"speaker": "speaker 0", "answered": "speaker 1", "times": 1}]


def test_no_clips_to_spare_means_no_identification():
    assert Identification.of(voices(3, 3, 0.1)) is None


def test_noisier_voices_have_more_errors_and_the_report_is_json():
    quiet, noisy = (Report.of("test", voices(20, 5, spread)).to_dict() for spread in (0.5, 2.0))
    assert quiet["eer"] < noisy["eer"] < 0.5
    assert [row["target_far"] for row in noisy["thresholds"]] == sorted(
        (row["target_far"] for row in noisy["thresholds"]), reverse=True
    )


def test_listed_trials_are_scored_as_given():
    utterances = voices(2, 2, 0.1)
    trials = Trials.of_pairs(utterances, np.array([0, 0]), np.array([1, 2]), np.array([True, False]))
    assert trials.scores[0] == pytest.approx(float(utterances.vectors[0] @ utterances.vectors[1]), abs=1e-6)
    assert trials.seconds[1] == min(utterances.seconds[0], utterances.seconds[2])


def test_pictures_are_written(tmp_path):
    report = Report.of("test", voices(10, 5, 1.0))
    det_curve({"test": report.curve}, tmp_path / "det.png")
    score_histogram(report.trials, report.curve.eer_threshold(), tmp_path / "scores.png")
    assert (tmp_path / "det.png").stat().st_size > 5_000
    assert (tmp_path / "scores.png").stat().st_size > 5_000


def test_pairs_are_told_apart_by_speaker() -> None:
    clips = Utterances.nameless(np.array(["a", "a", "b"]), np.eye(3, dtype=np.float32), np.array([1.0, 2.0, 3.0]))
    trials = Trials.all_pairs(clips)
    assert (trials.target.sum(), (~trials.target).sum()) == (1, 2)
    assert list(trials.seconds) == [1.0, 1.0, 2.0]
