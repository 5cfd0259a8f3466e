"""The gunicorn worker: threads, and patience with slow clients that has an end.

gunicorn's own `gthread` reads a request in a thread without a time limit, so that a few clients that send one byte now
and then would hold all threads for ever. Here headers and body each have to arrive within a time; then the connection
reads as closed. How long an answer takes to be made is not counted. gunicorn's own, shorter limits hold too: those of a
connection that it closes, and of what it reads on after an answer. A connection is closed in its thread, not in
gunicorn's loop: while that waits for one client to go, nobody is accepted.

A thread that has answered also looks whether the same client asks again at once, as one does under load: to hand the
connection to gunicorn's loop and back takes a millisecond of the process, half of what a request costs.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gunicorn import util
from gunicorn.workers.gthread import TConn, ThreadWorker

from web import stopping

HEADER_SECONDS = 3.0
"""From the first byte of a request to the end of its headers."""
BODY_SECONDS = 10.0
BODY_BYTES_A_SECOND = 50_000
"""A body has `BODY_SECONDS`, and a second more for each so many bytes that have come."""
BODY_AHEAD_SECONDS = 60.0
"""A client that was quick may stop for so long at most."""
LINGER_SECONDS = 0.05
"""How long a thread waits for the client's next request, while no other connection waits for a thread; half of the
threads at most do so."""
SEND_SECONDS = 60.0
"""How long a client may take no byte of its answer."""
CLOSE_SECONDS = 1.0
"""How long a thread waits for the client to close a connection too, so that it sees the end of its answer."""


class PatientSocket(socket.socket):
    """A socket whose reads end when their time is over, as if the client had gone."""

    over = False
    """Whether a read came to its end so: where the next request begins is not known then."""
    _allowed = float("inf")
    _earning = float("inf")
    _deadline: float | None = None

    def allow(self, seconds: float, earning: float = float("inf")) -> None:
        """All reads from the next one on have to be done within so many seconds of it.

        Each `earning` bytes that come add a second.
        """
        self._allowed, self._earning, self._deadline = seconds, earning, None

    def recv(self, *arguments: Any) -> bytes:
        """Bytes, or none once the time is over. Raises `TimeoutError` when the socket's own timeout was shorter."""
        now = time.monotonic()
        if self._deadline is None:
            self._deadline = now + self._allowed
        left = self._deadline - now
        before = self.gettimeout()
        ours = before is None or left < before
        if ours and left <= 0:
            self.over = True
            return b""
        self.settimeout(min(left, 3600.0) if ours else before)
        try:
            got = super().recv(*arguments)
        except TimeoutError:
            if not ours:
                raise
            self.over = True
            return b""
        finally:
            self.settimeout(before)
        self._earn(len(got))
        return got

    def sendall(self, data: Any, *arguments: Any) -> None:
        """Send, but not to a client that takes nothing for `SEND_SECONDS`."""
        with self._while_taken():
            left = memoryview(data)
            while left:
                left = left[self.send(left, *arguments) :]

    def sendfile(self, *arguments: Any, **more: Any) -> int:
        """Send a file in the same way."""
        with self._while_taken():
            return super().sendfile(*arguments, **more)

    def _earn(self, size: int) -> None:
        if self._deadline is not None and self._earning < float("inf"):
            latest = max(self._deadline, time.monotonic() + BODY_AHEAD_SECONDS)
            self._deadline = min(self._deadline + size / self._earning, latest)

    @contextmanager
    def _while_taken(self) -> Iterator[None]:
        """Each step of what is sent here has `SEND_SECONDS`."""
        before = self.gettimeout()
        self.settimeout(SEND_SECONDS)
        try:
            yield
        except TimeoutError:
            raise BrokenPipeError(errno.EPIPE, "the client takes nothing") from None
        finally:
            self.settimeout(before)


class PatientConn(TConn):
    """A connection that is closed at once: its thread has waited for the client already."""

    def close(self, graceful: bool = False) -> None:
        """Close, in gunicorn's loop."""
        super().close(graceful=False)


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
        self.enqueue_req(PatientConn(self.cfg, patient, address, listener.getsockname()))

    def handle(self, conn: TConn) -> Any:
        """Answer the request, its headers read in time, and those that follow at once; close what is not kept."""
        again = self._answer(conn)
        while again is True and self._asks_again(conn):
            again = self._answer(conn)
        if not again:
            _patient(conn).allow(CLOSE_SECONDS)
            util.close_graceful(conn.sock, timeout=CLOSE_SECONDS)
        return again

    def _answer(self, conn: TConn) -> Any:
        _patient(conn).allow(HEADER_SECONDS)
        again = super().handle(conn)
        return False if _patient(conn).over else again

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
        _patient(conn).allow(BODY_SECONDS, BODY_BYTES_A_SECOND)
        return super().handle_request(req, conn)


def _patient(conn: TConn) -> PatientSocket:
    found: Any = conn.sock
    return found
