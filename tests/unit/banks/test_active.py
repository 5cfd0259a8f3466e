"""The first server's modes, in Redis: every process sees a change at its next look."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from banks.active import ActiveMode
from banks.store import BankStore
from speaker_tasks.errors import NotFinite, NotFound, Unusable
from tests.unit.banks.conftest import make_bank, unit_vectors


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The two npz files of the first server."""
    ai, moring = tmp_path / "feature_muti_ai_Feb20.npz", tmp_path / "feature_morning_muti1-12.npz"
    np.savez(ai, label=np.array(["林一", "Ann"]), train_feats=unit_vectors(2, seed=1).astype(np.float64))
    np.savez(moring, label=np.array(["Ann", "王五", "Eve"]), train_feats=unit_vectors(3, seed=2).astype(np.float64))
    return {"ai": ai, "moring": moring}


def test_with_files_all_is_their_union_ai_first(store: BankStore, files: dict[str, Path]) -> None:
    active = ActiveMode(store, **files)
    active.load_files()
    store.put("other", make_bank("Zoe"))
    mode, bank = active.get()
    assert mode == "all"
    assert bank.labels == ("林一", "Ann", "Ann", "王五", "Eve")
    assert bank.model == "vgg"


def test_without_files_all_is_the_union_of_all_banks(store: BankStore) -> None:
    active = ActiveMode(store)
    assert active.get()[1].labels == ()
    store.put("b", make_bank("Bob"))
    store.put("a", make_bank("Ann"))
    assert active.get()[1].labels == ("Ann", "Bob")


def test_every_mode_of_the_first_server_is_known(store: BankStore, files: dict[str, Path]) -> None:
    active = ActiveMode(store, **files)
    active.load_files()
    assert active.set_mode("ai")[1].labels == ("林一", "Ann")
    assert active.set_mode("moring")[1].labels == ("Ann", "王五", "Eve")
    assert active.set_mode("morning")[0] == "moring"
    assert active.set_mode("all")[0] == "all"


def test_any_banks_name_is_a_mode(store: BankStore) -> None:
    store.put("早会", make_bank("a"))
    store.put("staff", make_bank("b"))
    active = ActiveMode(store)
    assert active.set_mode("早会")[1].labels == ("a",)
    assert active.get()[0] == "早会"


def test_an_unknown_mode_is_told_the_known_ones_and_changes_nothing(store: BankStore) -> None:
    store.put("staff", make_bank("a"))
    active = ActiveMode(store)
    active.set_mode("staff")
    with pytest.raises(NotFound, match="all, staff") as error:
        active.set_mode("nonsense")
    assert error.value.details["known"] == ["all", "staff"]
    assert active.get()[0] == "staff"


def test_another_process_sees_the_change_at_its_next_look(store: BankStore) -> None:
    here, there = ActiveMode(store), ActiveMode(store)
    store.put("staff", make_bank("a"))
    assert there.get()[0] == "all"
    here.set_mode("staff")
    assert there.get()[0] == "staff"
    store.put("staff", make_bank("a", "b"))
    assert there.get()[1].labels == ("a", "b")
    here.reset()
    assert there.get()[0] == "all"


def test_looking_again_costs_one_command_when_nothing_moved(store: BankStore) -> None:
    store.put("staff", make_bank("a"))
    active = ActiveMode(store)
    first = active.get()
    before = store.redis.info("stats")["total_commands_processed"]
    for _ in range(10):
        assert active.get() is first
    assert store.redis.info("stats")["total_commands_processed"] - before <= 11


def test_only_the_bank_that_changed_is_read_again(store: BankStore) -> None:
    store.put("a", make_bank("Ann"))
    store.put("b", make_bank("Bob"))
    active = ActiveMode(store)
    active.get()
    kept = active._banks["a"][1]
    store.put("b", make_bank("Bob", "Eve"))
    assert active.get()[1].labels == ("Ann", "Bob", "Eve")
    assert active._banks["a"][1] is kept


def test_a_custom_list_is_the_mode_custom(store: BankStore) -> None:
    active = ActiveMode(store)
    vectors = unit_vectors(2)
    mode, bank = active.set_custom(["x", "x"], vectors.tolist(), "vgg")
    assert (mode, bank.labels) == ("custom", ("x", "x"))
    mode, bank = ActiveMode(store).get()
    assert mode == "custom"
    np.testing.assert_array_equal(bank.vectors, vectors)
    store.put("staff", make_bank("a"))
    assert active.reset()[1].labels == ("a",), "the caller's list is not one of the banks"
    assert active.set_mode("custom")[1].labels == ("x", "x")


@pytest.mark.parametrize(
    ("labels", "vectors", "error"),
    [
        ([], [], Unusable),
        (["a"], [[0.5] * 511], Unusable),
        (["a", "b"], [[0.5] * 512], Unusable),
        (["a"], [0.5] * 512, Unusable),
        (["a", "b"], [[0.5] * 512, [0.5] * 3], Unusable),
        (["a"], [["x"] * 512], Unusable),
        (["a"], [[None] * 512], Unusable),
        ([3], [[0.5] * 512], Unusable),
        (["a"], [[float("nan")] * 512], NotFinite),
    ],
)
def test_a_custom_list_of_another_shape_changes_nothing(store: BankStore, labels, vectors, error) -> None:
    active = ActiveMode(store)
    with pytest.raises(error) as refused:
        active.set_custom(labels, vectors, "vgg")
    assert refused.value.status == 422
    assert active.get()[0] == "all"
    assert store.names() == []


def test_files_are_loaded_once_and_again_when_they_change(store: BankStore, files: dict[str, Path]) -> None:
    active = ActiveMode(store, **files)
    active.load_files()
    store.put("ai", make_bank("corrected"))
    active.load_files()
    assert active.set_mode("ai")[1].labels == ("corrected",), "a start does not undo what was changed since"
    np.savez(files["ai"], label=np.array(["new"]), train_feats=unit_vectors(1).astype(np.float64))
    active.load_files()
    assert active.get()[1].labels == ("new",)


def test_a_configured_file_that_is_missing_is_told(store: BankStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.npz"):
        ActiveMode(store, ai=tmp_path / "gone.npz").load_files()


def test_a_deleted_bank_that_was_the_mode_is_not_found(store: BankStore) -> None:
    store.put("staff", make_bank("a"))
    active = ActiveMode(store)
    active.set_mode("staff")
    store.delete("staff")
    with pytest.raises(NotFound, match="staff"):
        active.get()
    assert active.reset()[0] == "all"


@pytest.mark.parametrize(
    ("model", "asked", "missing"),
    [("compact-0123456789ab", ("b", "c"), "old"), ("vgg-0123456789ab", ("a",), "new"), (None, ("b", "c"), "old")],
)
def test_a_bank_of_another_model_is_left_out_of_all_and_told(
    store: BankStore, model: str | None, asked: tuple[str, ...], missing: str
) -> None:
    store.put("old", make_bank("a", model="vgg"))
    store.put("new", make_bank("b", "c", model="compact"))
    active = ActiveMode(store, model=lambda: model)
    assert active.get()[1].labels == asked
    assert list(active.left_out("all")) == [missing]
    assert missing in active.left_out("all")[missing]


def test_a_bank_of_another_size_stops_no_question_to_all(store: BankStore) -> None:
    store.put("staff", make_bank("a"))
    store.put("foreign", make_bank("x", "y", "z", size=192))
    active = ActiveMode(store)
    assert active.get()[1].labels == ("a",)
    assert "192 values" in active.left_out("all")["foreign"]


def test_when_no_bank_fits_the_workers_model_the_question_can_still_say_which_model_it_is(store: BankStore) -> None:
    store.put("old", make_bank("a", model="vgg"))
    active = ActiveMode(store, model=lambda: "compact-0123456789ab")
    assert active.get()[1].model == "vgg"


def test_workers_that_come_with_another_model_are_asked_other_banks(store: BankStore) -> None:
    store.put("old", make_bank("a", model="vgg"))
    store.put("new", make_bank("b", model="compact"))
    running = ["vgg"]
    active = ActiveMode(store, model=lambda: running[0])
    assert active.get()[1].labels == ("a",)
    running[0] = "compact"
    assert active.get()[1].labels == ("b",)
