"""One stack a data folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis

from speaker_tasks.errors import Conflict
from speaker_tasks.launcher.claim import Claim, Running, running_stack
from speaker_tasks.launcher.server import EmbeddedServer

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


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_the_folder_is_its_users_alone_also_when_it_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "var"
    for _ in range(2):  # a new one, and the stack's own that somebody opened
        with Claim(folder):
            assert mode(folder) == 0o700
        folder.chmod(0o755)
    (empty := tmp_path / "empty").mkdir(mode=0o755)
    with Claim(empty):
        assert mode(empty) == 0o700


@pytest.mark.parametrize("shared", [0o755, 0o1777])
def test_a_folder_that_others_use_too_stays_as_it_is(tmp_path: Path, shared: int) -> None:
    (folder := tmp_path / "home").mkdir()
    folder.chmod(shared)
    if shared == 0o755:
        (folder / "letters").write_text("mine")
    with Claim(folder):
        assert mode(folder) == shared


def test_what_the_server_keeps_is_its_users_alone_also_when_it_was_there(tmp_path: Path) -> None:
    (folder := tmp_path / "redis").mkdir(mode=0o755)
    (old := folder / "server.log").write_text("")
    old.chmod(0o644)
    with EmbeddedServer(folder) as server, redis.Redis.from_url(server.url) as client:
        client.set("a", "b")
        kept = list(folder.rglob("*"))
        assert any("appendonly" in path.name for path in kept)
        assert {mode(path) for path in [folder, *kept] if path.is_dir()} == {0o700}
        assert {mode(path) for path in kept if path.is_file()} == {0o600}
