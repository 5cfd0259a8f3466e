"""Hundreds of recordings at once: what is counted, remembered and left whole when workers and servers die."""

from __future__ import annotations

import csv
import io
import os
import time
import uuid
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pytest
import soundfile

from banks.store import BankStore
from speaker_tasks.client import TaskClient
from speaker_tasks.embedding import audio
from speaker_tasks.jobs import JobRecord
from speaker_tasks.jobs.heartbeat import MISSED_BEATS
from tests.integration.sounds import RATE, voice
from tests.integration.stack import QUICK_BEAT, RestartableServer, Stack, Web, wait_for

SPEAKERS, EACH = 10, 30


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 recordings of ten made-up voices, no two alike."""
    root = tmp_path_factory.mktemp("bulk") / "speakers"
    random = np.random.default_rng(0)
    for number in range(SPEAKERS):
        folder = root / f"speaker {number}"
        folder.mkdir(parents=True)
        said = voice(number % 5, 20.0, take=number)
        for take in range(EACH):
            start = int(random.integers(0, len(said) - 3 * RATE))
            soundfile.write(folder / f"{take:02d}.wav", said[start : start + 3 * RATE], RATE)
    return root


@pytest.fixture
def data(recordings: Path, fresh: Stack) -> dict[str, str]:
    """The environment of workers that may read the recordings."""
    return {"SPEAKER_DATA_ROOTS": str(recordings.parent)}


def start(client: TaskClient, source: Path, bank: str = "staff", **more: Any) -> JobRecord:
    return client.enroll({}, source={"path": str(source)}, bank=bank, force=True, **more)


def ended(client: TaskClient, job: JobRecord, seconds: float = 120) -> JobRecord:
    wait_for("the end of the job", lambda: client.job(job.id).over, seconds)
    return client.job(job.id)


def under_way(client: TaskClient, job: JobRecord, recordings: int = 30) -> None:
    wait_for("some recordings", lambda: client.job(job.id).done >= recordings, 60)


def assert_all_counted_once(client: TaskClient, job: JobRecord) -> None:
    assert (job.state, job.total, job.done, job.failed) == ("succeeded", SPEAKERS * EACH, SPEAKERS * EACH, 0)
    report = client.long_jobs.report(job.id)
    assert len(report) == SPEAKERS * EACH
    assert {entry["outcome"] for entry in report} == {"enrolled"}
    bank = BankStore(client.redis).get("staff", clips=True)
    assert bank.counts.tolist() == [EACH] * SPEAKERS
    assert bank.clips is not None
    assert len(set(bank.clips.keys)) == SPEAKERS * EACH


def test_a_worker_killed_in_the_middle_of_300_recordings_loses_and_repeats_none(
    fresh: Stack, recordings: Path, data: dict[str, str]
) -> None:
    client = fresh.client()
    doomed = fresh.worker(**data)
    job = start(client, recordings)
    under_way(client, job)
    doomed.kill()
    killed_at = time.monotonic()
    fresh.worker(**data)
    job = ended(client, job)
    waited = time.monotonic() - killed_at
    print(f"\n{SPEAKERS * EACH} recordings, finished {waited:.1f} s after the kill")
    assert_all_counted_once(client, job)
    assert BankStore(client.redis).version("staff") == 1
    stuck = MISSED_BEATS * QUICK_BEAT + 10
    assert job.finished is not None
    assert job.started is not None
    assert waited < stuck + (job.finished - job.started), (
        "all but the work itself takes 10 s after the last heartbeat has gone"
    )


def test_a_redis_killed_and_started_again_in_the_middle_loses_nothing(
    recordings: Path, tmp_path: Path, data: dict[str, str]
) -> None:
    server = RestartableServer(tmp_path)
    server.start()
    stack = Stack(tmp_path, server.url)
    try:
        client = stack.client()
        stack.worker(**data)
        job = start(client, recordings)
        under_way(client, job)
        before = client.job(job.id).done
        assert server.popen is not None
        server.popen.kill()
        server.popen.wait()
        server.popen = None
        time.sleep(1)
        server.start()
        client = stack.client()
        assert client.job(job.id).done >= before, "what was acknowledged is there"
        assert_all_counted_once(client, ended(client, job))
    finally:
        stack.stop()
        server.stop()


def test_cancel_stops_within_a_chunk_and_a_second_run_is_served_from_memory(
    fresh: Stack, recordings: Path, data: dict[str, str]
) -> None:
    client = fresh.client()
    fresh.worker(**data)
    job = start(client, recordings)
    under_way(client, job)
    assert client.cancel(job.id).state == "canceled"
    of_job = [f"speaker:enroll:{job.id}", f"speaker:enroll:{job.id}:vectors"]
    wait_for("the chunks to be dropped", lambda: not client.redis.exists(*of_job), 20)
    assert client.job(job.id).done < SPEAKERS * EACH
    assert BankStore(client.redis).names() == []

    first = ended(client, start(client, recordings))
    second = ended(client, start(client, recordings, bank="again"))
    assert first.finished is not None
    assert second.finished is not None
    assert first.started is not None
    assert second.started is not None
    took = [first.finished - first.started, second.finished - second.started]
    print(f"\n{SPEAKERS * EACH} recordings: {took[0]:.1f} s, then {took[1]:.2f} s from memory")
    assert took[1] < max(3, took[0] / 2), "the network is not asked again"
    assert not client.redis.exists(*of_job), "a chunk that ran on has left no voices"
    assert not client.redis.keys("speaker:audio:*")
    store = BankStore(client.redis)
    np.testing.assert_array_equal(store.get("staff").vectors, store.get("again").vectors)


def test_a_snapshot_folder_that_cannot_be_written_is_told_in_the_report(
    fresh: Stack, recordings: Path, data: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "in the way").write_text("a file")
    client = fresh.client()
    fresh.worker(**data, SPEAKER_SNAPSHOTS=str(tmp_path / "in the way" / "banks"))
    job = ended(client, start(client, recordings, dry_run=True))
    assert job.state == "succeeded"
    assert BankStore(client.redis).names() == [], "a dry run writes nothing"
    job = ended(client, start(client, recordings))
    assert job.state == "succeeded"
    assert job.result is not None
    assert any("cannot be written" in warning for warning in job.result["warnings"])


class TestUploads:
    """Archives through the API, on the shared stack."""

    @pytest.fixture
    def archive(self, recordings: Path) -> bytes:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for number in (0, 1):
                for take in range(4):
                    name = f"speaker {number}/{take:02d}.wav"
                    archive.write(recordings / name, f"人/{name}")
            archive.writestr("人/speaker 0/notes.txt", "no sound")
        return data.getvalue()

    def follow(self, web: Web, location: str) -> dict[str, Any]:
        wait_for("the job", lambda: web.get(location).json()["job"]["state"] not in ("queued", "running"), 60)
        job: dict[str, Any] = web.get(location).json()["job"]
        return job

    @pytest.mark.parametrize("form", ["body", "multipart"])
    def test_a_zip_is_enrolled_and_its_report_comes_as_json_and_csv(self, web: Web, archive: bytes, form: str) -> None:
        given: dict[str, Any] = (
            {"data": archive, "headers": {"Content-Type": "application/zip"}}
            if form == "body"
            else {"files": {"archive": ("speakers.zip", archive)}}
        )
        answer = web.post("/v1/banks/uploaded/enrollments", params={"force": "true"}, **given)
        assert answer.status_code == 202, answer.text
        job = self.follow(web, answer.headers["Location"])
        assert job["state"] == "succeeded", job
        assert job["progress"]["done"] == job["progress"]["total"] == 8
        assert job["progress"]["per_second"] > 0
        assert job["progress"]["seconds_left"] == 0
        report = web.get(answer.headers["Location"] + "/report")
        assert "attachment" in report.headers["Content-Disposition"]
        outcomes = Counter(entry["outcome"] for entry in report.json())
        assert outcomes == {"enrolled": 8, "not_audio": 1}
        rows = list(csv.DictReader(io.StringIO(web.get(answer.headers["Location"] + "/report?format=csv").text)))
        assert [row["row"] for row in rows] == [entry["row"] for entry in report.json()]

    def test_a_re_enrollment_sent_again_under_its_key_is_one_job(self, web: Web, archive: bytes) -> None:
        headers = {"Content-Type": "application/zip"}
        made = web.post("/v1/banks/uploaded/enrollments?force=true", data=archive, headers=headers)
        self.follow(web, made.headers["Location"])
        key = {"Idempotency-Key": f"again-{uuid.uuid4()}"}
        first, second = (web.post("/v1/banks/uploaded/re-enrollments", headers=key) for _ in range(2))
        assert first.headers["Location"] == second.headers["Location"]
        other = web.post("/v1/banks/uploaded/re-enrollments?to=elsewhere", headers=key)
        assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
        error = self.follow(web, first.headers["Location"])["error"]
        assert "holds no recording" in error["message"], "uploads are not kept, and that is said"

    def test_a_snapshot_on_demand_needs_a_place(self, web: Web, archive: bytes) -> None:
        headers = {"Content-Type": "application/zip"}
        made = web.post("/v1/banks/uploaded/enrollments?force=true", data=archive, headers=headers)
        self.follow(web, made.headers["Location"])
        answer = web.post("/v1/banks/uploaded/snapshot")
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "unusable")
        assert "SPEAKER_SNAPSHOTS" in answer.json()["error"]["message"]

    def test_a_zip_bomb_fails_the_job_and_nothing_else(self, stack: Stack, web: Web) -> None:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("Ann/a.wav", bytes(50_000_000))
        headers = {"Content-Type": "application/zip"}
        redis = stack.client().redis
        of_others = set(redis.keys("speaker:audio:*"))
        answer = web.post("/v1/banks/uploaded/enrollments", data=data.getvalue(), headers=headers)
        job = self.follow(web, answer.headers["Location"])
        assert (job["state"], job["error"]["code"]) == ("failed", "too_large")
        wait_for("the upload to go", lambda: set(redis.keys("speaker:audio:*")) <= of_others, 10)

    @pytest.mark.parametrize(
        ("given", "status"),
        [
            ({"json": {}}, 400),
            ({"json": {"path": 3}}, 400),
            ({"json": {"path": "/x", "extra": 1}}, 400),
            ({"json": {"path": "/x", "options": {"colour": "red"}}}, 400),
            ({"json": {"path": "/x", "options": {"skip_last": "two"}}}, 400),
            ({"json": {"path": "/x", "options": {"pattern": "{root}/{moon}.wav"}}}, 400),
            ({"data": b"x", "headers": {"Content-Type": "text/plain"}}, 415),
            ({"data": b"", "headers": {"Content-Type": "application/zip"}}, 400),
            ({"json": {"path": "/x"}, "params": {"mode": "wipe"}}, 400),
        ],
    )
    def test_what_is_no_enrollment_is_refused_at_once(self, web: Web, given: dict[str, Any], status: int) -> None:
        answer = web.post("/v1/banks/uploaded/enrollments", **given)
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["message"]

    def test_no_bank_can_be_called_like_a_mode(self, web: Web) -> None:
        assert web.post("/v1/banks/all/enrollments", json={"path": "/x"}).status_code == 422


SHEETS, ROWS = 12, 50


@pytest.fixture
def workbook(shared_dir: Path, tmp_path: Path) -> Path:
    """A conference workbook of 12 days and 600 real recordings, with bad rows, and two sheets that are no data."""
    speech = [
        (folder.name, clip)
        for folder in sorted((shared_dir / "speech" / "validation").iterdir())
        for clip in sorted(folder.glob("*.opus"))
    ]
    chosen = speech[: SHEETS * ROWS]
    assert len(chosen) == SHEETS * ROWS
    book = openpyxl.Workbook()
    book.remove(book.active)
    for day in range(SHEETS):
        sheet = book.create_sheet(f"{day + 1}月")
        sheet.append(["录音", "", "", "", "", "说话人"])
        folder = tmp_path / f"{day + 1}月" / "wav"
        folder.mkdir(parents=True)
        for number, (speaker, clip) in enumerate(chosen[day * ROWS : (day + 1) * ROWS]):
            soundfile.write(folder / f"{number}.wav", audio.decode(clip), RATE)
            sheet.append([number, None, None, None, None, f" {speaker} "])
        sheet.append([None] * 6)
        sheet.append(["missing", None, None, None, None, "nobody"])
        sheet.append([7, None, None, None, None, None])
    book.create_sheet("统计").append(["not", "data"])
    book.create_sheet("说明").append(["not", "data"])
    path = tmp_path / "会议.xlsx"
    book.save(path)
    return path


@pytest.mark.speech
def test_a_workbook_of_600_real_recordings_is_enrolled_and_every_row_accounted_for(
    fresh: Stack, workbook: Path
) -> None:
    client = fresh.client()
    fresh.worker(SPEAKER_DATA_ROOTS=str(workbook.parent))
    job = ended(client, client.enroll({}, source={"path": str(workbook)}, bank="morning meeting"), 300)
    assert job.state in ("succeeded", "partial"), job.error
    assert job.result is not None
    assert job.total == SHEETS * ROWS
    outcomes = Counter(entry["outcome"] for entry in client.long_jobs.report(job.id))
    print(f"\n{job.result['speakers']} speakers: {dict(outcomes)}, {job.to_dict()['progress']}")
    assert outcomes["missing"] == outcomes["bad_row"] == SHEETS
    assert sum(outcomes.values()) == SHEETS * (ROWS + 2)
    assert outcomes["enrolled"] >= 0.9 * SHEETS * ROWS, "good recordings pass the quality gates"
    bank = BankStore(client.redis).get("morning meeting")
    assert bank.counts.sum() == outcomes["enrolled"]
    assert os.path.exists(workbook)
