"""AS-norm makes scores of one person comparable whatever the recording was made with."""

from __future__ import annotations

import numpy as np
import pytest

from banks import asnorm
from banks.bank import Bank
from banks.store import BankStore
from speaker_tasks.errors import ModelMismatch, NotFound, Unusable
from speaker_tasks.operations.banks import BankKeeper
from speaker_tasks.settings import Settings
from tests.unit.banks.conftest import make_bank, unit_vectors

SIZE = 128


def unit(vectors: np.ndarray) -> np.ndarray:
    found: np.ndarray = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return found


def test_it_is_the_formula() -> None:
    enrolled, cohort = unit_vectors(3, seed=1, size=SIZE), unit_vectors(50, seed=2, size=SIZE)
    query = unit_vectors(1, seed=3, size=SIZE)[0]
    found = asnorm.normalised(enrolled @ query, enrolled, query, cohort)
    for row in range(3):
        score, of_query, of_row = enrolled[row] @ query, cohort @ query, cohort @ enrolled[row]
        wanted = ((score - of_query.mean()) / of_query.std() + (score - of_row.mean()) / of_row.std()) / 2
        assert found[row] == pytest.approx(wanted, abs=1e-3)


def test_a_channel_that_lifts_all_scores_moves_them_less_far() -> None:
    random = np.random.default_rng(0)
    channel = unit(random.standard_normal(SIZE))
    people, others = unit_vectors(20, seed=1, size=SIZE), unit_vectors(200, seed=2, size=SIZE)
    enrolled, cohort = unit(people + 0.8 * channel), unit(others + 0.8 * channel)

    def shift(*, norm: bool) -> float:
        """How far the channel moves the scores of strangers, in standard deviations."""
        samples = []
        for lift in (0.0, 0.8):
            queries = unit(unit_vectors(30, seed=3, size=SIZE) + lift * channel)
            found = [
                asnorm.normalised(enrolled @ query, enrolled, query, cohort) if norm else enrolled @ query
                for query in queries
            ]
            samples.append(np.array(found))
        return float(abs(samples[1].mean() - samples[0].mean()) / samples[0].std())

    assert shift(norm=False) > 3
    assert shift(norm=True) < 0.7 * shift(norm=False), "one of its two sides knows the channel"


def test_a_cohort_has_other_people_of_the_same_model() -> None:
    bank = make_bank("Ann", "c3")
    cohort = make_bank(*(f"c{i}" for i in range(12)), seed=5)
    assert len(asnorm.cohort_of(cohort, bank)) == 11
    with pytest.raises(Unusable, match="at least 10"):
        asnorm.cohort_of(make_bank("x", "y"), bank)
    with pytest.raises(ModelMismatch):
        asnorm.cohort_of(make_bank("x", model="compact"), bank)


def test_a_bank_remembers_its_cohort(store: BankStore) -> None:
    keeper = BankKeeper(store.redis, Settings(redis_url="redis://x"))
    store.put("staff", make_bank("Ann"))
    store.put("cohort", Bank(tuple(f"c{i}" for i in range(12)), unit_vectors(12), model="vgg"))
    assert keeper.about("staff")["cohort"] is None
    before = store.redis.get(store.token_key)
    keeper.set_cohort("staff", "cohort")
    assert keeper.about("staff")["cohort"] == "cohort"
    assert store.redis.get(store.token_key) != before
    with pytest.raises(NotFound):
        keeper.set_cohort("staff", "nobody")
    with pytest.raises(Unusable):
        keeper.set_cohort("cohort", "staff")
    assert keeper.about("staff")["cohort"] == "cohort"
    keeper.set_cohort("staff", None)
    assert keeper.about("staff")["cohort"] is None
    keeper.set_cohort("staff", "cohort")
    store.delete("staff")
    assert not store.redis.exists("speaker:bank:staff:cohort")
