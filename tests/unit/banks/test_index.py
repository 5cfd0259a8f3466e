"""Large banks answer quicker from an index, with the same speaker and the same score."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from banks import index as index_module
from banks.active import ActiveMode
from banks.bank import Bank
from banks.index import IndexRules, RowIndex, index_of, prepare
from banks.matching import match
from banks.ranking import rank_speakers
from banks.store import BankStore
from speaker_tasks.errors import ConfigurationError
from tests.integration.stack import wait_for
from tests.unit.banks.conftest import make_bank

ROWS, SIZE = 5_000, 64


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Means of voices: near a few common directions, norms of 0.9 to 1."""
    random = np.random.default_rng(0)
    drawn = random.standard_normal((ROWS, 16)) @ random.standard_normal((16, SIZE))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return (drawn * random.uniform(0.9, 1, (ROWS, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def queries(vectors: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(1)
    drawn = vectors[random.integers(0, ROWS, 100)] + 0.04 * random.standard_normal((100, SIZE))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    "rules", [IndexRules("float16"), IndexRules("int8"), IndexRules("float16", 1000), IndexRules("float32", 1000)]
)
def test_an_index_gives_the_same_answers_and_scores_as_all_rows(
    vectors: np.ndarray, queries: np.ndarray, rules: IndexRules
) -> None:
    labels = tuple(f"s{row // 2}" for row in range(ROWS))
    plain, indexed = (Bank(labels, vectors, model="vgg") for _ in range(2))
    thread = prepare(indexed, rules)
    assert thread is not None
    thread.join()
    assert index_of(indexed) is not None
    assert index_of(plain) is None
    for query in queries:
        found, wanted = match(indexed, query)[0], match(plain, query)[0]
        assert (found.row, found.score) == (wanted.row, pytest.approx(wanted.score, abs=1e-6))
        assert rank_speakers(indexed, query, 1)[0][0] == rank_speakers(plain, query, 1)[0][0]


def test_small_banks_and_float32_have_no_index() -> None:
    assert IndexRules().kind(10**6) == ""
    assert IndexRules("float32", 1000).kind(999) == ""
    assert IndexRules("float32", 1000).kind(10_000) == "IVF400,SQfp16"
    assert IndexRules("int8", 1000).kind(10) == "SQ8"
    assert prepare(make_bank(), IndexRules("float16")) is None


def test_without_faiss_all_rows_are_looked_at_and_it_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(ConfigurationError, match="speaker-tasks\\[index\\]"):
        RowIndex(make_bank("a").vectors, "SQfp16")
    bank = make_bank("a", "b")
    thread = prepare(bank, IndexRules("float16"))
    assert thread is not None
    thread.join()
    assert "scanned as a whole" in caplog.text
    assert match(bank, bank.vectors[1])[0].label == "b"


def test_the_current_bank_gets_its_index_once(store: BankStore, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    monkeypatch.setattr(index_module, "_build", lambda bank, kind: built.append(kind))
    store.put("staff", make_bank("a", "b"))
    active = ActiveMode(store, index=IndexRules("float16"))
    for _ in range(3):
        active.get()
        active.bank("staff")
    wait_for("the indexes", lambda: len(built) > 1)
    active.bank("staff")
    assert built == ["SQfp16"] * 2, "one for the union, one for the bank"
