"""The stacks that a fault campaign runs against: `speaker-tasks up`, and the Redis servers that it stands on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import redis

from speaker_tasks.launcher.server import free_port, server_binary
from tests.integration.watched import Watched

ROOT = Path(__file__).resolve().parents[2]
SPEAKERS = ROOT / "banks" / "demo" / "speakers"
WORKER = "speaker-tasks worker"
"""What stands in a worker's command line."""
PASSWORD = "campaign"
ADMIN = "admin"
"""The user as whom a campaign causes faults: the service is the default user."""


class Link:
    """Passes connections on to a port, until it is cut: then it passes nothing, and takes no new ones."""

    def __init__(self, to: int) -> None:
        self._to, self._open = to, threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._sockets: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """As when a cable is pulled: nothing arrives, and neither side learns of it."""
        self._open.clear()

    def mend(self) -> None:
        """Connections that were open when it was cut are gone."""
        for one in list(self._sockets):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._open.set()

    def _accept(self) -> None:
        while True:
            near, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        self._open.wait()
        try:
            far = socket.create_connection(("127.0.0.1", self._to))
        except OSError:
            near.close()
            return
        self._sockets |= {near, far}
        other = threading.Thread(target=self._copy, args=(far, near), daemon=True)
        other.start()
        self._copy(near, far)
        other.join()
        self._sockets -= {near, far}
        near.close()
        far.close()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while part := source.recv(65536):
                self._open.wait()
                sink.sendall(part)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Server:
    """The Redis-protocol server, which somebody starts again when it ends."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.folder.mkdir(exist_ok=True)
        self.client = redis.Redis(port=self.port, username=ADMIN, password=PASSWORD, socket_timeout=3)
        self.start()

    def start(self) -> None:
        """Start it with the data that it had."""
        command = [server_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--appendonly", "yes", "--save", "", "--logfile", str(self.folder.with_suffix(".log"))]
        command += ["--requirepass", PASSWORD, "--user", ADMIN, "on", f">{PASSWORD}", "~*", "&*", "+@all"]
        command += ["--enable-protected-configs", "local"]
        self.process = subprocess.Popen(command)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with suppress(redis.RedisError):
                if self.client.ping():
                    return
            time.sleep(0.05)
        raise SystemExit("the server does not start")


class Stack:
    """`speaker-tasks up` with two workers and Flower; by itself with the embedded server."""

    def __init__(self, folder: Path, variables: dict[str, str] | None = None) -> None:
        self.port, self.log, self.data = free_port(), folder / "up.log", folder / "var"
        ours = {
            "SPEAKER_DATA_DIR": str(self.data),
            "SPEAKER_DATA_ROOTS": str(SPEAKERS.parent),
            "SPEAKER_PORT": str(self.port),
            "SPEAKER_FLOWER_PORT": str(free_port()),
            "SPEAKER_WORKERS": "2",
            "SPEAKER_RATE_LIMIT": "100000/minute",
            "SPEAKER_KEY_QUESTIONS": "0",
            "SPEAKER_KEY_ENROLLMENTS": "0",
            "PYTHONPATH": str(ROOT),
        }
        self._read = 0
        with self.log.open("wb") as out:
            command = [sys.executable, "-m", "speaker_tasks", "up"]
            environment = os.environ | ours | (variables or {})
            self.up = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT)
        self.url = f"http://127.0.0.1:{self.port}"

    def ready(self) -> bool:
        """Whether it says so."""
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200
        return False

    def children(self, words: str) -> list[psutil.Process]:
        """Direct children of `up` with these words in their command line."""
        matching = []
        for child in psutil.Process(self.up.pid).children():
            with suppress(psutil.Error):
                if words in " ".join(child.cmdline()):
                    matching.append(child)
        return matching

    def workers(self) -> set[int]:
        """Process ids of the workers."""
        return {child.pid for child in self.children(WORKER)}

    def new_lines(self) -> list[str]:
        """What the processes have logged since this was last asked."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.decode(errors="replace").splitlines()

    def stop(self) -> None:
        """All of it."""
        self.up.terminate()
        with suppress(subprocess.TimeoutExpired, psutil.Error):
            for child in psutil.Process(self.up.pid).children(recursive=True):
                child.resume()  # it may have been stopped
            self.up.wait(40)
        self.up.kill()


class LinkedStack(Stack):
    """On a server of its own, behind a link that can be cut."""

    def __init__(self, folder: Path, *, disk: bool) -> None:
        place = folder / "redis"
        self.disk = place if disk else None
        if disk:
            place.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(place)], check=True)
        self.server = Server(place)
        self.link = Link(self.server.port)
        url = f"redis://:{PASSWORD}@127.0.0.1:{self.link.port}/0"
        super().__init__(folder, {"SPEAKER_REDIS_URL": url})

    def stop(self) -> None:
        """All of it."""
        self.link.mend()
        super().stop()
        self.server.process.terminate()
        self.server.process.wait(10)
        if self.disk:
            subprocess.run(["umount", str(self.disk)], check=False)


class WatchedStack(Stack):
    """On a master and its replicas, which a sentinel watches."""

    def __init__(self, folder: Path, *, replicas: bool) -> None:
        """With `replicas` as is recommended: a master takes no changes that no replica gets. Else it has one."""
        self.replicas = replicas
        servers = folder / "servers"
        servers.mkdir()
        self.watched = Watched(servers, servers=3 if replicas else 2)
        super().__init__(folder, {"SPEAKER_REDIS_URL": self.watched.url})

    def stop(self) -> None:
        """All of it."""
        super().stop()
        self.watched.stop()


@contextmanager
def campaign(kind: str, folder: Path, *, disk: bool, replicas: bool) -> Iterator[Stack]:
    """The stack of that kind (`linked`, `embedded`, `sentinels`), for the time of a campaign."""
    stack: Stack
    if kind == "linked":
        stack = LinkedStack(folder, disk=disk)
    else:
        stack = WatchedStack(folder, replicas=replicas) if kind == "sentinels" else Stack(folder)
    try:
        yield stack
    finally:
        stack.stop()
