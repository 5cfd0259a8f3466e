"""The gunicorn worker: threads, and patience with slow clients that has an end.

gunicorn's own `gthread` reads a request in a thread without a time limit, so that a few clients that send one byte now
and then would hold all threads for ever. Here headers and body each have to arrive within a time; then the connection
reads as closed. How long an answer takes to be made is not counted.
"""

from __future__ import annotations

import errno
import socket
import time
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

HEADER_SECONDS = 3.0
"""From the first byte of a request to the end of its headers."""
BODY_SECONDS = 10.0
BODY_BYTES_A_SECOND = 50_000
"""A body has `BODY_SECONDS`, and a second more for each so many bytes that it announces."""
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
        """Read the headers in time."""
        _patient(conn).allow(HEADER_SECONDS)
        return super().handle(conn)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Read the body in time."""
        announced = next((value for name, value in req.headers if name == "CONTENT-LENGTH"), "0")
        size = int(announced) if announced.isdigit() else 0
        _patient(conn).allow(BODY_SECONDS + size / BODY_BYTES_A_SECOND)
        return super().handle_request(req, conn)


def _patient(conn: TConn) -> PatientSocket:
    found: Any = conn.sock
    return found
