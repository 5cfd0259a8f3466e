"""The floors hold, and the web process stays light."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

HEAVY = ("tensorflow", "keras", "openvino", "librosa", "numba", "torch")


def _loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "SPEAKER_REDIS_URL": "redis://127.0.0.1:1/0"},
    )
    return set(done.stdout.split())


def test_imports_go_down_the_floors_only() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "statement",
    [
        "from web.app import create_app; create_app()",
        "import speaker_tasks.cli",
        "import banks.store, banks.active, banks.npz, enrollment.flow",
        "import speaker_tasks.worker",
    ],
    ids=["the web process", "the command line", "banks and enrollment", "a worker that has not pinned its GPU yet"],
)
def test_no_network_framework_is_imported_by(statement: str) -> None:
    assert not _loaded_after(statement) & set(HEAVY)


def test_every_module_says_in_its_first_line_what_it_owns() -> None:
    packages = ("speaker_tasks", "web", "enrollment", "banks")
    modules = [path for package in packages for path in (ROOT / package).rglob("*.py")]
    silent = [str(path.relative_to(ROOT)) for path in modules if not path.read_text().startswith('"""')]
    assert not silent
