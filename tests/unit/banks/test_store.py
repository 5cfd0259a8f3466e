"""A bank in Redis changes in one step, keeps its last versions, and never loses a writer's change."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from redis import Redis

from banks import editing, versiondata
from banks.bank import Bank, Clips
from banks.store import BankStore
from speaker_tasks.errors import Conflict, NotFound, Unusable
from tests.unit.banks.conftest import make_bank, unit_vectors


def with_clips(*labels: str, each: int = 2, seed: int = 0) -> Bank:
    rows = len(labels)
    vectors = unit_vectors(rows * each, seed=seed)
    clips = Clips(
        keys=tuple(f"{label}-{seed}-{i}" for label in labels for i in range(each)),
        owners=np.repeat(np.arange(rows), each),
        vectors=vectors,
        seconds=np.full(rows * each, 2.5, np.float32),
        weights=np.ones(rows * each, np.int64),
        paths=("/x.wav",) * (rows * each),
        spans=((0.5, 1.5),) + (None,) * (rows * each - 1),
    )
    return Bank(labels, vectors.reshape(rows, each, -1).mean(1), model="vgg", clips=clips)


def test_a_bank_comes_back_as_it_was_put(store: BankStore) -> None:
    bank = replace(with_clips("林一", "Ann"), source="job 1", counts=np.array([2, 2]))
    assert store.put("staff", bank) == 1
    again = store.get("staff", clips=True)
    assert (again.labels, again.model, again.source, again.created) == (bank.labels, "vgg", "job 1", bank.created)
    assert (again.name, again.version, again.counts.tolist()) == ("staff", 1, [2, 2])
    np.testing.assert_array_equal(again.vectors, bank.vectors)
    assert again.clips is not None
    assert bank.clips is not None
    assert again.clips.keys == bank.clips.keys
    assert again.clips.spans == bank.clips.spans
    np.testing.assert_array_equal(again.clips.vectors, bank.clips.vectors)
    assert store.get("staff").clips is None
    assert store.names() == ["staff"]


def test_an_unknown_bank_is_not_found_and_the_known_ones_are_told(store: BankStore) -> None:
    store.put("staff", make_bank("a"))
    with pytest.raises(NotFound, match="staff") as error:
        store.get("guests")
    assert error.value.details["known"] == ["staff"]


def test_an_empty_bank_can_be_kept(store: BankStore) -> None:
    store.put("new", Bank((), np.zeros((0, 512)), model="vgg"))
    assert store.get("new").vectors.shape == (0, 512)


def test_large_banks_are_kept_in_parts(store: BankStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versiondata, "PART_ROWS", 3)
    bank = make_bank(*"abcdefgh")
    store.put("big", bank)
    np.testing.assert_array_equal(store.get("big").vectors, bank.vectors)
    store.delete("big")
    assert store.redis.keys("*bankdata*") == []


def test_old_versions_stay_up_to_the_number_kept_and_leave_nothing_behind(redis: Redis) -> None:
    store = BankStore(redis, keep=2)
    for number in range(4):
        assert store.put("staff", with_clips(f"s{number}", seed=number)) == number + 1
    assert [entry.version for entry in store.history("staff")] == [4, 3]
    assert store.get("staff", version=3).labels == ("s2",)
    with pytest.raises(NotFound, match="no version 1; kept are 4, 3"):
        store.get("staff", version=1)
    assert len(redis.keys("*bankdata*")) == 2 * 3
    assert [key.partition(b"@")[0] for key in sorted(redis.hkeys("speaker:bank:staff:clips"))] == [
        b"s2-2-0",
        b"s2-2-1",
        b"s3-3-0",
        b"s3-3-1",
    ]


def test_rollback_brings_a_kept_version_back_under_a_new_number(store: BankStore) -> None:
    store.put("staff", make_bank("before"))
    store.put("staff", make_bank("after"))
    assert store.rollback("staff") == 3
    assert store.get("staff").labels == ("before",)
    assert store.rollback("staff", 2) == 4
    assert store.get("staff").labels == ("after",)
    with pytest.raises(NotFound, match="no version 9"):
        store.rollback("staff", 9)


def test_rollback_again_goes_further_back_and_redo_forward_again(store: BankStore) -> None:
    for label in "abc":
        store.put("staff", make_bank(label))

    def label() -> str:
        return store.get("staff").labels[0]

    def holder_after(step: Callable[[str], int]) -> str:
        step("staff")
        return label()

    assert [holder_after(store.rollback), holder_after(store.rollback)] == ["b", "a"]
    with pytest.raises(NotFound, match="no version before"):
        store.rollback("staff")
    assert [holder_after(store.redo), holder_after(store.redo)] == ["b", "c"]
    with pytest.raises(NotFound, match="no rollback to take back"):
        store.redo("staff")
    assert store.rollback("staff", 1) == store.version("staff")
    store.put("staff", make_bank("d"))
    assert holder_after(store.rollback) == "a", "what the change began with, not what was undone before it"
    assert holder_after(store.redo) == "d", "the newest of what was made from here"


def test_rollbacks_push_no_version_out(redis: Redis) -> None:
    store = BankStore(redis, keep=3)
    for label in "abcd":
        store.put("staff", make_bank(label))
    assert [store.rollback("staff") for _ in range(2)] == [5, 6]
    assert store.get("staff").labels == ("b",)
    assert [store.redo("staff") for _ in range(2)] == [7, 8]
    assert store.get("staff").labels == ("d",)
    assert [one.version for one in store.history("staff")] == [8, 4, 3, 2]


def test_a_change_that_changes_nothing_writes_no_version(store: BankStore) -> None:
    store.put("staff", with_clips("Ann", "Bob"))
    assert store.update("staff", lambda bank: editing.rename(bank, "Ann", "Ann")) == 1
    assert [one.version for one in store.history("staff")] == [1]


def test_a_pointer_that_a_newer_release_wrote_is_read(store: BankStore) -> None:
    store.put("staff", make_bank("a"))
    versions = json.loads(store.redis.get("speaker:bank:staff"))
    store.redis.set("speaker:bank:staff", json.dumps([one | {"signed": "by whom"} for one in versions]))
    assert store.get("staff").labels == ("a",)


def test_a_rewrite_after_a_rollback_keeps_the_way_back_and_forward(store: BankStore) -> None:
    for labels in ("ax", "bx", "cx"):
        store.put("staff", make_bank(*labels))
    store.rollback("staff")
    store.rewrite("staff", lambda _versions: lambda bank: editing.remove(bank, "x"))
    assert store.get("staff").labels == ("b",)
    store.redo("staff")
    assert store.get("staff").labels == ("c",)
    for label in "ba":
        store.rollback("staff")
        assert store.get("staff").labels == (label,)


def test_rolled_back_data_outlives_the_version_that_it_came_from(redis: Redis) -> None:
    store = BankStore(redis, keep=2)
    store.put("staff", make_bank("before"))
    store.put("staff", make_bank("after"))
    store.rollback("staff")
    store.rollback("staff", 3)
    assert store.get("staff").labels == ("before",)


def test_there_is_nothing_to_roll_back_to_before_the_first_version(store: BankStore) -> None:
    store.put("staff", make_bank("a"))
    with pytest.raises(NotFound, match="no version before"):
        store.rollback("staff")


def test_a_writer_whose_bank_moved_is_told(store: BankStore) -> None:
    store.put("staff", make_bank("a"), expect_version=0)
    store.put("staff", make_bank("b"), expect_version=1)
    with pytest.raises(Conflict, match="at version 2, not 1"):
        store.put("staff", make_bank("c"), expect_version=1)
    assert store.get("staff").labels == ("b",)


def test_two_writers_at_once_lose_no_change(store: BankStore) -> None:
    store.put("staff", make_bank("first"))

    def enroll(writer: int) -> None:
        for number in range(10):

            def add(bank: Bank, label: str = f"w{writer}-{number}") -> Bank:
                vectors = np.concatenate([bank.vectors, unit_vectors(1)])
                return replace(bank, labels=(*bank.labels, label), vectors=vectors, counts=(), seconds=())  # type: ignore[arg-type]

            store.update("staff", add, attempts=200)

    writers = [threading.Thread(target=enroll, args=(writer,)) for writer in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    wanted = {"first"} | {f"w{writer}-{number}" for writer in range(3) for number in range(10)}
    assert set(store.get("staff").labels) == wanted
    assert store.version("staff") == 31


def test_a_writer_that_dies_before_the_pointer_moves_changes_nothing_and_its_data_expires(
    store: BankStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("staff", make_bank("before"))

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "_point", dies)
        with pytest.raises(KeyboardInterrupt):
            store.put("staff", make_bank("after"))
    assert store.get("staff").labels == ("before",)
    lives = sorted(store.redis.ttl(key) for key in store.redis.keys("*bankdata*"))
    assert lives[:2] == [-1, -1]
    assert all(0 < seconds <= versiondata.ORPHAN_SECONDS for seconds in lives[2:])


def test_deleting_a_bank_leaves_nothing_of_it(store: BankStore) -> None:
    store.put("staff", with_clips("a", "b"))
    store.put("staff", with_clips("a", "b", seed=2))
    store.delete("staff")
    assert store.names() == []
    assert store.redis.keys("speaker:*") == [store.token_key.encode()]
    with pytest.raises(NotFound):
        store.delete("staff")


def test_a_rewrite_removes_from_every_version(store: BankStore) -> None:
    store.put("staff", make_bank("a", "b"))
    store.put("staff", make_bank("b", "a"))

    def without_b(bank: Bank) -> Bank:
        rows = [row for row, label in enumerate(bank.labels) if label != "b"]
        return Bank(tuple(bank.labels[row] for row in rows), bank.vectors[rows], model=bank.model)

    shown: list[int] = []

    def plan(versions: Iterator[Bank]) -> Callable[[Bank], Bank]:
        shown.extend(bank.version for bank in versions)
        return without_b

    store.rewrite("staff", plan)
    assert shown == [2, 1]
    assert [store.get("staff", version=number).labels for number in (1, 3)] == [("a",), ("a",)]
    assert [one.version for one in store.history("staff")] == [3, 1]


def test_a_change_that_began_before_a_rewrite_is_made_again_and_brings_nothing_back(store: BankStore) -> None:
    store.put("staff", with_clips("Ann", "Bob"))

    def slow_rename(bank: Bank) -> Bank:
        if "Ann" in bank.labels:
            store.rewrite("staff", lambda _versions: lambda one: editing.remove(one, "Ann"))
        return editing.rename(bank, "Bob", "Rob")

    store.update("staff", slow_rename)
    assert all("Ann" not in store.get("staff", version=one.version).labels for one in store.history("staff"))
    assert store.get("staff").labels == ("Rob",)


def test_a_bank_that_was_built_again_under_another_model_has_that_models_clips(store: BankStore) -> None:
    older, newer = with_clips("Ann", "Bob"), with_clips("Ann", "Bob", seed=5)
    store.put("staff", older)
    store.put("staff", replace(newer, model="compact", clips=replace(newer.clips, keys=older.clips.keys)))
    found = store.get("staff", clips=True)
    np.testing.assert_array_equal(found.clips.vectors, newer.clips.vectors)
    np.testing.assert_array_equal(store.get("staff", version=1, clips=True).clips.vectors, older.clips.vectors)
    store.update("staff", lambda bank: editing.remove(bank, "Bob"))
    np.testing.assert_allclose(store.get("staff").vectors[0], newer.vectors[0], atol=1e-6)


def test_clips_that_were_written_without_their_model_are_still_read(store: BankStore) -> None:
    bank = with_clips("Ann", "Bob")
    store.put("staff", bank)
    for key in ("speaker:bank:staff:clips", "speaker:bank:staff:clipinfo"):
        for field, value in store.redis.hgetall(key).items():
            store.redis.hdel(key, field)
            store.redis.hset(key, field.partition(b"@")[0], value)
    np.testing.assert_array_equal(store.get("staff", clips=True).clips.vectors, bank.clips.vectors)
    store.update("staff", lambda one: editing.remove(one, "Bob"))
    assert len(store.get("staff", version=1, clips=True).clips) == len(bank.clips)
    assert set(store.clip_keys("staff")) == set(bank.clips.keys)


def test_a_change_that_cannot_be_is_said_as_it_is(store: BankStore) -> None:
    store.put("staff", with_clips("Ann", "Bob"))
    with pytest.raises(Conflict, match="merge the two instead"):
        store.update("staff", lambda bank: editing.rename(bank, "Ann", "Bob"))


def test_every_change_moves_the_token(store: BankStore) -> None:
    def token() -> bytes | None:
        return store.redis.get(store.token_key)  # type: ignore[return-value]

    seen = [token()]
    for change in (
        lambda: store.put("staff", make_bank("a")),
        lambda: store.put("staff", make_bank("b")),
        lambda: store.rollback("staff"),
        lambda: store.delete("staff"),
    ):
        change()
        seen.append(token())
    assert len(set(seen)) == 5


def test_modes_are_no_banks(store: BankStore) -> None:
    for name in ("all", "morning"):
        with pytest.raises(Unusable):
            store.put(name, make_bank("a"))
