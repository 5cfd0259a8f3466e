"""The gunicorn worker: threads, and patience with slow clients that has an end.

gunicorn's own `gthread` reads a request in a thread without a time limit, so that a few clients that send one byte now
and then would hold all threads for ever. Here headers and body each have to arrive within a time; then the connection
reads as closed. How long an answer takes to be made is not counted.

A thread that has answered also looks whether the same client asks again at once, as one does under load: to hand the
connection to gunicorn's loop and back takes a millisecond of the process, half of what a request costs.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from web import stopping

HEADER_SECONDS = 3.0
"""From the first byte of a request to the end of its headers."""
BODY_SECONDS = 10.0
BODY_BYTES_A_SECOND = 50_000
"""A body has `BODY_SECONDS`, and a second more for each so many bytes that it announces."""
LINGER_SECONDS = 0.05
"""How long a thread waits for the client's next request, while no other connection waits for a thread; half of the
threads at most do so."""
SEND_SECONDS = 60.0
"""How long a client may take no byte of its answer."""


class PatientSocket(socket.socket):
    """A socket whose reads end when their time is over, as if the client had gone."""

    _allowed = float("inf")
    _deadline: float | None = None

    def allow(self, seconds: float) -> None:
        """All reads from the next one on have to be done within so many seconds of it."""
        self._allowed, self._deadline = seconds, None

    def recv(self, *arguments: Any) -> bytes:
        """Bytes, or none once the time is over."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._allowed
        left = self._deadline - time.monotonic()
        if left <= 0:
            return b""
        before = self.gettimeout()
        self.settimeout(min(left, 3600.0))
        try:
            return super().recv(*arguments)
        except TimeoutError:
            return b""
        finally:
            self.settimeout(before)

    def sendall(self, *arguments: Any) -> None:
        """Send, but not to a client that takes nothing for `SEND_SECONDS`."""
        self.settimeout(SEND_SECONDS)
        try:
            super().sendall(*arguments)
        except TimeoutError:
            raise BrokenPipeError(errno.EPIPE, "the client takes nothing") from None


class PatientWorker(ThreadWorker):
    """`gthread` with deadlines."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._lingering: set[TConn] = set()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Take no more, and let nobody wait who can be told where to ask later."""
        stopping.stop()
        super().handle_exit(sig, frame)

    def accept(self, listener: socket.socket) -> None:
        """Take a connection whose reads have deadlines."""
        try:
            taken, address = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        patient = PatientSocket(fileno=taken.detach())
        patient.setblocking(True)
        self.enqueue_req(TConn(self.cfg, patient, address, listener.getsockname()))

    def handle(self, conn: TConn) -> Any:
        """Answer the request, its headers read in time, and those that follow at once."""
        _patient(conn).allow(HEADER_SECONDS)
        again = super().handle(conn)
        while again is True and self._asks_again(conn):
            _patient(conn).allow(HEADER_SECONDS)
            again = super().handle(conn)
        return again

    def _asks_again(self, conn: TConn) -> bool:
        """Whether the connection's next request has begun, and this thread is the one to answer it."""
        waiting: Any = self.tpool._work_queue  # the executor does not tell otherwise
        parser: Any = conn.parser
        if not self.alive or not waiting.empty() or parser.unreader.buf.getvalue():
            return False
        if len(self._lingering) >= self.cfg.threads // 2:
            return False
        looking = select.poll()
        looking.register(conn.sock, select.POLLIN)
        self._lingering.add(conn)
        try:
            return bool(looking.poll(1000 * LINGER_SECONDS)) and waiting.empty()
        finally:
            self._lingering.discard(conn)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Read the body in time."""
        announced = next((value for name, value in req.headers if name == "CONTENT-LENGTH"), "0")
        size = int(announced) if announced.isdigit() else 0
        _patient(conn).allow(BODY_SECONDS + size / BODY_BYTES_A_SECOND)
        return super().handle_request(req, conn)


def _patient(conn: TConn) -> PatientSocket:
    found: Any = conn.sock
    return found
