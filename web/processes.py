"""The web processes: one that binds the port and keeps the others alive, and `web_workers` that answer.

The application is made once, before the processes are forked: settings that cannot work end the start in one line. A
process whose parent is gone, killed or not, stops as on SIGTERM: it sees the end of a pipe that only the parent
holds open.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Sequence
from wsgiref.types import WSGIApplication

from tornado.netutil import bind_sockets

from speaker_tasks import tracing
from speaker_tasks.errors import Conflict
from speaker_tasks.settings import Settings
from web import stopping
from web.app import create_app
from web.http import memory
from web.server import Gateway

BACKLOG = 1024
SEND_BUFFER = 256 * 1024
"""Bytes that the kernel keeps for a client that does not read; by itself it would keep 4 MB for each."""
FINISH_SECONDS = 8.0
"""What a stopping process has to finish the requests that have begun."""
KILL_SECONDS = 10.0
"""After so long the parent kills what has not stopped."""
DEATHS, DEATHS_SECONDS = 5, 60.0
"""So many ends of its processes within so long end the parent: something is broken."""

logger = logging.getLogger(__name__)


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT: the exit status. Raises `ConfigurationError`, or `Conflict` for a taken port."""
    memory.settle()
    tracing.start(settings, "speaker-web")
    application = create_app(settings)
    return Parent(settings, application.wsgi_app, listen(settings)).run()


def listen(settings: Settings) -> list[socket.socket]:
    """Sockets that listen on the settings' address, IPv4 or IPv6; a name may stand for several."""
    try:
        sockets = bind_sockets(settings.port, settings.host, backlog=BACKLOG)
    except OSError as error:
        reason = error.strerror or error
        raise Conflict(f"cannot listen on {settings.host}:{settings.port}: {reason}; set SPEAKER_PORT") from None
    for one in sockets:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    return sockets


class Parent:
    """Forks the processes that answer, replaces those that end, and passes SIGTERM on."""

    def __init__(self, settings: Settings, application: WSGIApplication, sockets: Sequence[socket.socket]) -> None:
        self._settings, self._application, self._sockets = settings, application, sockets
        self._children: set[int] = set()
        self._deaths: list[float] = []
        self._stopping = False
        self._failed = False
        self._alive, self._held = os.pipe()

    def run(self) -> int:
        """Until all processes have ended: 0 after a signal, 1 if they would not stay."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop())
        signal.signal(signal.SIGALRM, lambda *_: self._signal(signal.SIGKILL))
        for _ in range(self._settings.web_workers):
            self._fork()
        while self._children:
            pid, status = os.wait()
            self._children.discard(pid)
            if not self._stopping:
                self._replace(pid, os.waitstatus_to_exitcode(status))
        signal.setitimer(signal.ITIMER_REAL, 0)
        return int(self._failed)

    def _fork(self) -> None:
        pid = os.fork()
        if pid:
            self._children.add(pid)
            if self._stopping:  # the signal came meanwhile
                self._signal(signal.SIGTERM)
            return
        status = 1
        try:
            os.close(self._held)
            answer(self._settings, self._application, self._sockets, self._alive)
            status = 0
        except BaseException:
            logger.exception("a web process failed")
        finally:
            logging.shutdown()
            os._exit(status)

    def _replace(self, pid: int, status: int) -> None:
        now = time.monotonic()
        self._deaths = [moment for moment in self._deaths if now - moment < DEATHS_SECONDS] + [now]
        logger.error("web process %d ended with status %d", pid, status)
        if len(self._deaths) >= DEATHS:
            logger.error("%d web processes ended within %g s: giving up", len(self._deaths), DEATHS_SECONDS)
            self._failed = True
            self._stop()
            return
        time.sleep(0.1 * 2 ** (len(self._deaths) - 1))
        if not self._stopping:
            self._fork()

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._signal(signal.SIGTERM)
            signal.setitimer(signal.ITIMER_REAL, KILL_SECONDS)

    def _signal(self, number: int) -> None:
        for pid in self._children:
            os.kill(pid, number)


def answer(
    settings: Settings, application: WSGIApplication, sockets: Sequence[socket.socket], parent_alive: int
) -> None:
    """Answer requests until SIGTERM, or until the other end of the pipe `parent_alive` is closed."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    asyncio.run(_answer(settings, application, sockets, parent_alive))
    tracing.stop()


async def _answer(
    settings: Settings, application: WSGIApplication, sockets: Sequence[socket.socket], parent_alive: int
) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_reader(parent_alive, stop.set)
    gateway = Gateway(application, threads=settings.web_threads, body_bytes=settings.max_body_bytes)
    gateway.listen(sockets)
    await stop.wait()
    loop.remove_reader(parent_alive)
    stopping.stop()
    await gateway.stop(FINISH_SECONDS)
