"""Sockets with an end to their patience: whose time is over, and what earns more of it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from gunicorn.config import Config

from web import patience
from web.patience import PatientConn, PatientSocket


@pytest.fixture
def pair() -> Iterator[tuple[PatientSocket, socket.socket]]:
    """The server's end, as a patient socket, and the client's."""
    ours, theirs = socket.socketpair()
    with PatientSocket(fileno=ours.detach()) as patient, theirs:
        yield patient, theirs


def test_a_read_whose_time_is_over_is_as_if_the_client_had_gone(pair: tuple[PatientSocket, socket.socket]) -> None:
    patient, _ = pair
    patient.allow(0.05)
    assert patient.recv(10) == b""
    assert patient.over


def test_a_shorter_timeout_of_the_caller_holds(pair: tuple[PatientSocket, socket.socket]) -> None:
    patient, _ = pair
    patient.allow(3600.0)
    patient.settimeout(0.05)
    with pytest.raises(TimeoutError):
        patient.recv(10)
    assert patient.gettimeout() == 0.05
    assert not patient.over


def test_a_body_earns_time_by_what_comes(pair: tuple[PatientSocket, socket.socket]) -> None:
    patient, client = pair

    def drip() -> None:
        for _ in range(6):
            time.sleep(0.1)
            client.sendall(b"x" * 100)

    dripping = threading.Thread(target=drip)
    patient.allow(0.4, earning=500)
    dripping.start()
    got = sum(len(patient.recv(1000)) for _ in range(6))
    dripping.join()
    assert got == 600
    assert patient.recv(1000) == b""


def test_who_was_quick_may_not_stop_for_ever(
    pair: tuple[PatientSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "BODY_AHEAD_SECONDS", 0.1)
    patient, client = pair
    patient.allow(0.1, earning=1)
    client.sendall(b"x" * 1000)
    assert len(patient.recv(2000)) == 1000
    assert patient.recv(2000) == b""


def test_a_long_answer_over_a_slow_line_arrives_whole(
    pair: tuple[PatientSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "SEND_SECONDS", 0.5)
    patient, client = pair
    answer = bytes(range(256)) * 10_000
    taken = bytearray()

    def take() -> None:
        while len(taken) < len(answer):
            time.sleep(0.03)
            taken.extend(client.recv(100_000))

    taking = threading.Thread(target=take)
    taking.start()
    started = time.monotonic()
    patient.sendall(answer)
    assert time.monotonic() - started > patience.SEND_SECONDS
    taking.join()
    assert bytes(taken) == answer
    assert patient.gettimeout() is None


def test_an_answer_that_nobody_takes_is_given_up(
    pair: tuple[PatientSocket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "SEND_SECONDS", 0.1)
    patient, _ = pair
    with pytest.raises(BrokenPipeError):
        patient.sendall(b"x" * 10_000_000)


def test_the_loop_closes_at_once_also_what_its_thread_has_closed(pair: tuple[PatientSocket, socket.socket]) -> None:
    patient, client = pair
    conn = PatientConn(Config(), patient, client.getsockname(), patient.getsockname())
    started = time.monotonic()
    conn.close(graceful=True)
    conn.close(graceful=True)
    assert time.monotonic() - started < 1
    assert client.recv(10) == b""
