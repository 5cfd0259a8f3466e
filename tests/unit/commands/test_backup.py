"""A backup holds the banks with all that belongs to them, and a restore brings it back to an empty server."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from redis import Redis

from banks.audit import AuditLog
from banks.bank import Bank, Clips
from banks.calibrations import BankJudges
from banks.store import BankStore
from speaker_tasks.errors import Conflict, Malformed, NotFound
from speaker_tasks.operations.backup import About, api_keys, back_up, describe, restore

RANDOM = np.random.default_rng(7)
VOICES = RANDOM.normal(size=(3, 512)).astype(np.float32)


def bank(*labels: str) -> Bank:
    count = len(labels)
    clips = Clips(
        keys=tuple(f"clip-{label}" for label in labels),
        owners=np.arange(count),
        vectors=VOICES[:count],
        seconds=np.full(count, 3.0, np.float32),
        weights=np.ones(count, np.int64),
        paths=("",) * count,
        spans=(None,) * count,
    )
    return Bank(labels, VOICES[:count], model="compact-0", clips=clips)


@pytest.fixture
def filled(redis: Redis) -> Redis:
    """Two banks, one with two versions, thresholds and a cohort; an audit log; and what no backup may hold."""
    store = BankStore(redis)
    store.put("staff", bank("Ann"))
    store.put("staff", bank("Ann", "李明"))
    store.put("guests", bank("Bob", "Eve", "Joe"))
    BankJudges(store).put("staff", {"model": "compact-0", "operating": {}})
    for number in range(1100):
        AuditLog(redis).note("phone", f"change {number}", "staff")
    redis.set("speaker:audio:abc", b"voice in flight")
    redis.hset("speaker:vectors:clip-Ann", "m", b"remembered")
    redis.set("someone-elses", "theirs")
    return redis


def everything(client: Redis) -> dict[str, Any]:
    store = BankStore(client)
    found: dict[str, Any] = {}
    for name in store.names():
        for version in store.history(name):
            one = store.get(name, version=version.version, clips=True)
            assert one.clips is not None
            found[f"{name}/{version.version}"] = (one.labels, one.vectors.tobytes(), one.clips.keys, version.source)
    judges = BankJudges(store).get("staff", "compact-0")
    return found | {"judges": judges, "audit": AuditLog(client).newest(2000)}


def test_a_restored_server_has_all_that_there_was(filled: Redis, tmp_path: Path) -> None:
    before, file = everything(filled), tmp_path / "backup.zip"
    assert len(before["audit"]) == 1100
    about = back_up(filled, file, keys="phone:read:0\n")
    assert about.banks == ("guests", "staff")
    assert file.stat().st_mode & 0o777 == 0o600
    filled.flushall()
    filled.set("someone-elses", "theirs")
    token = BankStore(filled).redis.get(BankStore(filled).token_key)
    restore(filled, file)
    assert everything(filled) == before
    assert filled.get("someone-elses") == b"theirs"
    assert not filled.exists("speaker:audio:abc", "speaker:vectors:clip-Ann")
    assert filled.get(BankStore(filled).token_key) != token, "workers look again"
    assert api_keys(file) == "phone:read:0\n"
    assert BankStore(filled).put("staff", bank("Ann")) == 3, "and it goes on from there"


def test_no_voice_in_flight_is_in_the_file(filled: Redis, tmp_path: Path) -> None:
    back_up(filled, tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as file:
        assert not any(b"voice in flight" in file.read(name) for name in file.namelist())
    assert [path.name for path in tmp_path.iterdir()] == ["b.zip"]


def test_banks_that_are_there_are_replaced_only_if_that_is_said(filled: Redis, tmp_path: Path) -> None:
    file = tmp_path / "b.zip"
    back_up(filled, file)
    before = everything(filled)
    BankStore(filled).put("later", bank("Zoe"))
    with pytest.raises(Conflict, match="guests, later, staff"):
        restore(filled, file)
    assert "later" in BankStore(filled).names()
    restore(filled, file, replace=True)
    assert everything(filled) == before


def test_what_is_no_backup_changes_nothing(filled: Redis, tmp_path: Path) -> None:
    before = everything(filled)
    with pytest.raises(NotFound):
        restore(filled, tmp_path / "none.zip", replace=True)
    (tmp_path / "text").write_text("hello")
    with pytest.raises(Malformed, match="no backup"):
        restore(filled, tmp_path / "text", replace=True)
    about = back_up(filled, tmp_path / "b.zip")
    newer = About(**{**about.__dict__, "format": 2})
    with zipfile.ZipFile(tmp_path / "newer.zip", "w") as file:
        file.writestr("backup.json", orjson.dumps(newer.__dict__))
    with pytest.raises(Malformed, match="update speaker-tasks"):
        restore(filled, tmp_path / "newer.zip", replace=True)
    whole = (tmp_path / "b.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Malformed):
        describe(tmp_path / "cut.zip")
    assert everything(filled) == before


def test_a_bank_that_changes_meanwhile_is_read_again(
    filled: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from speaker_tasks.operations import backup

    reads, write = [], backup._write

    def disturbed(*given: Any) -> About:
        reads.append(1)
        about = write(*given)
        if len(reads) == 1:
            BankStore(filled).put("staff", bank("Ann", "Eve", "Joe"))
        return about

    monkeypatch.setattr(backup, "_write", disturbed)
    back_up(filled, tmp_path / "b.zip")
    after = everything(filled)
    filled.flushall()
    restore(filled, tmp_path / "b.zip")
    assert len(reads) == 2
    assert everything(filled) == after
