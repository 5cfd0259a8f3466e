"""The systemd units: what they start exists, and systemd reads them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from speaker_tasks.settings import Settings
from tests.conftest import ROOT

FOLDER = ROOT / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_reads_the_unit(unit: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    there = unit.read_text().replace("/opt/speaker-tasks/bin/speaker-tasks", "/bin/true")
    copy = tmp_path / unit.name
    copy.write_text(there)
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
    assert done.returncode == 0


def test_the_units_start_the_procfiles_processes_and_all_of_them_at_once() -> None:
    started = {re.search(r"^ExecStart=\S+/speaker-tasks (\w+)$", unit.read_text(), re.MULTILINE)[1] for unit in UNITS}  # type: ignore[index]
    assert started == {"up", "web", "worker"}


def test_the_settings_of_the_units_are_settings() -> None:
    names = re.findall(r"^#?SPEAKER_(\w+)=", (FOLDER / "speaker-tasks.env").read_text(), re.MULTILINE)
    assert {name.lower() for name in names} <= set(Settings.model_fields)
