"""Slow clients, large bodies and the end of the web processes, on real ones with few threads and no worker."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import requests

from speaker_tasks.apikeys import entry, new_key
from speaker_tasks.jobs.audio import Audio
from speaker_tasks.launcher.server import EmbeddedServer
from tests.integration.sounds import voice
from tests.integration.stack import Stack, Web, wait_for

HUGE = 10**12
MANY = 200


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """One process with two threads, behind keys."""
    folder: Path = tmp_path_factory.mktemp("narrow")
    stack = Stack(folder, "redis://127.0.0.1:1/0")
    yield stack.web(workers=1, threads=2, SPEAKER_API_KEYS=entry("a", ["read"], new_key()))
    stack.stop()


@pytest.fixture
def lonely(tmp_path: Path, bare_server: EmbeddedServer) -> Iterator[Stack]:
    """A stack without a worker, on which a test starts web processes."""
    stack = Stack(tmp_path, bare_server.url)
    yield stack
    stack.stop()


def connect(web: Web, sent: bytes = b"") -> socket.socket:
    host, port = web.url.removeprefix("http://").split(":")
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
    connection.settimeout(20)
    connection.connect((host, int(port)))
    connection.sendall(sent)
    return connection


def begin(web: Web, head: str) -> socket.socket:
    """A connection whose body is announced and does not come."""
    return connect(web, f"{head}\r\nHost: x\r\nContent-Length: {HUGE}\r\n\r\nabc".encode())


def quick(web: Web) -> bool:
    """Whether there is an answer within a second."""
    try:
        return requests.get(web.url + "/healthz", timeout=1).ok
    except requests.Timeout:
        return False


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
        answers = [session.get(narrow.url + "/docs/assets/js/swagger-ui-bundle.js", timeout=20) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [len(answer.content) for answer in answers] == [int(answers[0].headers["Content-Length"])] * 2


@pytest.mark.parametrize(
    ("opening", "then"),
    [
        (b"", b""),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"x"),
        (b"POST /v1/embed HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"x"),
        (b"GET /docs/assets/js/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 5, b""),
    ],
    ids=["nothing is sent", "headers a byte at a time", "a body a byte at a time", "nothing is read"],
)
def test_two_hundred_slow_clients_do_not_keep_the_others_waiting(narrow: Web, opening: bytes, then: bytes) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(narrow, opening)) for _ in range(MANY)]
        wait_for("the clients' buffers to be full", lambda: quick(narrow), 40)
        times = []
        for _ in range(5):
            for connection in slow if then else []:
                connection.sendall(then)
            began = time.monotonic()
            assert requests.get(narrow.url + "/healthz", timeout=20).status_code == 200
            times.append(time.monotonic() - began)
        assert sorted(times)[2] < 1, "with two threads, one of whom a slow client would hold for seconds"


def test_a_body_far_over_the_limit_is_neither_kept_nor_cut_off(lonely: Stack) -> None:
    web = lonely.web(workers=1, threads=2)
    one = psutil.Process(web.process.pid).children()[0]
    before, most = one.memory_info().rss, 0

    def parts() -> Iterator[bytes]:
        nonlocal most
        for _ in range(200):
            yield bytes(1_000_000)
            most = max(most, one.memory_info().rss)

    octets = {"Content-Type": "application/octet-stream"}
    answer = web.post("/v1/banks/x/import", data=parts(), headers=octets)
    assert answer.status_code == 413
    assert answer.json()["error"]["details"]["limit"] == 64 * 1024 * 1024
    assert most - before < 30_000_000


def test_sigterm_ends_events_answers_what_has_begun_and_frees_the_port(lonely: Stack) -> None:
    web, client = lonely.web(workers=2), lonely.client()
    job = client.embed(Audio.of_samples(voice(1), 16_000))
    stream = requests.get(f"{web.url}/v1/jobs/{job.id}/events", stream=True, timeout=20)
    lines = stream.iter_lines(chunk_size=1)
    assert next(lines) == b"retry: 2000"
    head = b"POST /ModifyFeatsMode HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\nExpect: 100-continue\r\n\r\n"
    sending = connect(web, head)
    assert b" 100 " in sending.recv(100), "the request has begun"
    began = time.monotonic()
    web.process.popen.terminate()
    time.sleep(0.2)
    sending.sendall(b'{"feats_mode": "zz"}')
    assert b'"not_found"' in sending.recv(10_000)
    list(lines)
    assert web.process.popen.wait(20) == 0
    assert time.monotonic() - began < 7, "nobody waits for the end of the time of grace"
    with pytest.raises(ConnectionRefusedError):
        connect(web)


def test_web_processes_whose_parent_was_killed_free_the_port(lonely: Stack) -> None:
    web = lonely.web(workers=2)
    children = psutil.Process(web.process.pid).children()
    web.process.kill()
    psutil.wait_procs(children, timeout=10)
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    with pytest.raises(ConnectionRefusedError):
        connect(web)


def test_a_web_process_that_was_killed_is_replaced(lonely: Stack) -> None:
    web = lonely.web(workers=2)
    parent = psutil.Process(web.process.pid)
    before = {child.pid for child in parent.children()}
    os.kill(min(before), 9)
    wait_for("a new process", lambda: len({child.pid for child in parent.children()} - before) == 1, 10)
    assert {web.get("/healthz").json()["pid"] for _ in range(5)}


def test_web_processes_that_do_not_stay_end_the_service_with_a_word(lonely: Stack) -> None:
    web = lonely.web(workers=1)
    parent = psutil.Process(web.process.pid)
    ended = threading.Event()

    def kill_each() -> None:
        while not ended.is_set():
            with suppress(psutil.NoSuchProcess):  # it has ended, and was waited for, since it was listed
                for child in parent.children():
                    child.kill()
            time.sleep(0.01)

    killing = threading.Thread(target=kill_each)
    killing.start()
    status = web.process.popen.wait(30)
    ended.set()
    killing.join()
    assert status == 1
    assert "5 web processes ended within 60 s" in web.process.log.read_text()


def test_the_service_listens_on_ipv6(lonely: Stack) -> None:
    web = lonely.web(workers=1, SPEAKER_HOST="::1")
    assert web.url.startswith("http://[::1]:")
    assert web.get("/healthz").status_code == 200


def test_behind_a_proxy_the_service_lies_under_a_path_and_knows_its_clients(lonely: Stack) -> None:
    key = new_key()
    web = lonely.web(
        workers=1,
        SPEAKER_PATH_PREFIX="/speaker-tasks",
        SPEAKER_TRUSTED_PROXIES="127.0.0.1",
        SPEAKER_API_KEYS=entry("admin-key", ["admin"], key),
    )
    headers = {"X-API-Key": key, "X-Forwarded-For": "203.0.113.7, 192.0.2.9"}
    assert web.get("/speaker-tasks/healthz").status_code == 200
    assert 'href="docs/assets/' in web.get("/speaker-tasks/docs").text
    assert web.get("/speaker-tasks/docs/start.js").status_code == 200
    assert web.get("/speaker-tasks/openapi.json").json()["servers"] == [{"url": "/speaker-tasks"}]
    web_delete = requests.delete(web.url + "/speaker-tasks/v1/banks/none", headers=headers, timeout=20)
    assert web_delete.status_code == 404
    noted = web.get("/speaker-tasks/v1/audit?limit=1", headers=headers).json()["entries"][0]
    assert noted["address"] == "192.0.2.9"
