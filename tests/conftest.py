"""What all tests share: where the real recordings are, if they are here, and one stack of real processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from banks.active import ActiveMode
from banks.store import BankStore
from tests.integration.stack import Stack, Web, running_stack

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


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The shared stack: a server and a warm worker, which may read recordings below the folder `data`."""
    with running_stack(tmp_path_factory) as running:
        running.worker(SPEAKER_DATA_ROOTS=str(running.folder / "data"))
        yield running


@pytest.fixture(scope="session")
def shared_web(stack: Stack) -> Web:
    """The shared stack's web, with two processes, which may read what the worker may."""
    return stack.web(SPEAKER_DATA_ROOTS=str(stack.folder / "data"))


@pytest.fixture
def web(stack: Stack, shared_web: Web) -> Iterator[Web]:
    """The shared web without banks: those that other files left are taken away before a test, its own after it."""
    _forget_banks(stack)
    yield shared_web
    _forget_banks(stack)


def _forget_banks(stack: Stack) -> None:
    store = BankStore(stack.client().redis)
    ActiveMode(store).reset()
    for name in store.names():
        store.delete(name)
