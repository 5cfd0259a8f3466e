"""A bank's own thresholds: fitted leave-one-out, or plainly refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from banks.bank import Bank, Clips
from banks.editing import new
from speaker_tasks.commands.calibrate import fit, leave_one_out, model_cohort
from speaker_tasks.embedding import weights
from speaker_tasks.errors import Unusable
from speaker_tasks.scoring.cohort import Cohort
from speaker_tasks.scoring.decision import Judge
from speaker_tasks.settings import Settings


def bank(people: int, clips: int, *, spread: float, seed: int = 0) -> Bank:
    """People whose clips scatter by `spread` round a voice of their own, in 64 dimensions."""
    random = np.random.default_rng(seed)
    voices = random.normal(size=(people, 64))
    voices /= np.linalg.norm(voices, axis=1, keepdims=True)
    vectors = np.repeat(voices, clips, axis=0) + random.normal(0, spread, (people * clips, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    count = len(vectors)
    kept = Clips(
        tuple(map(str, range(count))),
        np.repeat(np.arange(people), clips),
        vectors.astype(np.float32),
        random.uniform(2, 9, count).astype(np.float32),
        np.ones(count, np.int64),
        ("",) * count,
        (None,) * count,
    )
    return new([f"p{n}" for n in range(people)], kept, "compact", size=64)


def test_a_clip_is_never_tried_against_itself() -> None:
    made = bank(6, 4, spread=0.1)
    trials = leave_one_out(made)
    scores, target = trials.scores, trials.target
    assert len(scores) == len(target) == len(trials.seconds) == 24 * 6
    assert target.sum() == 24
    clips = made.clips
    assert clips is not None
    others = clips.vectors[1:4].mean(axis=0)
    assert scores[target][0] == pytest.approx(clips.vectors[0] @ others / np.linalg.norm(others), abs=1e-5)


def test_clear_voices_get_a_threshold_between_them() -> None:
    found = fit(bank(20, 5, spread=0.08))
    assert found["eer"] < 0.02
    assert 0.2 < found["threshold"] < 0.95
    assert found["rejects"] < 0.05
    assert found["operating"]["thresholds"]


def test_with_a_cohort_thresholds_are_of_what_stands_out_and_the_judge_reads_them_so() -> None:
    made = bank(20, 5, spread=0.08)
    cohort = Cohort(bank(60, 1, spread=0.0, seed=1).vectors)
    found = fit(made, cohort)
    assert found["standings"]
    assert 0.2 < found["threshold"] < 0.95
    assert found["rejects"] < 0.05
    judge = Judge.of_bank(found, Judge(cohort=cohort))
    assert judge.cohort is cohort
    (standing,) = judge.standings(made.clips.vectors[0], made.vectors[:1])
    assert judge.threshold(4.0, 20, standing) == pytest.approx(found["threshold"], abs=0.2)
    trials = leave_one_out(made, cohort)
    assert trials.cosine(trials.scores[0])[0] == pytest.approx(leave_one_out(made).scores[0])


def test_thresholds_of_cosines_stay_so_though_the_model_has_a_cohort() -> None:
    found = fit(bank(20, 5, spread=0.08))
    model = Judge(cohort=Cohort(bank(60, 1, spread=0.0, seed=1).vectors))
    assert not found["standings"]
    assert Judge.of_bank(found, model).cohort is None


def test_the_cohort_is_that_of_the_banks_own_model(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, model="compact")
    mine = weights.load("compact").card.model_id
    assert model_cohort(mine, settings) is not None
    assert model_cohort("compact-of-another-day", settings) is None
    assert model_cohort(mine, Settings(data_dir=tmp_path, model="vgg")) is None


def test_voices_that_overlap_are_refused_with_the_figure() -> None:
    with pytest.raises(Unusable, match="overlap too much") as raised:
        fit(bank(20, 5, spread=0.8))
    assert raised.value.details["eer"] > 0.15


def test_a_small_bank_and_one_without_clips_are_told_so() -> None:
    with pytest.raises(Unusable, match="too small"):
        fit(bank(3, 3, spread=0.1))
    with pytest.raises(Unusable, match="keeps no clips"):
        fit(Bank(("a",), np.ones((1, 4)), model="vgg"))
