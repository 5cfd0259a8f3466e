"""Changes of banks on behalf of somebody: what the audit log says of them, and what is left of who was deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis

from banks.active import ActiveMode
from banks.audit import AuditLog
from banks.bank import Bank
from banks.store import BankStore
from banks.version import Version
from banks.versiondata import VersionData
from speaker_tasks.errors import Conflict, Gone, NotFound, Unusable
from speaker_tasks.jobs import JobStore
from speaker_tasks.jobs.heartbeat import WorkerRecord, WorkerRegistry
from speaker_tasks.jobs.vectors import Measures
from speaker_tasks.operations.banks import BankKeeper
from speaker_tasks.settings import Settings
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
    warnings = " ".join(keeper.purge("staff", "Ann").warnings)
    assert "twin" in warnings
    assert "guests" not in warnings


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


def test_an_npz_of_another_size_is_refused_and_one_of_another_model_is_told_to_be_left_out(
    keeper: BankKeeper, redis: Redis, tmp_path: Path
) -> None:
    file = tmp_path / "x.npz"
    np.savez(file, label=np.array(["a", "b"]), train_feats=unit_vectors(2, size=192))
    with pytest.raises(Unusable, match="192 values"):
        keeper.import_npz("foreign", file)
    assert keeper.store.names() == []
    record = WorkerRecord("w", "host", 1, "compact-0123456789ab", "cpu", "openvino", "bf16", 0.0)
    WorkerRegistry(redis, 10).beat(record)
    np.savez(file, label=np.array(["a", "b"]), train_feats=unit_vectors(2))
    warnings = " ".join(keeper.import_npz("old", file).warnings)
    assert "'vgg'" in warnings
    assert "'compact-0123456789ab'" in warnings
    assert "left out of `all`" in warnings
    assert list(keeper.left_out()) == ["old"]
    assert keeper.import_npz("new", file, model="compact").warnings[0].startswith("there are two banks now")


def test_an_import_says_who_had_no_name_and_whose_names_look_alike(keeper: BankKeeper, tmp_path: Path) -> None:
    labels = np.array(["", "王偉", "王伟", "Bob", " Bob"])
    np.savez(tmp_path / "x.npz", label=labels, train_feats=unit_vectors(5))
    change = keeper.import_npz("old", tmp_path / "x.npz")
    warnings = "\n".join(change.warnings)
    for part in ("'unnamed 1'", "'王偉' and '王伟' look alike", "several rows are called 'Bob'"):
        assert part in warnings
    keeper.remove("old", "unnamed 1")
    assert keeper.store.get("old").labels == ("王偉", "王伟", "Bob", "Bob")


def test_deleting_the_active_bank_makes_all_the_default_again_and_says_so(keeper: BankKeeper, redis: Redis) -> None:
    keeper.put_new("staff", make_bank("a"))
    keeper.put_new("guests", make_bank("b"))
    active = ActiveMode(keeper.store)
    keeper.activate(active, "staff")
    assert keeper.delete("guests") == ()
    assert active.mode() == "staff"
    keeper.put_new("guests", make_bank("b"))
    assert any("'staff' was the active bank" in one for one in keeper.delete("staff"))
    assert active.get()[1].labels == ("b",)


def test_a_rename_to_the_same_name_writes_nothing_and_says_so(keeper: BankKeeper) -> None:
    keeper.put_new("staff", with_clips("Zo\u00eb"))
    change = keeper.rename("staff", "Zoe\u0308", " Zo\u00eb ")
    assert (change.version, change.warnings) == (1, ("nothing was changed: the bank is as it was wanted",))
    assert [one.version for one in keeper.store.history("staff")] == [1]


def test_a_rename_to_a_name_that_looks_like_another_is_told(keeper: BankKeeper) -> None:
    keeper.put_new("staff", with_clips("王偉", "Ann"))
    assert any("look alike" in one for one in keeper.rename("staff", "Ann", "王伟").warnings)


def test_an_unknown_speaker_is_told_with_the_nearest_name(keeper: BankKeeper) -> None:
    keeper.put_new("staff", with_clips("Alice", "Bob"))
    with pytest.raises(NotFound, match="perhaps 'Alice'"):
        keeper.remove("staff", "Alise")


def test_only_the_second_bank_suggests_a_default_and_only_if_none_is_chosen(keeper: BankKeeper) -> None:
    assert keeper.put_new("a", make_bank("x")).warnings == ()
    assert "`speaker-tasks banks use b`" in keeper.put_new("b", make_bank("y")).warnings[0]
    assert keeper.put_new("c", make_bank("z")).warnings == ()
    keeper.delete("c")
    keeper.activate(ActiveMode(keeper.store), "a")
    keeper.delete("b")
    assert keeper.put_new("b", make_bank("y")).warnings == ()


def test_the_clips_of_a_speaker_are_told_each_with_whom_it_sounds_like(keeper: BankKeeper) -> None:
    keeper.put_new("staff", with_clips("Ann", "Bob"))
    first, second = keeper.clips("staff", "Ann")
    assert (first["key"], first["path"], first["start"], first["end"]) == ("Ann-0-0", "/x.wav", 0.5, 1.5)
    assert (second["seconds"], second["nearest"]) == (2.5, "Bob")
    bank = keeper.store.get("staff", clips=True)
    assert first["cosine"] == pytest.approx(float(bank.clips.vectors[0] @ bank.clips.vectors[1]), abs=1e-3)


def test_a_clip_is_moved_to_another_speaker_and_to_a_new_one_only_when_that_is_meant(keeper: BankKeeper) -> None:
    keeper.put_new("staff", with_clips("Ann", "Bob"))
    keeper.move_clips("staff", ["Ann-0-0"], "Bob")
    bank = keeper.store.get("staff", clips=True)
    assert bank.counts.tolist() == [1, 3]
    np.testing.assert_allclose(bank.vectors[0], bank.clips.vectors[bank.clips.keys.index("Ann-0-1")], atol=1e-6)
    with pytest.raises(Conflict, match="no clip of Ann would be left"):
        keeper.move_clips("staff", ["Ann-0-1"], "Bob")
    with pytest.raises(NotFound, match="perhaps 'Bob'"):
        keeper.move_clips("staff", ["Bob-0-0"], "Bobb")
    keeper.move_clips("staff", ["Bob-0-0"], "Bobb", new=True)
    assert keeper.store.get("staff").labels == ("Ann", "Bob", "Bobb")
    assert keeper.move_clips("staff", ["Bob-0-0"], "Bobb").version == 3, "it is there already"


def test_a_clip_is_named_by_the_beginning_of_its_key_if_that_is_enough(keeper: BankKeeper) -> None:
    keeper.put_new("staff", with_clips("Ann", "Bob"))
    keeper.remove_clips("staff", ["Ann-0-1"])
    with pytest.raises(Conflict, match="several clips"):
        keeper.remove_clips("staff", ["Bob"])
    with pytest.raises(NotFound, match="no clip Cy"):
        keeper.remove_clips("staff", ["Cy"])
    keeper.remove_clips("staff", ["Bob-0-0"])
    assert keeper.store.get("staff", clips=True).clips.keys == ("Ann-0-0", "Bob-0-1")


def test_a_purge_names_banks_by_the_voice_and_not_by_the_name(keeper: BankKeeper) -> None:
    staff = with_clips("Ann", "Bob")
    keeper.put_new("staff", staff)
    keeper.put_new("namesake", make_bank("Ann", seed=7))
    keeper.put_new(
        "plain", Bank(("Annie", "Cy"), np.stack([staff.vectors[0], unit_vectors(1, seed=9)[0]]), model="vgg")
    )
    near = staff.vectors[0] / np.linalg.norm(staff.vectors[0]) + 0.3 * unit_vectors(1, seed=11)[0]
    keeper.put_new("near", Bank(("A",), near[None], model="vgg"))
    keeper.put_new("foreign", Bank(("A",), staff.vectors[:1], model="compact"))
    warnings = " ".join(keeper.purge("staff", "Ann").warnings)
    assert "plain as 'Annie'" in warnings
    assert "near perhaps, as 'A' (cosine 0.9" in warnings
    assert "namesake" not in warnings
    assert "foreign" not in warnings, "vectors of two models are never compared"


def test_earlier_names_lead_to_the_speakers_they_are_now(keeper: BankKeeper) -> None:
    keeper.put_new("staff", with_clips("Ann", "Bob", "Cy"))
    keeper.rename("staff", "Ann", "Anna")
    keeper.rename("staff", "Anna", "Annie")
    keeper.merge("staff", "Cy", "Annie")
    assert keeper.store.get("staff").aliases == {"Ann": "Annie", "Anna": "Annie", "Cy": "Annie"}
    keeper.rename("staff", "Bob", "Ann")
    assert keeper.store.get("staff").aliases == {"Anna": "Annie", "Cy": "Annie", "Bob": "Ann"}
    keeper.rollback("staff", 1)
    assert keeper.store.get("staff").aliases == {}
    keeper.purge("staff", "Bob")
    assert all(
        "Bob" not in keeper.store.get("staff", version=one.version).aliases for one in keeper.store.history("staff")
    )


def test_a_purge_reaches_the_answers_that_name_the_speaker_and_all_vectors(keeper: BankKeeper, redis: Redis) -> None:
    keeper.put_new("staff", with_clips("Ann", "Bob"))
    keeper.rename("staff", "Ann", "Anna")
    jobs = JobStore(redis, 100)

    def ended(kind: str, result: dict[str, Any], **about: str) -> str:
        job = jobs.create(kind, about=about)
        jobs.finish(job.id, "succeeded", result=result)
        return job.id

    def answer(bank: str, *names: str) -> dict[str, Any]:
        return {"speaker": names[0], "candidates": [{"speaker": name} for name in names], "bank": {"name": bank}}

    theirs = [
        ended("identify", answer("staff", "Bob", "Anna")),
        ended("identify", answer("all", "Ann", "Bob")),
        ended("verify", {"decision": "unknown"}, bank="staff", speaker="Anna"),
        ended("recognize", {"name": "Anna", "score": 0.9}),
        ended("vector", {"vector": [0.1]}),
        ended("embed", {"feats": [[0.1]]}),
    ]
    others = [ended("identify", answer("staff", "Bob")), ended("identify", answer("elsewhere", "Anna"))]
    enrolled = ended("enroll", {"warnings": ["'Anna' and 'Bob' look alike"], "speakers": ["Anna", "Bob"]})
    waiting = jobs.create("identify", about={"speaker": "Anna"}).id
    keeper.purge("staff", " An\u200bna ")
    for job_id in theirs:
        with pytest.raises(Gone):
            jobs.get(job_id)
        assert not redis.exists(jobs.reply_template.format(id=job_id))
    assert [jobs.get(one).state for one in others] == ["succeeded", "succeeded"]
    assert jobs.get(enrolled).result == {"warnings": ["someone and 'Bob' look alike"], "speakers": ["someone", "Bob"]}
    assert jobs.get(waiting).state == "queued"
    bank_job = ended("enroll", {"speakers": ["Bob"]}, bank="staff")
    keeper.delete("staff")
    with pytest.raises(Gone):
        jobs.get(others[0])
    assert (jobs.get(others[1]).state, jobs.get(bank_job).result) == ("succeeded", None)
