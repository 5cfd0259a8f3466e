"""Clients that announce much and send little, on a real gunicorn with few threads and no Redis."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from speaker_tasks.apikeys import entry, new_key
from tests.integration.stack import Stack, Web

HUGE = 10**12


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """One process with two threads, behind keys."""
    folder: Path = tmp_path_factory.mktemp("narrow")
    stack = Stack(folder, "redis://127.0.0.1:1/0")
    yield stack.web(workers=1, threads=2, SPEAKER_API_KEYS=entry("a", ["read"], new_key()))
    stack.stop()


def begin(web: Web, head: str) -> socket.socket:
    """A connection whose body is announced and does not come."""
    host, port = web.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.sendall(f"{head}\r\nHost: x\r\nContent-Length: {HUGE}\r\n\r\nabc".encode())
    return connection


def test_a_connection_that_is_to_be_closed_does_not_stop_the_loop(narrow: Web) -> None:
    slow = [begin(narrow, "GET /healthz HTTP/1.1\r\nConnection: close") for _ in range(6)]
    assert all(b" 200 " in connection.recv(100) for connection in slow)
    for _ in range(3):
        assert requests.get(narrow.url + "/healthz", timeout=10).status_code == 200
    for connection in slow:
        connection.close()


def test_the_body_of_who_was_refused_holds_no_thread(narrow: Web) -> None:
    slow = [begin(narrow, "POST /v1/embed HTTP/1.1") for _ in range(2)]
    assert all(b" 401 " in connection.recv(100) for connection in slow)
    assert requests.get(narrow.url + "/healthz", timeout=15).status_code == 200
    for connection in slow:
        connection.close()


def test_an_answer_is_seen_though_its_connection_is_closed_on_a_body(narrow: Web) -> None:
    connection = begin(narrow, "POST /v1/embed HTTP/1.1\r\nConnection: close")
    connection.sendall(b"x" * 30_000)
    answer = b""
    while chunk := connection.recv(10_000):
        answer += chunk
    assert b'"unauthorized"' in answer
    connection.close()


def test_a_file_arrives_whole_over_one_connection_twice(narrow: Web) -> None:
    with requests.Session() as session:
        answers = [session.get(narrow.url + "/docs/assets/swagger-ui-bundle.js", timeout=20) for _ in range(2)]
    assert [len(answer.content) for answer in answers] == [int(answers[0].headers["Content-Length"])] * 2
