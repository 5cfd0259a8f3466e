"""What a bank holds, which banks may meet, and how a vector is matched."""

from __future__ import annotations

import numpy as np
import pytest

from banks.bank import Bank, check_model, same_model, union
from banks.lookalike import lookalikes
from banks.matching import match, scores, top_k
from banks.names import clean_bank_name, clean_name
from banks.ranking import rank_speakers
from speaker_tasks.errors import ModelMismatch, NotFinite, Unusable
from tests.unit.banks.conftest import make_bank, unit_vectors


def test_a_banks_vectors_cannot_be_changed_behind_its_back() -> None:
    vectors = unit_vectors(2)
    bank = Bank(("a", "b"), vectors, model="vgg")
    vectors[0] = 0
    assert np.linalg.norm(bank.vectors[0]) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        bank.vectors[0] = 0


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("vgg", "vgg", True),
        ("vgg", "vgg-0123456789ab", True),
        ("vgg-0123456789ab", "vgg", True),
        ("vgg-0123456789ab", "vgg-ba9876543210", False),
        ("vgg", "compact", False),
        ("compact-v2", "compact", False),
        ("", "", False),
    ],
)
def test_a_bare_name_fits_the_ids_that_begin_with_it(a: str, b: str, same: bool) -> None:
    assert same_model(a, b) is same


def test_vectors_of_two_models_never_meet() -> None:
    with pytest.raises(ModelMismatch) as refused:
        check_model(make_bank("a", model="vgg"), "compact-0123456789ab")
    assert refused.value.status == 409
    assert (refused.value.details["bank_model"], refused.value.details["model"]) == ("vgg", "compact-0123456789ab")
    with pytest.raises(ModelMismatch):
        union([make_bank("a", model="vgg"), make_bank("b", model="compact")], name="all")


def test_an_empty_bank_fits_every_model() -> None:
    check_model(union([], name="all"), "compact")


def test_a_union_keeps_the_order_and_both_rows_of_a_label_that_two_banks_share() -> None:
    first, second = make_bank("Ann", "Bob", seed=1), make_bank("Bob", "Eve", seed=2, model="vgg-0123456789ab")
    both = union([first, second], name="all")
    assert both.labels == ("Ann", "Bob", "Bob", "Eve")
    assert both.model == "vgg-0123456789ab"
    np.testing.assert_array_equal(both.vectors, np.concatenate([first.vectors, second.vectors]))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(Unusable, match="2 labels but 1 vectors"):
        Bank(("a", "b"), unit_vectors(1), model="vgg")
    with pytest.raises(Unusable, match="rows of equal length"):
        Bank(("a", "b"), [[1.0], [1.0, 2.0]], model="vgg")  # type: ignore[arg-type]
    with pytest.raises(Unusable, match="counts"):
        Bank(("a",), unit_vectors(1), model="vgg", counts=np.array([1, 2]))


def test_the_best_score_is_the_dot_product_with_the_row_as_it_was_stored() -> None:
    vectors = unit_vectors(50) * 0.9
    bank = Bank(tuple(f"s{i}" for i in range(50)), vectors, model="vgg")
    (best,) = match(bank, unit_vectors(50)[17])
    assert (best.label, best.row) == ("s17", 17)
    assert best.score == pytest.approx(0.9, abs=1e-6)


def test_top_k_is_what_a_full_sort_would_give_ties_included() -> None:
    values = np.random.default_rng(3).integers(0, 8, 500).astype(np.float32)
    for k in (0, 1, 7, 499, 500, 900):
        assert top_k(values, k).tolist() == np.argsort(-values, kind="stable")[:k].tolist()


def test_a_speaker_with_two_rows_is_found_once_with_the_better_one() -> None:
    vectors = unit_vectors(3)
    bank = Bank(("Ann", "Ann", "Bob"), vectors, model="vgg")
    assert match(bank, vectors[1])[0].row == 1
    assert [label for label, _ in rank_speakers(bank, vectors[1], 2)] == ["Ann", "Bob"]


def test_an_empty_bank_matches_nobody() -> None:
    assert match(union([], name="all"), unit_vectors(1)[0], k=3) == []


def test_a_query_of_another_size_or_not_finite_is_refused() -> None:
    with pytest.raises(Unusable, match="512 values"):
        scores(unit_vectors(2), np.ones(256))
    with pytest.raises(NotFinite):
        scores(unit_vectors(2), np.full(512, np.nan))


def test_names_are_nfc_with_single_spaces() -> None:
    assert clean_name("  Ame\u0301lie\u3000 Doe ") == "Am\u00e9lie Doe"
    assert clean_bank_name(" 早会 ") == "早会"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("Alice_x000D_", "Alice"),
        ("Al\u200bice\u2060", "Alice"),
        ("\ufeffBob\u00a0Smith\u200e", "Bob Smith"),
        ("Bob\r\n Smith", "Bob Smith"),
        ("\u3164Zoe\u200b\u0308", "Zo\u00eb"),
        ("\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627"),
    ],
)
def test_names_from_copied_cells_hold_nothing_that_cannot_be_seen(written: str, kept: str) -> None:
    assert clean_name(written) == kept


def test_names_that_look_alike_are_told_and_others_are_not() -> None:
    alike = ["王伟", "王偉", "ＡＢ", "ab", "Alice Smith", "alice_smith", "林一", "林 一", "阿·买", "阿・买"]
    assert lookalikes(alike) == list(zip(alike[::2], alike[1::2], strict=True))
    assert lookalikes(["room 1-1", "room 11", "Ann", "Anne", "林一", "林怡"]) == []
    assert lookalikes(alike, among=["ab"]) == [("ＡＢ", "ab")]


@pytest.mark.parametrize("name", ["", "  ", "\u200b", "a\x00b", "a_x0007_b", "x" * 200, "half\udc00"])
def test_names_that_no_speaker_has_are_refused(name: str) -> None:
    with pytest.raises(Unusable):
        clean_name(name)


@pytest.mark.parametrize("name", ["all", "custom", "morning", "a/b", ".hidden", "a:b"])
def test_modes_and_paths_are_no_bank_names(name: str) -> None:
    with pytest.raises(Unusable):
        clean_bank_name(name)
