"""A bank's own thresholds: fitted leave-one-out, or plainly refused."""

from __future__ import annotations

import numpy as np
import pytest

from banks.bank import Bank, Clips
from banks.editing import new
from speaker_tasks.commands.calibrate import fit, leave_one_out
from speaker_tasks.errors import Unusable


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
    scores, target, seconds = leave_one_out(made)
    assert len(scores) == len(target) == len(seconds) == 24 * 6
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


def test_voices_that_overlap_are_refused_with_the_figure() -> None:
    with pytest.raises(Unusable, match="overlap too much") as raised:
        fit(bank(20, 5, spread=0.8))
    assert raised.value.details["eer"] > 0.15


def test_a_small_bank_and_one_without_clips_are_told_so() -> None:
    with pytest.raises(Unusable, match="too small"):
        fit(bank(3, 3, spread=0.1))
    with pytest.raises(Unusable, match="keeps no clips"):
        fit(Bank(("a",), np.ones((1, 4)), model="vgg"))
