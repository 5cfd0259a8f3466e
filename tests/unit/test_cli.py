"""The command line: an error is one line and its own exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from speaker_tasks.commands.edge import connected_settings, load_settings
from speaker_tasks.errors import ConfigurationError, NotFound
from speaker_tasks.launcher.claim import Claim

PROGRAM = Path(sys.executable).with_name("speaker-tasks")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_help_names_the_commands() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("up", "demo", "worker", "flower"))


def test_a_wrong_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEAKER_PORT", "six thousand")
    done = run("up")
    assert done.returncode == ConfigurationError.exit_status
    assert done.stderr.startswith("error: SPEAKER_PORT: ")
    assert "'six thousand'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = run("demo", "--data", str(tmp_path / "nobody"))
    assert done.returncode == 3
    assert done.stderr == f"error: there is no folder {tmp_path / 'nobody'}\n"


def test_settings_given_on_the_command_line_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEAKER_PORT", "7001")
    assert load_settings().port == 7001
    assert load_settings(port=7002).port == 7002
    assert load_settings(port=None).port == 7001


def test_without_a_url_and_without_a_running_stack_there_is_no_url(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SPEAKER_REDIS_URL", raising=False)
    with Claim(tmp_path):
        pass
    assert connected_settings(data_dir=tmp_path).redis_url is None


def test_the_interpreter_runs_the_commands_as_the_program_does(tmp_path: Path) -> None:
    """`train --export` depends on it."""
    command = ["weights", "export", str(tmp_path), str(tmp_path / "x"), "--config", "none.toml", "--shared", "none"]
    done = subprocess.run(
        [sys.executable, "-m", "speaker_tasks", *command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == NotFound.exit_status
    assert done.stderr.splitlines() == [f"error: no training run at {tmp_path}: it holds no best.npz"]
