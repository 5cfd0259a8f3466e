"""Who spoke when, by name: a meeting of the demo's voices through HTTP, the command line, the client and Celery."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
from celery import Celery
from PIL import Image

from banks.store import BankStore
from speaker_tasks.errors import Conflict, Malformed, NotFound, OutsideRoots, Unusable
from speaker_tasks.jobs.audio import Audio
from speaker_tasks.jobs.delivery import RUNNING_KEY
from speaker_tasks.sdk.client import SpeakerTasks
from tests.conftest import ROOT
from tests.integration.speaking import enroll
from tests.integration.stack import PROGRAMS, Stack, Web, wait_for

RATE = 16_000
PEOPLE = ["Alice", "Brian", "David"]
"""Who is enrolled; Carol is a guest."""
SECONDS = 90
BUSY_SECONDS = 4
"""What is granted beyond a promise of seconds: the tests run beside others."""


def load(name: str) -> ModuleType:
    """A program of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flac(samples: np.ndarray, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format="FLAC")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def meeting() -> tuple[bytes, list[tuple[float, float, str]]]:
    """The meeting as a file, and its turns."""
    samples, turns = load("make_demo_meeting").meeting()
    return flac(samples), turns


@pytest.fixture(scope="module")
def long_meeting(meeting: Any) -> bytes:
    samples, _ = load("make_demo_meeting").meeting(10)
    return flac(samples)


@pytest.fixture(scope="module")
def talk(stack: Stack, shared_web: Web, demo_speakers: Path) -> Iterator[Web]:
    """The shared service with those who are enrolled as `talk`."""
    enroll(stack, shared_web, demo_speakers, "talk", clips=2, labels=PEOPLE)
    yield shared_web
    store = BankStore(stack.client().redis)
    for name in {"talk", "guests"} & set(store.names()):
        store.delete(name)


@pytest.fixture(scope="module")
def found(talk: Web, meeting: Any) -> dict[str, Any]:
    """The timeline, and its job's id."""
    answer = talk.post("/v1/timeline?bank=talk&wait=60", data=meeting[0], headers={"Content-Type": "audio/flac"})
    assert answer.status_code == 200, answer.text
    return {"job": answer.headers["Location"].rpartition("/")[2], **answer.json()}


def test_each_turn_is_under_the_right_name_and_the_guest_is_unknown(found: dict[str, Any], meeting: Any) -> None:
    names = {"Carol": "unknown-1"}
    wrong = total = 0.0
    for start, end, who in meeting[1]:
        total += end - start
        right = sum(
            min(end, turn["end"]) - max(start, turn["start"])
            for turn in found["turns"]
            if turn["speaker"] == names.get(who, who) and turn["start"] < end and turn["end"] > start
        )
        wrong += max(0.0, end - start - right)
    assert wrong / total < 0.12
    assert {one["speaker"] for one in found["speakers"]} == {*PEOPLE, "unknown-1"}
    by_name = {one["speaker"]: one for one in found["speakers"]}
    assert by_name["Brian"]["enrolled"]
    assert by_name["Brian"]["decision"] == "match"
    assert not by_name["unknown-1"]["enrolled"]
    assert len(by_name["unknown-1"]["vector"]) == 512
    assert found["bank"] == {"name": "talk", "version": 1, "speakers": 3}


def test_exclusive_parts_do_not_overlap_and_turns_do(found: dict[str, Any]) -> None:
    parts = sorted(found["exclusive"], key=lambda part: part["start"])
    assert all(one["end"] <= other["start"] + 0.011 for one, other in pairwise(parts))
    assert sum(turn["overlap"] for turn in found["turns"]) >= 2
    assert found["overlap_seconds"] > 0


def test_progress_is_told_and_the_job_holds_the_result(talk: Web, found: dict[str, Any]) -> None:
    job = talk.get(f"/v1/jobs/{found['job']}").json()["job"]
    assert (job["kind"], job["state"]) == ("timeline", "succeeded")
    assert job["progress"]["done"] == job["progress"]["total"] == round(found["seconds"])
    assert job["result"]["turns"] == found["turns"]


@pytest.mark.parametrize(("form", "begins"), [("rttm", "SPEAKER "), ("srt", "1\n00:00:"), ("vtt", "WEBVTT\n")])
def test_forms_for_other_programs(talk: Web, found: dict[str, Any], form: str, begins: str) -> None:
    for exclusive in ("false", "true"):
        answer = talk.get(f"/v1/timelines/{found['job']}?format={form}&exclusive={exclusive}")
        assert answer.status_code == 200
        assert answer.text.startswith(begins)
        assert "Brian" in answer.content.decode()


def test_the_picture_is_one(talk: Web, found: dict[str, Any]) -> None:
    answer = talk.get(f"/v1/timelines/{found['job']}?format=png")
    with Image.open(io.BytesIO(answer.content)) as picture:
        assert picture.format == "PNG"
        assert picture.width > 800


class TestCorrections:
    def test_name_reassign_merge_and_undo(self, talk: Web, meeting: Any) -> None:
        with SpeakerTasks(talk.url) as client:
            timeline = client.timeline(meeting[0], bank="talk")
            named = client.correct(timeline.job, "name", speaker="unknown-1", name="Carol", revision=0)
            assert "Carol" in named.speakers
            assert "unknown-1" not in named.speakers
            with pytest.raises(Conflict, match="revision 1"):
                client.correct(timeline.job, "name", speaker="Carol", name="Eve", revision=0)
            turn = next(one for one in named.turns if one.speaker == "Carol")
            moved = client.correct(timeline.job, "reassign", turn=turn.id, speaker="Brian")
            assert next(one for one in moved.turns if one.id == turn.id).speaker == "Brian"
            assert moved.speakers["Brian"] == pytest.approx(named.speakers["Brian"] + turn.end - turn.start, abs=0.02)
            merged = client.correct(timeline.job, "merge", speaker="David", into="Brian")
            assert "David" not in merged.speakers
            assert client.correct(timeline.job, "undo").speakers == moved.speakers
            assert client.correct(timeline.job, "undo").speakers == named.speakers
            assert client.timeline_of(timeline.job).revision == 5
            assert "Carol" in client.timeline_as(timeline.job, "rttm").decode()
            with pytest.raises(NotFound, match="does not speak here"):
                client.correct(timeline.job, "name", speaker="Nobody", name="Eve")
            with pytest.raises(Malformed, match="merge takes speaker, into"):
                client.correct(timeline.job, "merge", speaker="Brian")

    def test_an_unknown_is_enrolled_from_their_turns_and_a_rollback_takes_it_back(
        self, talk: Web, meeting: Any
    ) -> None:
        with SpeakerTasks(talk.url) as client:
            talk.post("/v1/banks", json={"name": "guests", "copy_of": "talk"}).raise_for_status()
            timeline = client.timeline(meeting[0], bank="guests")
            with pytest.raises(Unusable, match="no name"):
                client.enroll_from(timeline.job, "unknown-1", "guests")
            done = client.enroll_from(timeline.job, "unknown-1", "guests", name="Carol")
            assert done["version"] == 2
            assert done["clips"] >= 2
            assert done["seconds"] > 5
            assert "Carol" in client.timeline_of(timeline.job).speakers
            again = client.timeline(meeting[0], bank="guests")
            assert "Carol" in again.speakers
            assert not any(name.startswith("unknown") for name in again.speakers)
            heard = client.identify(ROOT / "banks/demo/speakers/Carol/1.ogg", bank="guests")
            assert heard.speaker == "Carol"
            talk.post("/v1/banks/guests/rollback", json={}).raise_for_status()
            assert "Carol" not in {one["label"] for one in client.speakers("guests")}


def test_a_roster_names_nobody_else(talk: Web, meeting: Any) -> None:
    with SpeakerTasks(talk.url) as client:
        timeline = client.timeline(meeting[0], bank="talk", roster=["Brian", "Alice"])
        assert "David" not in timeline.speakers
        assert {"Brian", "Alice"} <= set(timeline.speakers)
        with pytest.raises(NotFound, match="Zoe"):
            client.timeline(meeting[0], bank="talk", roster=["Zoe"])


def test_the_number_of_speakers_can_be_said(talk: Web, meeting: Any) -> None:
    with SpeakerTasks(talk.url) as client:
        assert len(client.timeline(meeting[0], bank="talk", speakers=2).speakers) == 2
        alone = client.timeline(meeting[0], bank="talk", overlap=False)
        assert not any(turn.overlap for turn in alone.turns)


@pytest.mark.parametrize(
    ("samples", "rate", "people"),
    [
        (np.zeros(RATE * 12, np.float32), RATE, 0),
        (0.1 * np.sin(2 * np.pi * 440 * np.arange(RATE * 12) / RATE), RATE, 0),
        (np.random.default_rng(0).normal(0, 0.05, RATE * 12), RATE, 0),
    ],
    ids=["silence", "a tone", "noise"],
)
def test_what_holds_no_speech_has_no_turns(talk: Web, samples: np.ndarray, rate: int, people: int) -> None:
    with SpeakerTasks(talk.url) as client:
        timeline = client.timeline(flac(samples, rate), bank="talk")
        assert len(timeline.speakers) == people
        assert any("no speech" in warning for warning in timeline.raw["warnings"])


def test_short_and_telephone_speech_is_answered_and_rubbish_refused(talk: Web, demo_speakers: Path) -> None:
    brian, _ = soundfile.read(demo_speakers / "Brian" / "5.ogg", dtype="float32")
    with SpeakerTasks(talk.url) as client:
        for samples, rate in ((brian[: 2 * RATE], RATE), (brian[::2], 8000)):
            timeline = client.timeline(flac(samples, rate), bank="talk")
            assert len(timeline.speakers) == 1
        assert "Brian" in timeline.speakers
    for content, status in ((flac(brian[:1000]), 422), (b"rubbish" * 100, 415)):
        answer = talk.post("/v1/timeline?wait=30", data=content, headers={"Content-Type": "audio/flac"})
        assert answer.status_code == status, answer.text


def test_a_canceled_one_stops_within_seconds(stack: Stack, talk: Web, long_meeting: bytes) -> None:
    client = stack.client()
    answer = talk.post("/v1/timeline?bank=talk", data=long_meeting, headers={"Content-Type": "audio/flac"})
    assert answer.status_code == 202
    job = answer.json()["job"]["id"]
    wait_for("progress", lambda: client.job(job).done > 0, SECONDS)
    total = client.job(job).total
    assert total == pytest.approx(530, abs=15)
    assert client.redis.hexists(RUNNING_KEY, job)
    canceled = time.monotonic()
    assert requests_delete(talk, job)["state"] == "canceled"
    wait_for("the end of the work", lambda: not client.redis.hexists(RUNNING_KEY, job), SECONDS)
    assert time.monotonic() - canceled < 2 + BUSY_SECONDS
    assert client.job(job).done < total
    assert talk.get(f"/v1/timelines/{job}").status_code == 404


def requests_delete(web: Web, job: str) -> dict[str, Any]:
    import requests

    answer = requests.delete(f"{web.url}/v1/jobs/{job}", timeout=10)
    found: dict[str, Any] = answer.json()["job"]
    return found


def test_celery_gives_it_to_any_application(stack: Stack, talk: Web, meeting: Any) -> None:
    app = Celery("theirs", broker=stack.redis_url, backend=stack.redis_url, set_as_current=False)
    key = stack.client().keep(Audio.of_file(meeting[0]).pack())
    options = {"audio": key, "bank": "talk"}
    given = app.send_task("speaker_tasks.timeline", kwargs=options, queue="enroll").get(timeout=SECONDS)
    assert {turn["speaker"] for turn in given["turns"]} == {*PEOPLE, "unknown-1"}
    assert not stack.client().redis.exists(key), "the recording is not kept"
    wrong = app.send_task("speaker_tasks.timeline", kwargs=options | {"speakers": 0}, queue="enroll")
    with pytest.raises(Malformed, match="speakers"):
        wrong.get(timeout=SECONDS)


def test_the_command_line(talk: Web, meeting: Any, tmp_path: Path) -> None:
    (tmp_path / "meeting.flac").write_bytes(meeting[0])

    def run(*words: str) -> str:
        command = [str(PROGRAMS / "speaker-tasks"), *words, "--url", talk.url]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    options = ["--bank", "talk", "--rttm", "out.rttm", "--srt", "out.srt", "--vtt", "out.vtt", "--plot", "out.png"]
    shown = json.loads(run("timeline", "meeting.flac", *options, "--json"))
    assert (tmp_path / "out.rttm").read_text("utf-8").count("SPEAKER ") == len(shown["turns"])
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "王芳" in run("timelines", "name", shown["job"], "unknown-1", "王芳")
    assert "revision 2" in run("timelines", "undo", shown["job"]).replace("\n", " ")
    assert "unknown-1" in run("timelines", "show", shown["job"], "--format", "rttm")


def test_a_file_that_the_workers_can_read_is_not_sent(stack: Stack, talk: Web, meeting: Any) -> None:
    data = stack.folder / "data"
    here = data.exists()
    if not here:
        data.mkdir()
    (data / "meeting.flac").write_bytes(meeting[0])
    try:
        with SpeakerTasks(talk.url) as client:
            timeline = client.timeline(data / "meeting.flac", bank="talk", in_place=True)
            assert set(timeline.speakers) == {*PEOPLE, "unknown-1"}
            with pytest.raises(OutsideRoots):
                client.timeline("/etc/passwd", bank="talk", in_place=True)
    finally:
        (data / "meeting.flac").unlink()
        if not here:
            data.rmdir()


def test_what_is_too_large_is_refused_with_the_limit(talk: Web) -> None:
    answer = talk.post("/v1/timeline", data=bytes(65 << 20), headers={"Content-Type": "audio/flac"})
    assert answer.status_code == 413
    assert "67108864" in answer.json()["error"]["message"]


def test_what_is_too_long_is_refused_before_it_is_heard(stack: Stack, talk: Web) -> None:
    seconds, rate = 4 * 3600 + 1, 4000
    header = io.BytesIO()
    soundfile.write(header, np.zeros(0), rate, format="WAV", subtype="PCM_U8")
    count = seconds * rate
    riff = bytearray(header.getvalue()[:44])
    riff[4:8], riff[40:44] = (36 + count).to_bytes(4, "little"), count.to_bytes(4, "little")
    sent = talk.post(
        "/v1/timeline?bank=talk", data=bytes(riff) + bytes([128]) * count, headers={"Content-Type": "audio/wav"}
    )
    client, job = stack.client(), sent.json()["job"]["id"]
    wait_for("the end", lambda: client.job(job).over, SECONDS)
    ended = client.job(job)
    assert ended.error is not None
    assert ended.error["code"] == "too_large"
    assert "longer than 14400 s (SPEAKER_MAX_RECORDING_SECONDS" in ended.error["message"]
    assert (ended.total, ended.done) == (seconds, 0), "nothing was heard"


def test_the_page_runs_as_it_stands(stack: Stack, talk: Web, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "timeline.md").read_text("utf-8")
    (shell,) = re.findall(r"^```bash\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    for name in ("tools", "banks"):
        (tmp_path / name).symlink_to(ROOT / name)
    path = f"{PROGRAMS}:/usr/bin:/bin"
    environment = stack.environment(SPEAKER_URL=talk.url, PATH=path, PYTHONPATH=str(ROOT))
    shell = shell.replace("--bank talk", "--bank guests")
    for command in (["bash", "-euo", "pipefail", "-c", shell], [sys.executable, "-c", _at(talk, code)]):
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Brian" in done.stdout
    with SpeakerTasks(talk.url) as client:
        assert {one["label"] for one in client.speakers("guests")} == {"Alice", "Brian", "Carol", "David"}


def _at(web: Web, code: str) -> str:
    return code.replace("http://127.0.0.1:6001", web.url).replace('"talk"', '"guests"')


def test_a_worker_killed_in_the_middle_leaves_one_result(fresh: Stack, long_meeting: bytes) -> None:
    client = fresh.client()
    doomed = fresh.worker()
    job = client.timeline(Audio.of_file(long_meeting), {})
    wait_for("progress", lambda: client.job(job.id).done > 0, SECONDS)
    doomed.kill()
    assert not client.job(job.id).over
    fresh.worker()
    wait_for("the end", lambda: client.job(job.id).over)
    ended = client.job(job.id)
    assert ended.state == "succeeded"
    assert ended.result is not None
    assert len(ended.result["speakers"]) == 4
    assert {one["speaker"] for one in ended.result["speakers"]} == {f"unknown-{number}" for number in range(1, 5)}
    assert client.redis.llen("enroll") == 0
