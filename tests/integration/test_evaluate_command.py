"""`speaker-tasks evaluate` as a user runs it, on the synthetic speakers: no server is needed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.integration.stack import PROGRAMS


def evaluate(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAMS / "speaker-tasks"), "evaluate", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, env=environment)


@pytest.fixture(scope="module")
def report(demo_speakers: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    plots = tmp_path_factory.mktemp("plots")
    done = evaluate(demo_speakers, "--json", "--plots", plots)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), plots


def test_the_demo_speakers_are_told_apart(report: tuple[dict, Path]) -> None:
    measured, _ = report
    assert (measured["speakers"], measured["clips"]) == (8, 40)
    assert measured["trials"] == {"target": 80, "impostor": 700}
    assert measured["top1"] == 1.0
    assert measured["eer"] < 0.05


def test_pictures_are_drawn(report: tuple[dict, Path]) -> None:
    _, plots = report
    assert all((plots / name).read_bytes().startswith(b"\x89PNG") for name in ("det.png", "scores.png"))


def test_listed_trials_are_used_and_the_table_is_printed(demo_speakers: Path, tmp_path: Path) -> None:
    clips = sorted(path.relative_to(demo_speakers).as_posix() for path in demo_speakers.glob("*/*.ogg"))
    trials = tmp_path / "trials.txt"
    trials.write_text(f"1 {clips[0]} {clips[1]}\n1 {clips[5]} {clips[6]}\n0 {clips[0]} {clips[5]}\n", "utf-8")
    done = evaluate(demo_speakers, "--trials", trials)
    assert done.returncode == 0, done.stderr
    assert "3 trials" in done.stdout
    assert "What a threshold costs" in done.stdout


def test_models_are_enrolled_from_a_list_as_cn_celeb_has_it(demo_speakers: Path, tmp_path: Path) -> None:
    (tmp_path / "enroll.lst").write_text("A Alice/1.ogg Alice/2.ogg\nB Brian/1.ogg\n")
    (tmp_path / "trials.lst").write_text("A Alice/3.ogg 1\nA Brian/3.ogg 0\nB Brian/3.ogg 1\nB Alice/3.ogg 0\n")
    lists = ("--trials", tmp_path / "trials.lst", "--enrolment", tmp_path / "enroll.lst")
    done = evaluate(demo_speakers, *lists, "--json")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["trials"] == {"target": 2, "impostor": 2}
    assert measured["eer"] == 0.0


def test_a_clip_of_a_list_that_is_missing_is_named_and_nothing_is_measured(demo_speakers: Path, tmp_path: Path) -> None:
    trials = tmp_path / "trials.txt"
    trials.write_text("1 Alice/1.ogg Alice/99.ogg\n0 Alice/1.ogg Brian/1.ogg\n")
    done = evaluate(demo_speakers, "--trials", trials)
    assert done.returncode == 3
    assert "Alice/99.ogg" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_bad_line_of_trials_is_named(demo_speakers: Path, tmp_path: Path) -> None:
    trials = tmp_path / "trials.txt"
    trials.write_text("maybe a b\n")
    done = evaluate(demo_speakers, "--trials", trials)
    assert done.returncode == 2
    assert "line 1" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = evaluate(tmp_path / "nowhere")
    assert done.returncode == 3
    assert "nowhere" in done.stderr
    assert done.stderr.count("\n") == 1
