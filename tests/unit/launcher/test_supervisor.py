"""Processes that end are started again; those that would end alike are given up, with their last words."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from speaker_tasks.launcher import supervisor
from speaker_tasks.launcher.supervisor import Command, Supervisor
from tests.integration.stack import wait_for

Shown = list[tuple[str, str]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_DELAY", 0.02)
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 3.0)


def command(name: str, script: str, *, essential: bool = True) -> Command:
    return Command(name, f"/bin/sh -c '{script}'", os.environ, essential=essential)


def until_stopped(name: str, file: Path, lines: int) -> Command:
    """A command that stops the supervisor once `file` has so many lines."""
    return command(
        name, f"while [ $(cat {file} | wc -l) -lt {lines} ]; do sleep 0.05; done; kill {os.getpid()}; sleep 9"
    )


def test_a_child_that_ends_is_started_again_and_its_output_is_shown(tmp_path: Path) -> None:
    log, shown = tmp_path / "log", []  # type: tuple[Path, Shown]
    log.touch()
    twice = f"[ $(cat {log} | wc -l) -lt 3 ] || sleep 60"  # a fifth end would end the supervisor
    dying = command("dying", f"echo I am; printf unfinished; echo x >> {log}; {twice}; exit 3")
    ended = Supervisor([dying, until_stopped("other", log, 3)], show=lambda *line: shown.append(line)).run()
    assert ended is None, "SIGTERM"
    assert shown.count(("dying", "I am")) == 3
    assert ("dying", "unfinished") in shown
    assert ("up", "dying ended with status 3: started again in 0.02 s") in shown
    assert ("up", "dying ended with status 3: started again in 0.04 s") in shown


def test_five_ends_within_a_minute_end_the_others_with_the_last_words(tmp_path: Path) -> None:
    other = command("other", "sleep 60")
    reason = Supervisor([other, command("web", "echo ValueError: no luck; exit 1")], show=lambda *_: None).run()
    assert reason == "web ended with status 1, 5 times within 60 s: ValueError: no luck"
    assert other.status() is not None


def test_a_wrong_setting_ends_the_others_at_once() -> None:
    reason = Supervisor([command("web", "echo error: SPEAKER_PORT: no; exit 2")], show=lambda *_: None).run()
    assert reason == "web ended with status 2: error: SPEAKER_PORT: no"


def test_what_is_not_essential_ends_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    flower = command("flower", f"echo x >> {log}; exit 1", essential=False)
    assert Supervisor([flower, until_stopped("web", log, 7)], show=lambda *_: None).run() is None


def test_at_the_end_who_does_not_hear_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 0.5)
    log, shown = tmp_path / "log", []  # type: tuple[Path, Shown]
    deaf = command("deaf", f'trap "" TERM; echo x >> {log}; while true; do sleep 0.1; done')
    log.touch()
    Supervisor([deaf, until_stopped("other", log, 1)], show=lambda *line: shown.append(line)).run()
    assert deaf.status() == -signal.SIGKILL
    assert ("up", "deaf did not end within 0.5 s and is killed") in shown


def test_who_ends_within_its_time_of_grace_is_not_killed_and_heard_to_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(supervisor, "STOP_SECONDS", 30.0)
    log, shown = tmp_path / "log", []  # type: tuple[Path, Shown]
    log.touch()
    slow = command("slow", f'trap "sleep 1; echo done; exit 7" TERM; echo x >> {log}; while true; do sleep 0.1; done')
    Supervisor([slow, until_stopped("other", log, 1)], show=lambda *line: shown.append(line)).run()
    assert slow.status() == 7
    assert ("slow", "done") in shown


def test_a_terminal_that_nobody_reads_holds_no_child_up() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as file, os.fdopen(reading, "rb") as reader:
        terminal = supervisor.Terminal(file)
        for number in range(5000):
            terminal("web", f"line {number} {'x' * 90}")  # far more than a pipe takes: must not block
        os.set_blocking(reading, False)
        shown = reader.read(1 << 20)
        assert b"line 0 " in shown
        assert b"line 4999 " not in shown
        terminal("web", "again")
        output = reader.read(1 << 20)
    assert re.search(rb"up       \| \d+ lines were not shown", output)
    assert b"web      | again\n" in output


def test_children_end_with_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    log = tmp_path / "pid"
    code = (
        "import os; from speaker_tasks.launcher.supervisor import Command, Supervisor\n"
        f"Supervisor([Command('a', 'sh -c \"echo $$ > {log}; exec sleep 60\"', os.environ)]).run()"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        try:
            wait_for("the child", lambda: log.exists() and log.read_text(), 60)
        finally:
            parent.kill()
    child = Path("/proc") / log.read_text().strip()
    wait_for("the child's end", lambda: not child.exists(), 30)
