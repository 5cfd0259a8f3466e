"""`make demo`: right answers and exit 0 on the synthetic speakers, exit 1 for a wrong one, the user's own folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import redis
import soundfile

from banks.active import ActiveMode
from banks.bank import Bank
from banks.store import BankStore
from speaker_tasks.launcher.server import EmbeddedServer
from tests.integration.test_launcher import processes_of

PROGRAM = Path(sys.executable).with_name("speaker-tasks")


def demo(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "120"}
    environment.pop("SPEAKER_REDIS_URL", None)
    return subprocess.run(
        [PROGRAM, "demo", *arguments], env=environment, capture_output=True, text=True, timeout=180, check=False
    )


def test_the_synthetic_speakers_are_recognised_and_nothing_is_left(tmp_path: Path) -> None:
    done = demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "enrolled 8 speakers from 32 clips" in done.stdout
    assert "8 of 8 right" in done.stdout
    assert "David, taken out of the bank: nobody; the nearest is " in done.stdout
    assert "half a second of Alice: inconclusive, " in done.stdout
    lanes = [line.split()[0] for line in done.stdout.splitlines() if "█" in line]
    assert sorted(lanes) == ["Alice", "Brian", "David", "unknown-1"]
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []


def test_a_folder_of_ones_own_with_a_wrong_label_and_a_single_clip(tmp_path: Path, demo_speakers: Path) -> None:
    data, temporary = tmp_path / "speaker_data", tmp_path / "tmp"
    temporary.mkdir()
    for speaker, clips in {"Alice": "123", "Brian": "12", "王芳": "1"}.items():
        (data / speaker).mkdir(parents=True)
        for number in clips:
            shutil.copy(demo_speakers / speaker / f"{number}.ogg", data / speaker)
    shutil.copy(demo_speakers / "Alice" / "4.ogg", data / "Brian" / "3.ogg")

    done = demo(temporary, "--data", str(data))

    assert done.returncode == 1, done.stdout + done.stderr
    assert "王芳 has only one recording: enrolled, not recognised" in done.stdout
    assert "enrolled 3 speakers from 5 clips" in done.stdout
    rows = [line for line in done.stdout.splitlines() if ".ogg" in line]
    assert ["right" in row for row in rows] == [True, False]
    assert "Brian/3.ogg" in rows[1]
    assert "wrong" in rows[1]
    assert "1 of 2 right" in done.stdout


def test_bad_clips_in_a_folder_of_ones_own_are_left_out_and_named(tmp_path: Path, demo_speakers: Path) -> None:
    data, temporary = tmp_path / "speaker_data", tmp_path / "tmp"
    temporary.mkdir()
    for speaker in ("Alice", "Brian"):
        shutil.copytree(demo_speakers / speaker, data / speaker)
    (data / "Alice" / "0.wav").write_text("no sound")
    (data / "Alice" / "9.wav").write_text("no sound either, and the one that would be recognised")
    soundfile.write(data / "Brian" / "9.flac", np.zeros(32_000), 16_000)
    (data / "Eve").mkdir()
    for number in "12":
        (data / "Eve" / f"{number}.wav").write_text("no sound")

    done = demo(temporary, "--data", str(data))

    assert "Alice/0.wav is left out: unreadable" in done.stdout, done.stdout + done.stderr
    assert "Alice/9.wav is left out" in done.stdout
    assert "Brian/9.flac is left out: " in done.stdout
    assert "Eve is not enrolled: no recording of theirs could be used" in done.stdout
    assert "enrolled 2 speakers from 10 clips" in done.stdout
    assert "Traceback" not in done.stderr


def test_on_a_redis_of_ones_own_the_banks_and_the_mode_are_afterwards_as_before(
    tmp_path: Path, demo_speakers: Path
) -> None:
    (tmp_path / "data").mkdir()
    for speaker in ("Alice", "Brian"):
        shutil.copytree(demo_speakers / speaker, tmp_path / "data" / speaker)
    with EmbeddedServer(tmp_path / "redis") as server:
        client = redis.Redis.from_url(server.url)
        BankStore(client).put("ours", Bank(("Zoe",), np.ones((1, 512), np.float32) / 512**0.5, model="vgg"))
        ActiveMode(BankStore(client)).set_mode("ours")
        done = subprocess.run(
            [PROGRAM, "demo", "--data", str(tmp_path / "data")],
            env={**os.environ, "SPEAKER_REDIS_URL": server.url},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert BankStore(client).names() == ["ours"]
        assert ActiveMode(BankStore(client)).mode() == "ours"


def test_a_worker_without_weights_stops_the_demo_with_its_reason(tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "demo"],
        env={**os.environ, "SPEAKER_WEIGHTS": str(tmp_path / "none.safetensors"), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 5
    assert done.stderr.startswith("error: worker ended with status 6: error: ")
    assert len(done.stderr.splitlines()) == 1
