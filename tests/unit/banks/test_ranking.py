"""Speakers are ranked by cosine, each once."""

from __future__ import annotations

import numpy as np
import pytest

from banks.bank import Bank
from banks.ranking import cosine_with, rank_speakers, speakers_of
from speaker_tasks.errors import NotFound


def bank(labels: tuple[str, ...], rows: list[list[float]]) -> Bank:
    return Bank(labels, np.array(rows, np.float32), model="compact")


def test_the_length_of_a_row_does_not_count() -> None:
    found = rank_speakers(bank(("a", "b"), [[0.5, 0.0], [0.6, 0.6]]), np.array([1, 0], np.float32), 2)
    assert found == [("a", pytest.approx(1.0)), ("b", pytest.approx(0.7071, abs=1e-3))]


def test_several_rows_of_one_person_are_not_each_others_runner_up() -> None:
    people = bank(("a", "a", "a", "b"), [[1, 0], [0.99, 0.1], [0.98, 0.2], [0, 1]])
    assert [name for name, _ in rank_speakers(people, np.array([1, 0], np.float32), 2)] == ["a", "b"]
    assert speakers_of(people) == 2


def test_nobody_is_ranked_in_an_empty_bank_or_for_none_wanted() -> None:
    assert rank_speakers(Bank((), np.zeros((0, 2)), model=""), np.ones(2, np.float32), 3) == []
    assert rank_speakers(bank(("a",), [[1, 0]]), np.ones(2, np.float32), 0) == []


def test_a_claimed_speaker_has_the_score_of_the_best_row() -> None:
    people = bank(("a", "b", "a"), [[0, 1], [1, 0], [1, 0]])
    assert cosine_with(people, "a", np.array([1, 0], np.float32)) == pytest.approx(1)
    with pytest.raises(NotFound, match="'c'"):
        cosine_with(people, "c", np.array([1, 0], np.float32))


def test_a_large_bank_agrees_with_the_plain_way() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(500, 16)).astype(np.float32)
    query = rows[123] / np.linalg.norm(rows[123])
    found = rank_speakers(Bank(tuple(map(str, range(500))), rows, model="m"), query, 7)
    plain = np.argsort(-(rows @ query) / np.linalg.norm(rows, axis=1))[:7]
    assert [name for name, _ in found] == [str(row) for row in plain]
