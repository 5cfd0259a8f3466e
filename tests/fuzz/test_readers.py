"""A minute of inputs by chance, in a process of its own; `python -m tests.fuzz --inputs 10000` tries more."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

INPUTS, SECONDS = 1200, 900


@pytest.mark.timeout(SECONDS + 30)
def test_every_reader_reads_or_refuses_whatever_comes() -> None:
    command = [sys.executable, "-m", "tests.fuzz", "--inputs", str(INPUTS)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr[-5000:]}"
    print(run.stdout)
