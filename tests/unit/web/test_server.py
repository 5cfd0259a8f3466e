"""The HTTP side of a web process with small applications behind it: clients that are slow, greedy or gone."""

from __future__ import annotations

import asyncio
import errno
import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
from tornado.netutil import bind_sockets

from speaker_tasks.settings import Settings
from tests.integration.stack import wait_for
from web import create_app, server
from web.server import Gateway

Calls = list[dict[str, Any]]


class Running:
    """A gateway with two threads in an event loop of its own."""

    def __init__(self, application: Any, body_bytes: int = 10_000) -> None:
        sockets = bind_sockets(0, "127.0.0.1")
        self.port: int = sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        ready = threading.Event()

        async def run() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            gateway = Gateway(application, threads=2, body_bytes=body_bytes)
            gateway.listen(sockets)
            ready.set()
            await self._stop.wait()
            await gateway.stop(20)

        self._thread = threading.Thread(target=lambda: asyncio.run(run()))
        self._thread.start()
        ready.wait()

    def stop(self) -> None:
        self.begin_to_stop()
        self._thread.join()

    def begin_to_stop(self) -> None:
        with suppress(RuntimeError):  # it has stopped, and its loop is closed
            self._loop.call_soon_threadsafe(self._stop.set)

    def connect(self, sent: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall(sent)
        return connection


Run = Callable[..., Running]


@pytest.fixture
def run() -> Iterator[Run]:
    started: list[Running] = []

    def start(application: Any, **options: Any) -> Running:
        started.append(Running(application, **options))
        return started[-1]

    yield start
    for one in started:
        one.stop()


def echo(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def taking_calls(calls: Calls) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        calls.append(environ)
        return echo(environ, start_response)

    return application


def post(size: int, sent: bytes = b"", more: str = "") -> bytes:
    return f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n{more}\r\n".encode() + sent


def all_of(connection: socket.socket) -> bytes:
    answer = b""
    while chunk := connection.recv(100_000):
        answer += chunk
    return answer


def refuses(web: Running) -> bool:
    try:
        web.connect().close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False  # it was closing
    return False


def test_clients_that_send_slowly_hold_no_thread(run: Run) -> None:
    web = run(echo)
    slow = [web.connect(post(1000, b"x")) for _ in range(20)] + [web.connect(b"GET / HT") for _ in range(20)]
    assert requests.post(web.url, data=b"quick", timeout=5).content == b"quick"
    for connection in slow:
        connection.close()


def test_clients_that_read_nothing_hold_no_thread(run: Run) -> None:
    large = bytes(30_000_000)

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/small":
            return echo(environ, start_response)
        start_response("200 OK", [("Content-Length", str(len(large)))])
        return [large[:15_000_000], large[15_000_000:]]

    web = run(application)
    slow = [web.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") for _ in range(10)]
    time.sleep(0.3)
    assert requests.get(web.url + "/small", timeout=10).status_code == 200
    for connection in slow:
        connection.close()


def test_who_reads_slowly_gets_all_of_it_and_who_reads_nothing_is_dropped(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SEND_SECONDS", 1.5)
    body = bytes(range(256)) * 40_000
    closed = threading.Event()

    class Answer(list[bytes]):
        def close(self) -> None:
            closed.set()

    def application(environ: dict[str, Any], start_response: Any) -> Answer:
        start_response("200 OK", [("Content-Length", str(len(body)))])
        return Answer([body[start : start + 500_000] for start in range(0, len(body), 500_000)])

    web = run(application)
    reader = web.connect(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = b""
    while chunk := reader.recv(200_000):
        answer += chunk
        time.sleep(0.05)
    assert answer.endswith(body)
    assert closed.wait(10)
    closed.clear()
    web.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert closed.wait(10), "a client that reads nothing is given up, and the application's iterator closed"


def test_a_slow_body_is_given_up_and_the_application_never_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_SECONDS", 0.3)
    calls: Calls = []
    web = run(taking_calls(calls))
    slow = web.connect(post(1000, b"x" * 999))
    assert slow.recv(100) == b""
    assert calls == []


def test_a_body_earns_time_by_what_arrives(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_SECONDS", 1.0)
    monkeypatch.setattr(server, "BODY_BYTES_A_SECOND", 10)
    web = run(echo)
    slow = web.connect(post(600, b"x" * 100))
    for _ in range(5):
        time.sleep(0.4)
        slow.sendall(b"x" * 100)
    assert b" 200 " in slow.recv(1000), "it took 2 s, as its bytes allow"


def test_who_was_quick_may_not_pause_for_ever(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BODY_SECONDS", 0.1)
    monkeypatch.setattr(server, "BODY_BYTES_A_SECOND", 1)
    monkeypatch.setattr(server, "BODY_PAUSE_SECONDS", 0.3)
    web = run(echo)
    assert web.connect(post(2000, b"x" * 1000)).recv(100) == b""


def test_headers_that_do_not_end_are_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.3)
    web = run(echo)
    assert web.connect(b"GET / HTTP/1.1\r\nHost: x\r\nX: ").recv(100) == b""
    assert web.connect().recv(100) == b"", "nor may a client connect and say nothing"


def test_a_client_that_leaves_in_the_middle_of_its_body_is_not_taken_for_done(run: Run) -> None:
    calls: Calls = []
    web = run(taking_calls(calls))
    web.connect(post(1000, b"half")).close()
    web.connect(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n").close()
    requests.get(web.url, timeout=5)
    assert len(calls) == 1


@pytest.mark.parametrize(
    "request_",
    [
        post(5, b"0\r\n\r\n", "Transfer-Encoding: chunked\r\n"),
        post(5, b"hello", "Content-Length: 6\r\n"),
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n",
        b"hello\r\n\r\n",
    ],
)
def test_a_request_that_could_be_read_in_two_ways_is_refused(run: Run, request_: bytes) -> None:
    calls: Calls = []
    web = run(taking_calls(calls))
    assert b" 400 " in all_of(web.connect(request_)).split(b"\r\n")[0]
    assert calls == []


def test_headers_over_the_limit_are_refused(run: Run) -> None:
    calls: Calls = []
    web = run(taking_calls(calls))
    connection = web.connect()
    with suppress(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000)
    with suppress(ConnectionError):
        assert connection.recv(100) == b""
    assert calls == []


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_answered_without_being_kept(run: Run, chunked: bool) -> None:
    calls: Calls = []
    web = run(taking_calls(calls), body_bytes=100_000)
    data = (bytes(50_000) for _ in range(40)) if chunked else bytes(2_000_000)
    answer = requests.post(web.url, data=data, timeout=10)
    assert answer.status_code == 200, "what the application says is seen, though the client was still sending"
    assert answer.content == b"", "the application gets none of it"
    assert int(calls[0]["CONTENT_LENGTH"]) > 100_000
    assert answer.headers["Connection"] == "close"


def test_a_client_that_waits_for_leave_to_send_too_much_gets_none(run: Run) -> None:
    web = run(echo)
    refused = all_of(web.connect(post(10_001, more="Expect: 100-continue\r\n")))
    assert refused.startswith(b"HTTP/1.1 200 ")
    allowed = web.connect(post(5, more="Expect: 100-continue\r\nConnection: close\r\n"))
    assert allowed.recv(100).startswith(b"HTTP/1.1 100 ")
    allowed.sendall(b"hello")
    assert all_of(allowed).endswith(b"\r\n\r\nhello")


def test_requests_one_behind_the_other_are_answered_in_order(run: Run) -> None:
    web = run(echo)
    both = web.connect(post(5, b"first") + post(6, b"second", "Connection: close\r\n"))
    answers = all_of(both)
    assert answers.count(b"HTTP/1.1 200 ") == 2
    assert answers.index(b"first") < answers.index(b"second")


def test_a_chunked_body_arrives_whole_with_its_length(run: Run) -> None:
    calls: Calls = []
    web = run(taking_calls(calls), body_bytes=5_000_000)
    answer = requests.post(web.url, data=(bytes([n]) * 70_000 for n in range(50)), timeout=10)
    assert answer.content == b"".join(bytes([n]) * 70_000 for n in range(50))
    assert calls[0]["CONTENT_LENGTH"] == "3500000"
    assert "HTTP_TRANSFER_ENCODING" not in calls[0]


def test_a_stream_is_sent_as_it_comes_and_ends_with_its_client(run: Run) -> None:
    go, closed = threading.Semaphore(0), threading.Event()

    class Events:
        def __iter__(self) -> Iterator[bytes]:
            while True:
                go.acquire()
                yield b"data: x\n\n"

        def close(self) -> None:
            closed.set()

    def application(environ: dict[str, Any], start_response: Any) -> Events:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return Events()

    web = run(application)
    client = web.connect(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    for _ in range(3):
        go.release()
        part = client.recv(1000)
        while b"data" not in part:
            part += client.recv(1000)
    client.close()
    while not closed.wait(0.1):
        go.release()


def test_what_the_application_is_told_of_a_request(run: Run) -> None:
    calls: Calls = []
    web = run(taking_calls(calls))
    headers = {"X-A": "1", "Content-Type": "audio/ogg", "X_Forwarded_For": "6.6.6.6", "Cookie": "a=1; b=2"}
    requests.get(web.url + "/v1/%E6%9D%8E?q=%20x", headers=headers, timeout=5)
    found = calls[0]
    assert found["PATH_INFO"].encode("latin1").decode() == "/v1/李"
    assert found["QUERY_STRING"] == "q=%20x"
    assert found["CONTENT_TYPE"] == "audio/ogg"
    assert (found["HTTP_X_A"], found["HTTP_COOKIE"]) == ("1", "a=1; b=2")
    assert found["REMOTE_ADDR"] == "127.0.0.1"
    assert "HTTP_X_FORWARDED_FOR" not in found, "an underscore does not pass for a dash"


def test_an_application_that_fails_breaks_the_connection_and_nothing_else(run: Run) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/bad":
            raise RuntimeError("a fault")
        return echo(environ, start_response)

    web = run(application)
    assert web.connect(b"GET /bad HTTP/1.1\r\nHost: x\r\n\r\n").recv(100) == b""
    assert requests.get(web.url, timeout=5).ok


def test_a_server_that_stops_answers_what_has_begun_and_takes_no_more(run: Run) -> None:
    begun, go = threading.Event(), threading.Event()

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        begun.set()
        go.wait(20)
        return echo(environ, start_response)

    web = run(application)
    idle = web.connect()
    client = web.connect(post(5, b"hello"))
    begun.wait(10)
    web.begin_to_stop()
    wait_for("the end of listening", lambda: refuses(web))
    go.set()
    answer = all_of(client)
    assert answer.endswith(b"hello")
    assert b"\r\nConnection: close\r\n" in answer
    assert idle.recv(100) == b""


def test_a_body_that_finds_no_room_is_answered_as_such(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.BytesIO):
        def __init__(self, _: int) -> None:
            super().__init__()

        def write(self, _: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(server, "SpooledTemporaryFile", Full)
    app = create_app(Settings(redis_url="redis://127.0.0.1:1/0"))
    web = run(app.wsgi_app)
    answer = requests.post(f"{web.url}/v1/embed", data=b"x" * 5000, headers={"Content-Type": "audio/ogg"}, timeout=10)
    assert answer.status_code == 507
    assert answer.json()["error"]["code"] == "insufficient_storage"
    assert "TMPDIR" in answer.json()["error"]["message"]
    assert requests.get(f"{web.url}/healthz", timeout=10).ok
