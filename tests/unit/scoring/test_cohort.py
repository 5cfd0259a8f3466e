"""Scores against a cohort: what stands out, and what the card keeps."""

from __future__ import annotations

import json

import numpy as np
import pytest

from banks import asnorm
from speaker_tasks.scoring.cohort import NEAREST, PLAIN, Cohort


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def cohort() -> Cohort:
    return Cohort(unit(np.random.default_rng(0).normal(size=(NEAREST, 16))))


def test_a_cosine_for_which_everyone_is_alike_stands_out_less(cohort: Cohort) -> None:
    alike = cohort.vectors.mean(axis=0)
    alike /= np.linalg.norm(alike)
    other = cohort.vectors[0] - cohort.vectors[0] @ alike * alike
    common, rare = cohort.standings(alike, np.stack([alike, other / np.linalg.norm(other)]))
    assert common.of(0.5) < rare.of(0.5)
    assert common.cosine(common.of(0.4)) == pytest.approx(0.4)
    assert PLAIN.of(0.4) == PLAIN.cosine(0.4) == 0.4


def test_it_is_as_norm(cohort: Cohort) -> None:
    voice, enrolled = cohort.vectors[0], cohort.vectors[1:4] * np.float32(0.7)
    cosines = np.array([0.1, 0.5, 0.9], np.float32)
    expected = asnorm.normalised(cosines, enrolled, voice, cohort.vectors)
    found = [standing.of(float(one)) for standing, one in zip(cohort.standings(voice, enrolled), cosines, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_card_keeps_it(cohort: Cohort) -> None:
    again = Cohort.from_dict(json.loads(json.dumps(cohort.to_dict())))
    np.testing.assert_allclose(again.vectors, cohort.vectors, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(again.vectors, axis=1), 1, atol=1e-6)
    with pytest.raises(ValueError):
        Cohort.from_dict({"people": 2, "vectors": "no base64!"})


def test_a_vector_that_comes_again_is_read_alike_and_is_not_kept_itself(cohort: Cohort) -> None:
    drawn = unit(np.random.default_rng(3).normal(size=(5, 16)))
    voice, enrolled, other = drawn[0], drawn[1:4], drawn[4:]
    first = cohort.standings(voice, enrolled)
    again = cohort.standings(voice, np.concatenate([enrolled[1:], other]))
    assert again[:2] == first[1:]
    fresh = Cohort(cohort.vectors).standings(voice, enrolled)
    assert [one.of(0.5) for one in first] == pytest.approx([one.of(0.5) for one in fresh], rel=1e-5)
    assert {len(key) for key in cohort._known} == {16}
