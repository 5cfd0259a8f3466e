"""What all tests share: where the real recordings are, if they are here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of oracle, speech and noise: `SPEAKER_SHARED`, or `shared` beside the checkout; skips without it."""
    folder = Path(os.environ.get("SPEAKER_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}; set SPEAKER_SHARED to the folder that holds oracle/ and speech/")
    return folder


@pytest.fixture(scope="session")
def demo_speakers() -> Path:
    """The synthetic speakers: one folder each, five clips of 3 to 6 s."""
    return ROOT / "banks" / "demo" / "speakers"
