"""Changes of banks on behalf of somebody: what the audit log says of them, and what is left of who was deleted."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from banks.bank import Bank
from banks.store import BankStore
from banks.version import Version
from banks.versiondata import VersionData
from speaker_tasks.audit import AuditLog
from speaker_tasks.bankkeeper import BankKeeper
from speaker_tasks.errors import NotFound
from speaker_tasks.jobs import JobStore
from speaker_tasks.settings import Settings
from speaker_tasks.vectorcache import Measures
from tests.unit.banks.conftest import make_bank, unit_vectors
from tests.unit.banks.test_store import with_clips

PLAIN = Settings(redis_url="redis://x")


@pytest.fixture
def keeper(redis: Redis) -> BankKeeper:
    return BankKeeper(redis, PLAIN, who="cli:zoe")


def entries(redis: Redis) -> list[tuple[str, str, str, int]]:
    """Who, which bank, what, and the status; the oldest first."""
    found = AuditLog(redis).newest(100)
    return [(one["who"], one["bank"], one["what"], one["status"]) for one in reversed(found)]


def test_each_change_says_who_what_and_which_bank_also_when_it_was_refused(
    keeper: BankKeeper, redis: Redis, tmp_path: Path
) -> None:
    file = tmp_path / "staff.npz"
    keeper.put_new("staff", with_clips("Ann", "Bob", "Cy"))
    keeper.rename("staff", "Bob", "Rob")
    keeper.merge("staff", "Cy", "Rob")
    keeper.copy("staff", "twin")
    keeper.unite(["staff", "twin"], "both")
    keeper.export_npz("staff", file)
    keeper.import_npz("again", file)
    keeper.rollback("staff", 1)
    keeper.purge("staff", "Ann")
    keeper.calibrate("staff", {"model": "vgg"})
    keeper.forget_calibration("staff")
    keeper.delete("twin")
    with pytest.raises(NotFound):
        keeper.remove("staff", "nobody")
    assert entries(redis) == [
        ("cli:zoe", "staff", "put", 200),
        ("cli:zoe", "staff", "renamed Bob to Rob", 200),
        ("cli:zoe", "staff", "merged Cy into Rob", 200),
        ("cli:zoe", "twin", "copied from staff", 200),
        ("cli:zoe", "both", "made the union of ['staff', 'twin']", 200),
        ("cli:zoe", "again", f"imported from {file}", 200),
        ("cli:zoe", "staff", "rolled back to 1", 200),
        ("cli:zoe", "staff", "purged Ann", 200),
        ("cli:zoe", "staff", "set thresholds of its own", 200),
        ("cli:zoe", "staff", "went back to the model's thresholds", 200),
        ("cli:zoe", "twin", "deleted", 200),
        ("cli:zoe", "staff", "removed nobody", 404),
    ]
    assert [one["what"] for one in AuditLog(redis).newest(5, bank="twin")] == ["deleted", "copied from staff"]


def test_a_keeper_without_a_name_leaves_the_log_to_its_caller(redis: Redis) -> None:
    BankKeeper(redis, PLAIN).put_new("staff", make_bank("a"))
    assert entries(redis) == []


def test_a_bank_that_comes_back_from_its_snapshot_is_the_services_doing(redis: Redis, tmp_path: Path) -> None:
    keeper = BankKeeper(redis, Settings(redis_url="redis://x", snapshots=str(tmp_path)))
    keeper.put_new("staff", make_bank("a"))
    redis.flushall()
    keeper.restore()
    assert entries(redis) == [("service", "staff", "restored from its snapshot", 200)]


def test_the_command_line_writes_the_workers_snapshots_though_nobody_told_it_of_them(
    redis: Redis, tmp_path: Path
) -> None:
    worker = BankKeeper(redis, Settings(redis_url="redis://x", snapshots=str(tmp_path)))
    worker.put_new("staff", with_clips("Ann", "Bob"))
    worker.restore()
    BankKeeper(redis, PLAIN).purge("staff", "Ann")
    assert worker.snapshots is not None
    assert worker.snapshots.read("staff").labels == ("Bob",)
    BankKeeper(redis, PLAIN).delete("staff")
    assert worker.snapshots.names() == []


def test_a_deleted_bank_leaves_neither_thresholds_nor_remembered_voices(keeper: BankKeeper, redis: Redis) -> None:
    keeper.put_new("staff", with_clips("Ann", "Bob"))
    keeper.cache.put("Ann-0-0", "vgg", unit_vectors(1)[0], Measures())
    keeper.calibrate("staff", {"model": "vgg"})
    keeper.delete("staff")
    assert {key.decode() for key in redis.keys("*")} == {"speaker:banks:token", AuditLog.key}


def test_a_purge_reaches_recordings_that_were_left_out_and_those_under_an_earlier_name(
    keeper: BankKeeper, redis: Redis
) -> None:
    keeper.put_new("staff", with_clips("Ann", "Bob"))
    keeper.rename("staff", "Ann", "Anna")
    jobs = JobStore(redis, 100)
    job = jobs.create("enroll")
    for key, speaker, clip in (("1", "Ann", "Ann-0-0"), ("2", "Ann", "too-noisy"), ("3", "Bob", "Bob-1-0")):
        jobs.record(job.id, key, {"speaker": speaker, "clip": clip}, ok=True)
        keeper.cache.put(clip, "vgg", unit_vectors(1)[0], Measures())
    keeper.purge("staff", "Anna")
    assert set(keeper.cache.get(["Ann-0-0", "too-noisy", "Bob-1-0"], "vgg")) == {"Bob-1-0"}


def test_a_purge_reaches_earlier_versions_under_an_earlier_name_and_no_one_else(keeper: BankKeeper) -> None:
    keeper.put_new("staff", with_clips("Ann", "Bob", "Cy"))
    keeper.rename("staff", "Ann", "Anna")
    keeper.merge("staff", "Cy", "Anna")
    keeper.purge("staff", "Anna")
    versions = [keeper.store.get("staff", version=one.version, clips=True) for one in keeper.store.history("staff")]
    assert [bank.labels for bank in versions] == [("Bob",)] * 3
    assert all({key.partition("-")[0] for key in bank.clips.keys} == {"Bob"} for bank in versions)


def test_a_purge_after_a_merge_that_was_taken_back_spares_the_other(keeper: BankKeeper) -> None:
    keeper.put_new("staff", with_clips("Ann", "Bob"))
    keeper.merge("staff", "Ann", "Bob")
    keeper.rollback("staff", 1)
    keeper.purge("staff", "Bob")
    assert keeper.store.get("staff").labels == ("Ann",)
    assert all("Bob" not in keeper.store.get("staff", version=n.version).labels for n in keeper.store.history("staff"))


def test_who_is_only_in_reports_can_be_purged_and_who_is_nowhere_cannot(keeper: BankKeeper, redis: Redis) -> None:
    keeper.put_new("staff", make_bank("Ann"))
    jobs = JobStore(redis, 100)
    job = jobs.create("enroll")
    jobs.record(job.id, "1", {"speaker": "Bob", "clip": "too-noisy"}, ok=True)
    keeper.cache.put("too-noisy", "vgg", unit_vectors(1)[0], Measures())
    keeper.purge("staff", "Bob")
    assert not keeper.cache.get(["too-noisy"], "vgg")
    with pytest.raises(NotFound):
        keeper.purge("staff", "Bob")
    assert keeper.store.version("staff") == 1


def test_a_deleted_bank_takes_the_reports_of_its_jobs_along(keeper: BankKeeper, redis: Redis) -> None:
    jobs = JobStore(redis, 100)
    kept, gone = (jobs.create("enroll", about={"bank": name}) for name in ("guests", "staff"))
    for job, clip in ((kept, "guest"), (gone, "left-out")):
        jobs.record(job.id, "1", {"speaker": "Ann", "clip": clip}, ok=True)
        jobs.finish(job.id, "succeeded", result={})
        keeper.cache.put(clip, "vgg", unit_vectors(1)[0], Measures())
    keeper.put_new("staff", make_bank("Ann"))
    keeper.delete("staff")
    assert set(keeper.cache.get(["guest", "left-out"], "vgg")) == {"guest"}
    assert (len(jobs.report(kept.id)), len(jobs.report(gone.id))) == (1, 0)


def test_what_is_in_no_bank_is_remembered_no_longer_than_the_report_that_names_its_speaker(redis: Redis) -> None:
    keeper = BankKeeper(redis, Settings(redis_url="redis://x", vector_ttl=1000, job_ttl=10))
    for clip in ("left-out", "enrolled"):
        keeper.cache.put(clip, "vgg", unit_vectors(1)[0], Measures())
    keeper.cache.keep(["enrolled"])
    assert 0 < redis.ttl("speaker:vectors:left-out") <= 10
    assert 900 < redis.ttl("speaker:vectors:enrolled") <= 1000


def test_a_purge_names_the_other_banks_that_hold_the_voice(keeper: BankKeeper) -> None:
    keeper.put_new("staff", with_clips("Ann", "Bob"))
    keeper.copy("staff", "twin")
    keeper.rename("twin", "Ann", "Anna")
    keeper.put_new("guests", make_bank("Eve"))
    told = " ".join(keeper.purge("staff", "Ann").warnings)
    assert "twin" in told
    assert "guests" not in told


def test_a_writer_who_comes_second_leaves_no_data_behind(redis: Redis) -> None:
    first, second = BankStore(redis), BankStore(redis)
    first.put("staff", make_bank("a"))

    class Slow(VersionData):
        """Another writer is done between this one's data and its pointer."""

        def write(self, pointer: str, bank: Bank, number: int) -> Version:
            written = super().write(pointer, bank, number)
            if number == 2:
                second.put("staff", make_bank("b"))
            return written

    slow = BankStore(redis)
    slow._data = Slow(redis, slow.prefix)
    slow.put("staff", make_bank("c"))
    kept = {key.decode().split(":")[2] for key in redis.keys("speaker:bankdata:*")}
    assert kept == {version.data for version in first.history("staff")}
    assert len(kept) == 3
