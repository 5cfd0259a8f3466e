"""Banks are changed over HTTP and on the command line, clip by clip, and each answer says what to know."""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import soundfile
from flask.testing import FlaskClient

from banks import editing
from banks.bank import Bank, Clips
from banks.calibrations import BankJudges
from banks.store import BankStore
from speaker_tasks.client import TaskClient
from speaker_tasks.embedding import weights
from speaker_tasks.jobs.heartbeat import WorkerRecord, WorkerRegistry
from tests.integration.stack import PROGRAMS
from tests.unit.banks.conftest import make_bank, unit_vectors
from tests.unit.banks.test_store import with_clips
from web import create_app


@pytest.fixture
def store(client: TaskClient) -> BankStore:
    """The banks of an empty server."""
    return BankStore(client.redis)


@pytest.fixture
def http(client: TaskClient) -> FlaskClient:
    """The application on that server."""
    return create_app(client.settings).test_client()


def run(client: TaskClient, *arguments: str, answer: str = "") -> subprocess.CompletedProcess[str]:
    """`speaker-tasks ...`, as a user types it."""
    environment = {**os.environ, "SPEAKER_REDIS_URL": str(client.settings.redis_url), "COLUMNS": "200"}
    command = [str(PROGRAMS / "speaker-tasks"), *arguments]
    return subprocess.run(
        command, env=environment, input=answer, capture_output=True, text=True, timeout=60, check=False
    )


def ok(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.get_json()
    return found


def npz(labels: list[str], size: int = 512) -> bytes:
    data = io.BytesIO()
    np.savez(data, label=np.array(labels), train_feats=unit_vectors(len(labels), size=size))
    return data.getvalue()


def test_clips_are_listed_moved_and_removed_over_http(http: FlaskClient, store: BankStore) -> None:
    store.put("staff", with_clips("Ann", "Bob"))
    clips = ok(http.get("/v1/banks/staff/clips?speaker=Ann"))["clips"]
    assert [clip["key"] for clip in clips] == ["Ann-0-0", "Ann-0-1"]
    assert clips[0]["nearest"] == "Bob"
    assert ok(http.patch("/v1/banks/staff/clips/Ann-0-1", json={"speaker": "Bob"}))["version"] == 2
    assert ok(http.delete("/v1/banks/staff/clips/Bob-0-0"))["version"] == 3
    assert set(store.get("staff", clips=True).clips.keys) == {"Ann-0-0", "Ann-0-1", "Bob-0-1"}
    assert http.delete("/v1/banks/staff/clips/Ann-0-0").status_code == 409, "the last one of a speaker"
    assert http.delete("/v1/banks/staff/clips/nobody").status_code == 404
    assert http.patch("/v1/banks/staff/clips/Bob-0-1", json={"speaker": "Eve"}).status_code == 404
    assert ok(http.patch("/v1/banks/staff/clips/Bob-0-1", json={"speaker": "Eve", "new": True}))["version"] == 4
    assert [entry["what"] for entry in ok(http.get("/v1/audit?limit=1"))["entries"]] == [
        "PATCH /v1/banks/staff/clips/Bob-0-1"
    ]


def test_rollback_and_redo_over_http(http: FlaskClient, store: BankStore) -> None:
    for label in "abc":
        store.put("staff", make_bank(label))

    def label(way: str) -> str:
        ok(http.post(f"/v1/banks/staff/{way}", json={}))
        return store.get("staff").labels[0]

    assert [label(way) for way in ("rollback", "rollback", "redo", "redo")] == ["b", "a", "b", "c"]
    assert http.post("/v1/banks/staff/redo").status_code == 404


def test_a_file_that_does_not_fit_stops_no_question_without_a_bank(http: FlaskClient, client: TaskClient) -> None:
    WorkerRegistry(client.redis, 30).beat(
        WorkerRecord("w", "host", 1, "compact-0123456789ab", "cpu", "openvino", "bf16", 0.0)
    )
    octets = {"content_type": "application/octet-stream"}
    ok(http.post("/v1/banks/staff/import?model=compact", data=npz(["Ann"]), **octets))
    refused = http.post("/v1/banks/foreign/import?model=compact", data=npz(["a", "b"], 192), **octets)
    assert refused.status_code == 422
    assert "192 values" in refused.get_json()["error"]["message"]
    warnings = ok(http.post("/v1/banks/old/import", data=npz(["Zoe\u0308", " Bob", ""]), **octets))["warnings"]
    assert "left out of `all`" in " ".join(warnings)
    assert "'unnamed 3'" in " ".join(warnings)
    assert ok(http.get("/GetSpeakerList"))["label"] == ["Ann"]
    banks = ok(http.get("/v1/banks"))
    assert len(banks["warnings"]) == 1
    assert "'old' holds vectors of 'vgg'" in banks["warnings"][0]
    people = ok(http.get("/v1/banks/old/speakers"))["speakers"]
    assert [one["label"] for one in people] == ["Zo\u00eb", "Bob", "unnamed 3"]
    ok(http.delete("/v1/banks/old/speakers/unnamed%203"))
    ok(http.put("/v1/active", json={"bank": "staff"}))
    assert "was the active bank" in ok(http.delete("/v1/banks/staff"))["warnings"][0]
    assert ok(http.get("/v1/active"))["bank"] == "all"
    assert http.get("/GetSpeakerList").status_code == 200


def test_clips_on_the_command_line(client: TaskClient, store: BankStore) -> None:
    store.put("staff", with_clips("Ann", "Bob"))
    shown = run(client, "banks", "clips", "staff", "Ann").stdout
    assert "Ann-0-0" in shown
    assert "/x.wav 0.5-1.5 s" in shown
    moved = run(client, "banks", "move-clip", "staff", "Ann-0-1", "--to", "Bob")
    assert moved.returncode == 0, moved.stderr
    removed = run(client, "banks", "remove-clip", "staff", "Bob-0-0", "Bob-0-1")
    assert removed.returncode == 0, removed.stderr
    assert store.get("staff").counts.tolist() == [1, 1]
    assert run(client, "banks", "rollback", "staff").returncode == 0
    assert run(client, "banks", "rollback", "staff").returncode == 0
    assert store.get("staff", clips=True).clips.keys == ("Ann-0-0", "Ann-0-1", "Bob-0-0", "Bob-0-1")
    assert run(client, "banks", "redo", "staff").returncode == 0
    assert "questions that name no bank ask all" in run(client, "banks", "list").stdout
    assert run(client, "banks", "rename", "staff", "Bob", "[b]Bob[/x]").returncode == 0
    assert "[b]Bob[/x]" in run(client, "banks", "show", "staff").stdout, "a name is no markup"


def test_files_are_sent_as_one_persons_and_a_speakers_column_is_refused_for_them(
    client: TaskClient, tmp_path: Path
) -> None:
    for name in ("a", "deep/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(16_000), 16_000)
    files = [str(tmp_path / "a.wav"), str(tmp_path / "deep")]
    unnamed = run(client, "enroll", *files, "--bank", "staff")
    assert (unnamed.returncode, "use --name" in unnamed.stderr) == (2, True)
    column = run(client, "enroll", str(tmp_path), "--bank", "staff", "--speaker", "Ann")
    assert (column.returncode, "use --name" in column.stderr) == (2, True)
    process = subprocess.Popen(
        [str(PROGRAMS / "speaker-tasks"), "enroll", *files, "--bank", "staff", "--name", " An\u200bn "],
        env={**os.environ, "SPEAKER_REDIS_URL": str(client.settings.redis_url)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()  # no worker is alive yet: the job is sent
        ((job,), _) = client.jobs()
        assert job.about == {"bank": "staff", "recordings": 2, "speakers": 1, "who": job.about["who"]}
        manifests = [orjson.loads(client.redis.get(key)) for key in sent(client) if client.redis.get(key)[:1] == b"{"]
        assert [entry["speaker"] for entry in manifests[0]["entries"]] == ["Ann", "Ann"]
        assert [entry["row"] for entry in manifests[0]["entries"]] == [files[0], "b.wav"]
    finally:
        process.kill()
        process.communicate()


def sent(client: TaskClient) -> list[bytes]:
    return [key for key in client.redis.keys("speaker:audio:*") if isinstance(key, bytes)]


def clear_voices(people: int = 20, clips: int = 5) -> Bank:
    """People whose clips scatter little, of the model that is shipped; the last one's are all over the place."""
    random = np.random.default_rng(0)
    spread = np.repeat([0.3] * (people - 1) + [30.0], clips)[:, None]
    vectors = np.repeat(unit_vectors(people), clips, axis=0) + spread * random.normal(size=(people * clips, 512)) / 22
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    kept = Clips(
        keys=tuple(map(str, range(people * clips))),
        owners=np.repeat(np.arange(people), clips),
        vectors=vectors.astype(np.float32),
        seconds=np.full(people * clips, 5, np.float32),
        weights=np.ones(people * clips, np.int64),
        paths=("",) * (people * clips),
        spans=(None,) * (people * clips),
    )
    return editing.new([f"p{n}" for n in range(people)], kept, weights.load("campplus").card.model_id, size=512)


def test_who_would_never_be_recognised_is_told_by_show_and_check(client: TaskClient, store: BankStore) -> None:
    store.put("staff", clear_voices())
    warning = "'p19' would be named in 0 of 5 of the own recordings"
    assert warning in run(client, "banks", "show", "staff").stdout
    checked = run(client, "banks", "check", "staff", "--json")
    assert checked.returncode == 0, checked.stderr
    worst, *others = map(json.loads, checked.stdout.splitlines())
    assert (worst["speaker"], worst["named"], worst["clips"], worst["doubtful"]) == ("p19", 0, 5, True)
    assert len(others) == 19
    assert {one["named"] for one in others} == {5}
    store.put("old", make_bank("a"))
    assert "set SPEAKER_MODEL" in run(client, "banks", "check", "old").stderr


def test_calibrate_shows_who_gains_and_loses_and_asks(client: TaskClient, store: BankStore) -> None:
    store.put("staff", clear_voices())
    asked = run(client, "calibrate", "staff", answer="n\n")
    assert asked.returncode == 4, asked.stderr
    assert "named rightly: 95 of 100 clips now, " in asked.stdout
    assert "Keep these thresholds?" in asked.stdout
    judges = BankJudges(store)
    model = store.get("staff").model
    assert judges.get("staff", model) is None
    unsaid = run(client, "calibrate", "staff", "--json")
    assert (unsaid.returncode, json.loads(unsaid.stdout)["kept"]) == (4, False)
    kept = json.loads(run(client, "calibrate", "staff", "--json", "--yes").stdout)
    assert kept["kept"]
    assert kept["named_before"] == 95
    assert judges.get("staff", model) is not None
