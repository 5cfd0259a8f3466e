"""One stack a data folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from speaker_tasks.errors import Conflict
from speaker_tasks.launcher.claim import Claim, Running, running_stack

HOLD = """
import sys
from pathlib import Path
from speaker_tasks.launcher.claim import Claim, Running
with Claim(Path(sys.argv[1])) as claim:
    claim.announce(Running(4321, "redis://x", "http://127.0.0.1:6001", "http://127.0.0.1:5555"))
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that runs a stack on `tmp_path`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_start_says_in_one_line_where_the_first_runs(holder, tmp_path: Path) -> None:
    with pytest.raises(Conflict, match=r"already running at http://127\.0\.0\.1:6001; stop it .* kill 4321$"):
        Claim(tmp_path).__enter__()


def test_other_commands_find_the_running_stack(holder, tmp_path: Path) -> None:
    found = running_stack(tmp_path)
    assert found == Running(4321, "redis://x", "http://127.0.0.1:6001", "http://127.0.0.1:5555")
    assert (tmp_path / "stack.json").stat().st_mode & 0o077 == 0


def test_a_killed_stack_leaves_no_claim_behind(holder, tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    assert running_stack(tmp_path) is None
    with Claim(tmp_path):
        pass


def test_nothing_runs_on_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert running_stack(tmp_path / "nothing") is None
