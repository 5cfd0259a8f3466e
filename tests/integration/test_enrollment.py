"""Enrolling a folder through the real queue, from the command line and from code."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import openpyxl
import pytest
import soundfile

from banks.npz import read_npz
from banks.store import BankStore
from enrollment.folder import scan
from speaker_tasks.jobs import JobRecord
from speaker_tasks.jobs.delivery import task_key
from tests.integration.sounds import RATE, voice
from tests.integration.stack import PROGRAMS, Stack, wait_for


@pytest.fixture
def folder(stack: Stack) -> Path:
    """A folder that the worker may read: two speakers with three clips each, and things that are no recordings."""
    root = stack.folder / "data" / uuid.uuid4().hex
    for number, speaker in enumerate(["林一", "Ann"]):
        (root / speaker).mkdir(parents=True)
        for take in range(3):
            soundfile.write(root / speaker / f"{take}.wav", voice(number, 3.0, take=take), RATE)
    (root / "Ann" / "notes.txt").write_text("not sound")
    (root / "Ann" / "torn.wav").write_text("not sound either")
    soundfile.write(root / "Ann" / "silent.flac", np.zeros(RATE), RATE)
    return root


@pytest.fixture
def store(stack: Stack) -> Iterator[BankStore]:
    """The stack's banks; those that a test made are taken away."""
    banks = BankStore(stack.client().redis)
    yield banks
    for name in banks.names():
        banks.delete(name)


def enroll(stack: Stack, source: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`speaker-tasks enroll`, as a user types it."""
    environment = {"SPEAKER_REDIS_URL": stack.redis_url, "PATH": "/usr/bin:/bin", "COLUMNS": "200"}
    environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    command = [str(PROGRAMS / "speaker-tasks"), "enroll", str(source), *options]
    return subprocess.run(
        command, env=environment, cwd=stack.folder, capture_output=True, text=True, timeout=120, check=False
    )


def finished(stack: Stack, job: JobRecord) -> JobRecord:
    client = stack.client()
    wait_for("the end of the job", lambda: client.job(job.id).over)
    return client.job(job.id)


def test_a_folder_is_enrolled_by_path_and_every_file_is_accounted_for(
    stack: Stack, store: BankStore, folder: Path
) -> None:
    client = stack.client()
    job = finished(stack, client.enroll({}, source={"folder": str(folder)}, bank="staff"))
    assert (job.state, job.error) == ("succeeded", None)
    assert (job.total, job.done, job.failed) == (8, 6, 2)
    bank = store.get("staff", clips=True)
    assert bank.labels == ("Ann", "林一")
    assert bank.counts.tolist() == [3, 3]
    assert bank.clips is not None
    means = bank.clips.vectors.reshape(2, 3, -1).mean(1)
    np.testing.assert_allclose(bank.vectors, means, atol=1e-6)
    assert job.result is not None
    assert bank.model == job.result["model"] == client.model()
    report = {entry["row"]: entry["outcome"] for entry in client.long_jobs.report(job.id)}
    assert report["Ann/torn.wav"] == "unreadable"
    assert report["Ann/silent.flac"] == "silent"
    assert report["Ann/notes.txt"] == "not_audio"
    assert sum(outcome == "enrolled" for outcome in report.values()) == 6


def test_nothing_of_the_job_but_its_record_stays_in_redis(stack: Stack, store: BankStore, folder: Path) -> None:
    client = stack.client()
    of_others = set(client.redis.keys("speaker:audio:*"))
    job = finished(stack, client.enroll_manifest(scan(folder).to_dict(), bank="staff"))
    assert job.state == "succeeded"
    wait_for("the plan to go", lambda: not client.redis.keys(f"speaker:enroll:{job.id}*"))
    wait_for("what was uploaded to go", lambda: set(client.redis.keys("speaker:audio:*")) <= of_others)


def test_the_command_line_uploads_what_the_workers_cannot_read_saves_and_reports(
    stack: Stack, store: BankStore, folder: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "speakers"
    folder.rename(elsewhere)
    done = enroll(
        stack, elsewhere, "--bank", "staff", "--save", str(tmp_path / "x.npz"), "--report", str(tmp_path / "r.csv")
    )
    assert done.returncode == 0, done.stderr
    assert "2 speakers, 6 recordings enrolled, 2 left out" in done.stdout
    saved = read_npz(tmp_path / "x.npz", model="?")
    np.testing.assert_array_equal(saved.vectors, store.get("staff").vectors)
    with np.load(tmp_path / "x.npz") as stored:
        assert stored.files[:2] == ["label", "train_feats"]
    rows = list(csv.DictReader((tmp_path / "r.csv").open()))
    assert {row["outcome"] for row in rows} == {"enrolled", "unreadable", "silent", "not_audio"}


def test_the_command_line_tells_the_job_as_json(stack: Stack, store: BankStore, folder: Path) -> None:
    done = enroll(stack, folder, "--bank", "staff", "--json")
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    assert (job["state"], job["result"]["enrolled"], job["progress"]["done"]) == ("succeeded", 6, 6)


def test_a_speaker_without_a_usable_file_is_an_error_that_names_it(
    stack: Stack, store: BankStore, folder: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "speakers"
    folder.rename(elsewhere)
    (elsewhere / "Eve").mkdir()
    (elsewhere / "Eve" / "x.wav").write_text("?")
    done = enroll(stack, elsewhere, "--bank", "staff")
    assert done.returncode == 2
    assert "no usable recording of Eve" in done.stderr
    assert store.get("staff").labels == ("Ann", "林一"), "the others are enrolled"


def test_bad_rows_count_as_left_out_and_a_source_without_any_recording_says_why(
    stack: Stack, store: BankStore, folder: Path
) -> None:
    (folder / "list.csv").write_text("speaker,path\nAnn,Ann/0.wav\nAnn,Ann/1.wav\n,Ann/2.wav\nBob,gone.wav\n")
    done = enroll(stack, folder / "list.csv", "--bank", "staff", "--force", "--no-upload")
    assert "2 recordings enrolled, 2 left out" in done.stdout
    assert "the speaker's name is empty" in done.stdout
    (folder / "wrong.csv").write_text("speaker,path\n,Ann/2.wav\n")
    nothing = enroll(stack, folder / "wrong.csv", "--bank", "nobody", "--no-upload")
    assert nothing.returncode == 2
    assert "the source holds no recording: the speaker's name is empty" in nothing.stderr
    assert "line 2" in nothing.stdout, "the report has the row"


def test_a_typo_beside_good_rows_is_named_with_its_path_and_is_no_success(
    stack: Stack, store: BankStore, folder: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "speakers"
    folder.rename(elsewhere)
    rows = [r"Ann,Ann\0.wav", "Ann,Ann/typo.wav", "林一,林一/0.wav", "林一,林一/1.wav"]
    (elsewhere / "list.csv").write_text("\n".join(["speaker,path", *rows]))
    report = tmp_path / "report.csv"
    done = enroll(stack, elsewhere / "list.csv", "--bank", "staff", "--force", "--report", str(report))
    assert done.returncode == 2
    assert done.stderr == "error: the source names what cannot be enrolled: 1 missing; the rest is enrolled\n"
    assert f"there is no file {elsewhere}/Ann/typo.wav" in done.stdout
    assert "3 recordings enrolled, 1 left out" in done.stdout
    assert "outside" not in done.stdout
    assert report.read_bytes().startswith(b"\xef\xbb\xbfspeaker,"), "Excel knows UTF-8 by this mark"


def test_a_speaker_whose_rows_are_all_wrong_makes_the_job_partial(stack: Stack, store: BankStore, folder: Path) -> None:
    (folder / "list.csv").write_text("speaker,path,start,end\nAnn,Ann/0.wav,,\nBob,Ann/1.wav,x,\n")
    client = stack.client()
    job = finished(stack, client.enroll({}, source={"path": str(folder / "list.csv")}, bank="staff", force=True))
    assert job.state == "partial"
    assert job.result is not None
    assert job.result["speakers_without"] == ["Bob"]


def test_a_workbook_below_the_roots_cannot_be_used_to_look_elsewhere(
    stack: Stack, store: BankStore, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "0.wav").write_bytes(b"x")
    book = openpyxl.Workbook()
    book.active.append(["rec", "speaker"])
    for name in ("0", "1"):
        book.active.append([name, "Ann"])
    book.save(folder / "book.dat")
    options = {"speaker": 1, "skip_last": 0, "pattern": f"{tmp_path}/{{recording}}.wav"}
    client = stack.client()
    asked = {"source": {"path": str(folder / "book.dat")}, "bank": "staff", "options": options}
    job = finished(stack, client.enroll({}, **asked))
    assert job.state == "failed"
    assert {entry["outcome"] for entry in client.long_jobs.report(job.id)} == {"outside_roots"}


def test_enrolling_a_folder_twice_counts_no_recording_twice(stack: Stack, store: BankStore, folder: Path) -> None:
    client = stack.client()
    for _ in range(2):
        job = finished(stack, client.enroll({}, source={"folder": str(folder)}, bank="staff"))
        assert job.state == "succeeded"
    assert store.get("staff").counts.tolist() == [3, 3]
    assert store.version("staff") == 1, "what brings nothing new is no version"


def test_modes_create_and_replace(stack: Stack, store: BankStore, folder: Path) -> None:
    client = stack.client()

    def run(mode: str) -> JobRecord:
        return finished(stack, client.enroll({}, source={"folder": str(folder)}, bank="staff", mode=mode))

    assert run("create").state == "succeeded"
    refused = run("create")
    assert refused.error is not None
    assert (refused.state, refused.error["code"]) == ("failed", "conflict")
    (folder / "Ann" / "0.wav").unlink()
    assert run("replace").state == "succeeded"
    bank = store.get("staff")
    assert dict(zip(bank.labels, bank.counts.tolist(), strict=True)) == {"Ann": 2, "林一": 3}


def test_one_recording_under_two_names_is_left_out_of_both_and_the_others_are_enrolled(
    stack: Stack, store: BankStore, folder: Path
) -> None:
    (folder / "Ann" / "copy.wav").write_bytes((folder / "林一" / "0.wav").read_bytes())
    client = stack.client()
    job = finished(stack, client.enroll({}, source={"folder": str(folder)}, bank="staff"))
    assert (job.state, job.error) == ("succeeded", None)
    bank = store.get("staff")
    assert dict(zip(bank.labels, bank.counts.tolist(), strict=True)) == {"Ann": 3, "林一": 2}
    report = {entry["row"]: entry["outcome"] for entry in client.long_jobs.report(job.id)}
    assert (report["Ann/copy.wav"], report["林一/0.wav"]) == ("two_names", "two_names")
    (warning,) = [one for one in job.result["warnings"] if "one recording under two names" in one]
    assert "Ann/copy.wav" in warning
    assert "林一/0.wav" in warning


def two_voices(folder: Path) -> None:
    """Two recordings of somebody else among Ann's three."""
    for take in range(2):
        soundfile.write(folder / "Ann" / f"other{take}.wav", voice(9, 3.0, take=take), RATE)


def test_a_speaker_of_two_voices_is_told_with_both_lists_and_is_left_out_unless_forced(
    stack: Stack, store: BankStore, folder: Path
) -> None:
    two_voices(folder)
    client = stack.client()
    job = finished(stack, client.enroll({}, source={"folder": str(folder)}, bank="staff"))
    assert job.state == "partial"
    assert store.get("staff").labels == ("林一",)
    report = {entry["row"]: entry["outcome"] for entry in client.long_jobs.report(job.id)}
    assert report["Ann/0.wav"] == report["Ann/other1.wav"] == "mixed_voices"
    (warning,) = [one for one in job.result["warnings"] if "two voices" in one]
    for half in ("Ann/0.wav, Ann/1.wav, Ann/2.wav", "Ann/other0.wav, Ann/other1.wav"):
        assert half in warning
    forced = finished(stack, client.enroll({}, source={"folder": str(folder)}, bank="staff", force=True))
    assert any("two voices" in one and "enrolled (force)" in one for one in forced.result["warnings"])
    assert "Ann" in store.get("staff").labels


def test_folders_outside_the_allowed_roots_are_refused(stack: Stack, store: BankStore, tmp_path: Path) -> None:
    for path in (tmp_path, Path("/"), stack.folder / "data" / ".." / ".."):
        job = finished(stack, stack.client().enroll({}, source={"folder": str(path)}, bank="staff"))
        assert job.error is not None
        assert job.error["code"] == "outside_roots"


def test_a_canceled_job_leaves_the_bank_as_it_was(stack: Stack, store: BankStore, folder: Path) -> None:
    client = stack.client()
    job = client.cancel(client.enroll({}, source={"folder": str(folder)}, bank="staff").id)
    assert job.state == "canceled"
    wait_for("the worker to drop it", lambda: not client.redis.exists(task_key(job.id)))
    assert "staff" not in store.names()


@pytest.mark.parametrize("bank", ["all", "custom", "", "a/b"])
def test_names_that_no_bank_may_have_are_refused_before_any_work(
    stack: Stack, store: BankStore, folder: Path, bank: str
) -> None:
    done = enroll(stack, folder, "--bank", bank)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_bank_is_built_again_from_its_recordings_under_the_workers_model(
    stack: Stack, store: BankStore, folder: Path
) -> None:
    client = stack.client()
    finished(stack, client.enroll({}, source={"folder": str(folder)}, bank="staff"))
    before = store.get("staff", clips=True)
    store.put("staff", replace(before, model="older-0123456789ab", vectors=np.ones_like(before.vectors)))
    refused = finished(stack, client.enroll({}, source={"folder": str(folder)}, bank="staff"))
    assert refused.error is not None
    assert refused.error["code"] == "model_mismatch"
    job = finished(stack, client.enroll({}, source={"bank": "staff"}, bank="staff", mode="rebuild", force=True))
    assert job.state == "succeeded", job.error
    after = store.get("staff", clips=True)
    assert after.model == before.model
    np.testing.assert_allclose(after.vectors, before.vectors, atol=1e-5)
    copy = finished(stack, client.enroll({}, source={"bank": "staff"}, bank="copy", mode="create", force=True))
    assert copy.state == "succeeded"
    assert store.get("copy").labels == after.labels
