"""How many requests share a call, and how long one waits for others, follow from what calls cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from speaker_tasks.embedding import limits, machine


def test_where_calls_cost_the_same_each_nobody_waits() -> None:
    found = limits.chosen({1: 0.010, 2: 0.020, 4: 0.040, 8: 0.080})
    assert found == limits.Limits(1, 0.0)


def test_a_call_of_fixed_cost_is_shared_until_it_gains_little() -> None:
    fixed, each = 0.004, 0.001
    found = limits.chosen({size: fixed + each * size for size in limits.SIZES})
    assert found.max_batch == 16
    assert found.max_wait_ms == pytest.approx(1e3 * fixed / 2)


def test_what_gains_little_is_not_asked_for() -> None:
    found = limits.chosen({1: 0.010, 2: 0.011, 4: 0.012, 8: 0.023, 16: 0.046, 32: 0.092})
    assert found.max_batch == 4


def test_nobody_waits_long() -> None:
    assert limits.chosen({1: 1.0, 2: 1.0}).max_wait_ms == limits.LONGEST_WAIT_MS


def test_nothing_is_measured_where_calls_are_not_shared() -> None:
    class Alone:
        mixes_lengths = False

        def run(self, spectrograms: Any) -> np.ndarray:
            raise AssertionError("a call was made")

    assert limits.measured(Alone()) == limits.Limits()  # type: ignore[arg-type]


@pytest.mark.parametrize(("processors", "workers", "share"), [(2, 1, 2), (2, 2, 1), (5, 2, 2), (2, 3, 1)])
def test_workers_of_one_machine_divide_its_processors(
    monkeypatch: pytest.MonkeyPatch, processors: int, workers: int, share: int
) -> None:
    monkeypatch.setattr(machine, "usable_processors", lambda: processors)
    assert machine.share_of_processors(workers) == share
