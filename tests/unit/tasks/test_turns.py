"""Recordings that take long to decode take turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from speaker_tasks.errors import Busy
from speaker_tasks.tasks import turns
from speaker_tasks.tasks.turns import Turns
from tests.integration.stack import wait_for


def slow(seconds: float, blocks: int = 2) -> Iterator[np.ndarray]:
    """Blocks that take so much of a processor each."""
    for number in range(blocks):
        began = time.thread_time()
        while time.thread_time() - began < seconds:
            sum(range(500))
        yield np.full(1, number)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "LONG_SECONDS", 0.02)


def test_the_blocks_come_as_they_are() -> None:
    for seconds in (0.0, 0.03):
        assert [int(block[0]) for block in Turns(0).through(slow(seconds, 3))] == [0, 1, 2]


def test_one_runs_some_wait_more_are_refused_and_quick_ones_pass() -> None:
    line = Turns(1)
    first = line.through(slow(0.03))
    next(first)
    second = threading.Thread(target=lambda: list(line.through(slow(0.03))))
    second.start()
    wait_for("the second to stand in line", lambda: not line._line._value)
    assert second.is_alive(), "it waits for its turn"
    with pytest.raises(Busy):
        list(line.through(slow(0.03)))
    assert len(list(line.through(slow(0.0)))) == 2
    first.close()  # type: ignore[attr-defined]
    second.join(10)
    assert not second.is_alive()


def test_a_decoding_that_fails_leaves_its_turn() -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from slow(0.03)
        raise ValueError

    line = Turns(0)
    for _ in range(2):
        with pytest.raises(ValueError):
            list(line.through(broken()))
