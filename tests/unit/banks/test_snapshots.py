"""Snapshots outlive Redis; a place that cannot be written gives a warning, and nothing else breaks."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import numpy as np
import pytest
from redis import Redis

from banks import editing
from banks.diff import diff
from banks.snapshots import SnapshotFailed, Snapshots
from banks.store import BankStore
from speaker_tasks.errors import Conflict, ModelMismatch, NotFound, Unusable
from speaker_tasks.jobs import JobStore
from speaker_tasks.jobs.vectors import Measures
from speaker_tasks.operations.banks import BankKeeper
from speaker_tasks.settings import Settings
from tests.unit.banks.conftest import make_bank, unit_vectors
from tests.unit.banks.test_store import with_clips


@pytest.fixture(params=["folder", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for snapshots: a folder, and a file system that only fsspec knows."""
    if request.param == "folder":
        return str(tmp_path / "snapshots")
    memory = fsspec.filesystem("memory")
    if memory.exists("/banks"):
        memory.rm("/banks", recursive=True)
    return "memory://banks"


@pytest.fixture
def keeper(redis: Redis, root: str) -> BankKeeper:
    return BankKeeper(redis, Settings(redis_url="redis://x", snapshots=root))


def test_every_change_is_also_a_snapshot_and_an_empty_redis_is_filled_from_them(
    keeper: BankKeeper, redis: Redis
) -> None:
    bank = with_clips("林一", "Ann")
    keeper.put_new("早会 1", bank)
    keeper.rename("早会 1", "Ann", "Anna")
    keeper.put_new("other", make_bank("x"))
    redis.flushall()
    assert sorted(keeper.restore()) == ["other", "早会 1"]
    again = keeper.store.get("早会 1", clips=True)
    assert again.labels == ("林一", "Anna")
    assert again.clips is not None
    assert bank.clips is not None
    np.testing.assert_array_equal(again.clips.vectors, bank.clips.vectors)
    assert keeper.restore() == [], "banks that are there are left alone"


def test_a_deleted_bank_does_not_come_back(keeper: BankKeeper, redis: Redis) -> None:
    keeper.put_new("staff", make_bank("a"))
    keeper.put_new("guests", make_bank("b"))
    keeper.delete("staff")
    redis.flushall()
    assert keeper.restore() == ["guests"]


def test_a_place_that_cannot_be_written_is_a_warning_and_the_change_is_done(redis: Redis, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    keeper = BankKeeper(redis, Settings(redis_url="redis://x", snapshots=str(tmp_path / "file" / "below")))
    change = keeper.put_new("staff", make_bank("a"))
    assert len(change.warnings) == 1
    assert "cannot be written" in change.warnings[0]
    assert keeper.store.get("staff").labels == ("a",)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_a_warning(redis: Redis, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    keeper = BankKeeper(redis, Settings(redis_url="redis://x", snapshots=str(tmp_path)))
    assert keeper.put_new("staff", make_bank("a")).warnings


def test_a_full_disk_leaves_the_old_snapshot_and_no_part(
    redis: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = BankKeeper(redis, Settings(redis_url="redis://x", snapshots=str(tmp_path)))
    keeper.put_new("staff", make_bank("before"))

    def full(_snapshots: Snapshots, path: str, data: bytes) -> None:
        Path(path).write_bytes(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Snapshots, "_write", full)
    change = keeper.rename("staff", "before", "after")
    assert "No space left" in change.warnings[0]
    assert Snapshots(tmp_path).read("staff").labels == ("before",)
    assert [path.name for path in tmp_path.iterdir()] == ["staff.npz"]


def test_a_snapshot_that_is_torn_is_refused(tmp_path: Path, redis: Redis) -> None:
    (tmp_path / "staff.npz").write_bytes(b"PK torn")
    with pytest.raises(Unusable):
        Snapshots(tmp_path).restore(BankStore(redis))
    with pytest.raises(SnapshotFailed):
        Snapshots(tmp_path).read("nothing")


def test_purging_a_speaker_leaves_nothing_of_its_voice_anywhere(keeper: BankKeeper, redis: Redis) -> None:
    keeper.put_new("staff", with_clips("Ann", "Bob"))
    keeper.rename("staff", "Bob", "Rob")
    keeper.store.put("staff", with_clips("Ann", "Rob", seed=3))
    assert keeper.snapshots is not None
    keeper.cache.put("Ann-0-0", "vgg", unit_vectors(1)[0], Measures(seconds=2))
    jobs = JobStore(redis, 100)
    job = jobs.create("enroll")
    jobs.record(job.id, "0", {"speaker": "Ann", "path": "/a.wav"}, ok=True)
    jobs.record(job.id, "1", {"speaker": "Bob", "path": "/b.wav"}, ok=True)
    keeper.purge("staff", "Ann")
    for version in keeper.store.history("staff"):
        bank = keeper.store.get("staff", version=version.version, clips=True)
        assert "Ann" not in bank.labels
    assert "Ann" not in keeper.snapshots.read("staff").labels
    assert keeper.cache.get(["Ann-0-0"], "vgg") == {}
    assert [entry["speaker"] for entry in jobs.report(job.id)] == ["Bob"]
    assert not [key for key in redis.hkeys("speaker:bank:staff:clips") if key.startswith(b"Ann")]
    assert b"Ann" not in b"".join(redis.dump(key) or b"" for key in redis.keys("*"))
    with pytest.raises(NotFound):
        keeper.purge("staff", "Ann")


def test_remove_alone_keeps_the_speaker_in_earlier_versions(keeper: BankKeeper) -> None:
    keeper.put_new("staff", with_clips("Ann", "Bob"))
    keeper.remove("staff", "Ann")
    assert keeper.store.get("staff").labels == ("Bob",)
    keeper.rollback("staff")
    assert keeper.store.get("staff").labels == ("Ann", "Bob")


def test_union_joins_the_clips_of_who_is_in_both_and_refuses_two_models(keeper: BankKeeper) -> None:
    keeper.put_new("one", with_clips("Ann", "Bob", seed=1))
    keeper.put_new("two", with_clips("Ann", "Eve", seed=2))
    keeper.put_new("other", make_bank("x", model="compact"))
    keeper.unite(["one", "two"], "both")
    both = keeper.store.get("both")
    assert dict(zip(both.labels, both.counts.tolist(), strict=True)) == {"Ann": 4, "Bob": 2, "Eve": 2}
    with pytest.raises(ModelMismatch):
        keeper.unite(["one", "other"], "never")
    with pytest.raises(Conflict):
        keeper.copy("one", "two")


def test_old_and_new_files_go_in_and_out(keeper: BankKeeper, tmp_path: Path) -> None:
    np.savez(tmp_path / "old.npz", label=np.array(["林一"]), train_feats=unit_vectors(1).astype(np.float64))
    keeper.import_npz("old", tmp_path / "old.npz")
    assert keeper.about("old")["model"] == "vgg"
    keeper.export_npz("old", tmp_path / "new.npz")
    with pytest.raises(Conflict):
        keeper.import_npz("old", tmp_path / "new.npz")
    assert keeper.import_npz("old", tmp_path / "new.npz", replace_it=True).version == 2
    assert keeper.store.get("old").labels == ("林一",)


def test_the_difference_of_two_versions_names_who_came_left_changed_or_is_called_otherwise(keeper: BankKeeper) -> None:
    keeper.put_new("staff", with_clips("Ann", "Bob", "Cy"))
    keeper.rename("staff", "Ann", "Anna")
    keeper.remove("staff", "Bob")
    keeper.store.update("staff", lambda bank: editing.remove_clips(bank, ["Cy-0-0"]))
    found = keeper.diff("staff", 1, 4)
    assert (found.added, found.removed, found.renamed) == ((), ("Bob",), (("Ann", "Anna"),))
    (change,) = found.changed
    assert (change.label, change.count_after) == ("Cy", 1)
    assert 0 < change.cosine < 1
    assert diff(keeper.store.get("staff"), keeper.store.get("staff")).changed == ()
