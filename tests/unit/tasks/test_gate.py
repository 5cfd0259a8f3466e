"""The gate before bulk work."""

from __future__ import annotations

import threading

import pytest

from speaker_tasks.tasks.gate import Gate


def test_only_so_many_are_inside_and_who_waits_lets_another_in() -> None:
    gate, inside = Gate(1), threading.Event()

    def second() -> None:
        with gate.inside():
            inside.set()

    thread = threading.Thread(target=second)
    with gate.inside():
        thread.start()
        assert not inside.wait(0.1)
        with gate.aside():
            assert inside.wait(10)
            thread.join(10)


def test_a_failure_leaves_the_place_free() -> None:
    gate = Gate(1)
    with pytest.raises(ValueError), gate.inside(), gate.aside():
        raise ValueError
    with gate.inside():
        pass


def test_stepping_aside_outside_does_nothing() -> None:
    gate = Gate(1)
    with gate.aside(), gate.inside():
        pass
