"""The clients of the fault campaigns: no answer, however odd, ends one of them unseen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.failing.clients import Clients, Clips
from tests.integration.stack import wait_for


class Broken(BaseHTTPRequestHandler):
    """Answers as a proxy does whose service is away; and, to a POST, as if it had accepted it."""

    def do_GET(self) -> None:
        self._answer(502)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(202)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"<html>Bad Gateway</html>")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_an_answer_without_json_is_counted_and_the_client_goes_on(url: str) -> None:
    clients = Clients(url, Clips([(b"sound", "Alice")], b"sound", []))
    wait_for("answers", lambda: clients.seen.statuses["202 without JSON"] > 3 and len(clients.ready) > 3, 60)
    assert all(thread.is_alive() for thread in clients._threads)
    clients.stop()
    assert not any((clients.seen.wrong, clients.seen.accepted, clients.seen.enrollments, clients.seen.timelines))
