"""Whatever is done to a bank, each row stays the mean of its kept clips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from redis import Redis

from banks import editing
from banks.bank import Bank, Clips
from banks.store import BankStore
from speaker_tasks.errors import Conflict, ModelMismatch, NotFound
from tests.unit.banks.conftest import make_bank, unit_vectors

SIZE = 8


def clips(*keys: str, owners: list[int] | None = None, size: int = SIZE) -> Clips:
    """Clips whose vectors follow from their keys: a recording has one vector wherever it is."""
    vectors = [unit_vectors(1, seed=sum(map(ord, key)), size=size)[0] for key in keys]
    return Clips(
        keys=keys,
        owners=np.array(owners if owners is not None else [0] * len(keys), np.int64),
        vectors=np.array(vectors, np.float32).reshape(-1, size),
        seconds=np.full(len(keys), 2, np.float32),
        weights=np.ones(len(keys), np.int64),
        paths=("",) * len(keys),
        spans=(None,) * len(keys),
    )


def assert_means(bank: Bank) -> None:
    """Every row is the mean of its clips, in double precision, and knows their number and length."""
    assert bank.clips is not None
    for row in range(len(bank)):
        mine = bank.clips.owners == row
        assert mine.any()
        weights = bank.clips.weights[mine]
        mean = (bank.clips.vectors[mine].astype(np.float64) * weights[:, None]).sum(0) / weights.sum()
        np.testing.assert_allclose(bank.vectors[row], mean, atol=1e-6)
        assert bank.counts[row] == weights.sum()
        assert bank.seconds[row] == pytest.approx(bank.clips.seconds[mine].sum())


def test_clips_are_added_to_those_a_speaker_has_and_each_counts_once() -> None:
    bank = editing.new(["Ann", "Bob"], clips("a1", "b1", "a2", owners=[0, 1, 0]), "m", size=SIZE)
    bank = editing.add(bank, ["Eve", "Ann"], clips("e1", "a3", "a1", owners=[0, 1, 1]), "m")
    assert bank.labels == ("Ann", "Bob", "Eve")
    assert bank.counts.tolist() == [3, 1, 1]
    assert_means(bank)


def test_adding_and_removing_the_same_clips_gives_the_very_same_vectors() -> None:
    before = editing.new(["Ann"], clips("a1", "a2"), "m", size=SIZE)
    after = editing.remove_clips(editing.add(before, ["Ann"], clips("a3"), "m"), ["a3"])
    np.testing.assert_array_equal(after.vectors, before.vectors)


def test_a_bank_without_clips_counts_each_row_as_its_recordings() -> None:
    old = Bank(("Ann", "Bob"), unit_vectors(2, size=SIZE), model="m", counts=np.array([3, 0]))
    bank = editing.add(old, ["Ann"], clips("a1"), "m")
    assert bank.counts.tolist() == [4, 1]
    np.testing.assert_allclose(bank.vectors[0], (3 * old.vectors[0] + clips("a1").vectors[0]) / 4, atol=1e-6)
    np.testing.assert_array_equal(bank.vectors[1], old.vectors[1])


def test_merging_gives_one_speaker_the_clips_of_both() -> None:
    bank = editing.new(["Ann", "Bob", "Annie"], clips("a", "b", "c", "a", owners=[0, 1, 2, 2]), "m", size=SIZE)
    merged = editing.merge(bank, "Annie", "Ann")
    assert merged.labels == ("Ann", "Bob")
    assert merged.counts.tolist() == [2, 1], "the clip that both had counts once"
    assert_means(merged)


def test_replacing_a_speaker_leaves_the_others() -> None:
    bank = editing.new(["Ann", "Bob"], clips("a", "b", owners=[0, 1]), "m", size=SIZE)
    changed = editing.replace_speakers(bank, ["Ann"], clips("x"), "m")
    assert set(changed.labels) == {"Ann", "Bob"}
    assert changed.clips is not None
    assert set(changed.clips.keys) == {"b", "x"}
    assert_means(changed)


def test_what_is_not_there_or_not_allowed_is_refused() -> None:
    bank = editing.new(["Ann", "Bob"], clips("a", "b", owners=[0, 1]), "m", size=SIZE)
    with pytest.raises(NotFound, match="Eve"):
        editing.remove(bank, "Eve")
    with pytest.raises(NotFound, match="zzz"):
        editing.remove_clips(bank, ["zzz"])
    with pytest.raises(Conflict, match="no clip of Ann"):
        editing.remove_clips(bank, ["a"])
    with pytest.raises(Conflict, match="merge the two"):
        editing.rename(bank, "Ann", "Bob")
    with pytest.raises(Conflict, match="itself"):
        editing.merge(bank, "Ann", "Ann")
    with pytest.raises(ModelMismatch):
        editing.add(bank, ["Ann"], clips("x"), "another")


def test_the_last_speaker_can_be_removed_and_the_bank_filled_again() -> None:
    bank = editing.remove(editing.new(["Ann"], clips("a"), "m", size=SIZE), "Ann")
    assert len(bank) == 0
    assert editing.add(bank, ["Bob"], clips("b"), "m").labels == ("Bob",)


NAMES = st.sampled_from(["Ann", "Bob", "林一", "Eve", "Zoe"])
KEYS = st.lists(st.sampled_from([f"k{i}" for i in range(12)]), min_size=1, max_size=4, unique=True)


class BankMachine(RuleBasedStateMachine):
    """Any sequence of changes through a real store, beside a plain dictionary of who has which clips."""

    redis: Redis

    @initialize()
    def begin(self) -> None:
        self.redis.flushall()
        self.store = BankStore(self.redis, keep=4)
        self.store.put("b", replace(make_bank("Old", model="m", size=SIZE), counts=np.array([1])))
        row = editing.with_clips(self.store.get("b")).clips
        assert row is not None
        self.have: dict[str, dict[str, None]] = {"Old": dict.fromkeys(row.keys)}
        self.past = {1: self._copy()}
        """Who had which clips, by version."""

    def _copy(self) -> dict[str, dict[str, None]]:
        return {label: dict(keys) for label, keys in self.have.items()}

    def _changed(self) -> None:
        self.past[self.store.version("b")] = self._copy()

    @rule(label=NAMES, keys=KEYS)
    def add(self, label: str, keys: list[str]) -> None:
        self.store.update("b", lambda bank: editing.add(bank, [label], clips(*keys), "m"))
        self.have.setdefault(label, {}).update(dict.fromkeys(keys))
        self._changed()

    @precondition(lambda self: self.have)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        label = data.draw(st.sampled_from(sorted(self.have)))
        self.store.update("b", lambda bank: editing.remove(bank, label))
        del self.have[label]
        self._changed()

    @precondition(lambda self: any(len(keys) > 1 for keys in self.have.values()))
    @rule(data=st.data())
    def remove_a_clip(self, data: st.DataObject) -> None:
        label = data.draw(st.sampled_from(sorted(one for one, keys in self.have.items() if len(keys) > 1)))
        key = data.draw(st.sampled_from(sorted(self.have[label])))
        owners = [one for one, keys in self.have.items() if key in keys]
        if any(len(self.have[one]) == 1 for one in owners):
            return
        self.store.update("b", lambda bank: editing.remove_clips(bank, [key]))
        for one in owners:
            del self.have[one][key]
        self._changed()

    @precondition(lambda self: self.have)
    @rule(data=st.data(), to=NAMES)
    def rename(self, data: st.DataObject, to: str) -> None:
        label = data.draw(st.sampled_from(sorted(self.have)))
        if to in self.have:
            return
        self.store.update("b", lambda bank: editing.rename(bank, label, to))
        self.have[to] = self.have.pop(label)
        self._changed()

    @precondition(lambda self: len(self.have) > 1)
    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        label, into = data.draw(st.permutations(sorted(self.have)))[:2]
        self.store.update("b", lambda bank: editing.merge(bank, label, into))
        self.have[into].update(self.have.pop(label))
        self._changed()

    @precondition(lambda self: len(self.past) > 1)
    @rule(data=st.data())
    def rollback(self, data: st.DataObject) -> None:
        back = data.draw(st.sampled_from([one.version for one in self.store.history("b")]))
        self.store.rollback("b", back)
        self.have = {label: dict(keys) for label, keys in self.past[back].items()}
        self._changed()

    @invariant()
    def every_row_is_the_mean_of_its_clips(self) -> None:
        if not hasattr(self, "store"):
            return
        bank = editing.with_clips(self.store.get("b", clips=True))
        assert_means(bank)
        assert bank.clips is not None
        found: dict[str, set[str]] = {label: set() for label in bank.labels}
        for key, owner in zip(bank.clips.keys, bank.clips.owners, strict=True):
            found[bank.labels[owner]].add(key)
        assert found == {label: set(keys) for label, keys in self.have.items()}

    @invariant()
    def redis_holds_the_clips_of_the_kept_versions_and_no_others(self) -> None:
        if not hasattr(self, "store"):
            return
        kept = set()
        for version in self.store.history("b"):
            bank = self.store.get("b", version=version.version, clips=True)
            kept |= set(bank.clips.keys) if bank.clips is not None else set()
        assert {key.decode().partition("@")[0] for key in self.redis.hkeys("speaker:bank:b:clips")} == kept


def test_any_sequence_of_changes_keeps_rows_the_means_of_their_clips(redis: Redis) -> None:
    class Machine(BankMachine):
        pass

    Machine.redis = redis
    case = Machine.TestCase
    case.settings = settings(
        max_examples=40,
        stateful_step_count=25,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    case().runTest()
