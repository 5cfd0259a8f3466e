"""Recordings that cannot be read whole, through the real service: the answer and the report say so."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speaker_tasks.embedding.audio import decode
from tests.integration.stack import Stack, Web, wait_for
from tests.unit.embedding.files import damaged, encoded


@pytest.fixture(scope="module")
def alice(demo_speakers: Path) -> np.ndarray:
    """Some twelve seconds of one voice."""
    return np.concatenate([decode(path) for path in sorted((demo_speakers / "Alice").iterdir())[:4]])


def flac(samples: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format="FLAC")
    return file.getvalue()


def test_an_answer_tells_what_was_read_and_what_was_lost(shared_web: Web, alice: np.ndarray) -> None:
    whole, seconds = flac(alice), len(alice) / 16_000
    found = shared_web.post("/v1/embed", files={"audio": damaged(whole, 0.5, 6000)}).json()
    assert found["damaged"] is True
    assert found["seconds"] + found["seconds_lost"] == pytest.approx(seconds, abs=0.3)
    assert any("damaged: " in warning for warning in found["quality"]["warnings"])
    found = shared_web.post("/v1/compare", files={"first": whole, "second": whole + whole}).json()
    assert [one["damaged"] for one in found["recordings"]] == [False, False]
    assert [one["seconds"] for one in found["recordings"]] == pytest.approx([seconds, 2 * seconds], abs=0.01)


def test_an_offset_and_inverted_channels_leave_the_speech_in(shared_web: Web, alice: np.ndarray) -> None:
    quiet = alice * np.float32(0.25 / np.abs(alice).max())
    plain = shared_web.post("/v1/embed", files={"audio": flac(quiet)}).json()
    for changed in (quiet + np.float32(0.1), np.stack([quiet, -quiet], axis=1)):
        found = shared_web.post("/v1/embed", files={"audio": flac(changed)}).json()
        assert found["speech_seconds"] == pytest.approx(plain["speech_seconds"], abs=0.2)
        assert float(np.dot(found["vector"], plain["vector"])) > 0.95


def test_an_enrollment_reports_damage_and_takes_phone_recordings(stack: Stack, web: Web, alice: np.ndarray) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("Alice/whole.flac", flac(alice))
        made.writestr("Alice/cut.flac", flac(alice[::-1].copy())[:-20_000])
        made.writestr("Alice/phone.aac", encoded("adts", "aac", alice * np.float32(0.9)))
    answer = web.post(
        "/v1/banks/hurt/enrollments?force=true", data=archive.getvalue(), headers={"Content-Type": "application/zip"}
    )
    location = answer.headers["Location"]
    wait_for("the end of the job", lambda: web.get(location).json()["job"]["state"] not in {"queued", "running"}, 120)
    job = web.get(location).json()["job"]
    assert job["state"] == "succeeded", job
    assert job["result"]["enrolled"] == 3
    assert "1 recording is damaged and enrolled in part" in " ".join(job["result"]["warnings"])
    report = {Path(entry["row"]).name: entry for entry in web.get(f"{location}/report").json()}
    assert [report[name]["damaged"] for name in ("whole.flac", "cut.flac", "phone.aac")] == [False, True, False]
    assert report["cut.flac"]["seconds_lost"] > 0.1
    assert "damaged: " in report["cut.flac"]["message"]
