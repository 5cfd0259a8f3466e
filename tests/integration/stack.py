"""A stack of real processes for tests: an embedded server, workers, web; free ports, stopped by process id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests

from speaker_tasks.apikeys import entry
from speaker_tasks.client import TaskClient
from speaker_tasks.jobs.heartbeat import WorkerRecord
from speaker_tasks.launcher.server import EmbeddedServer, free_port, server_binary
from speaker_tasks.settings import Settings

QUICK_BEAT, CALM_BEAT = 0.3, 2.0
"""Seconds between two heartbeats: where workers are killed, and where none is missed because the machine is busy."""
PROGRAMS = Path(sys.executable).parent
START_SECONDS = 180.0
STOP_SECONDS = 30.0


def wait_for(what: str, ready: Callable[[], object], seconds: float = START_SECONDS) -> object:
    """Ask until `ready` gives something true; fails with `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := ready():
            return found
        time.sleep(0.05)
    raise AssertionError(f"after {seconds:g} s still waiting for {what}")


def output_of(command: Sequence[str], *, seconds: float, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """What a program prints; it has to end well within so many seconds."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def entries(keys: Mapping[str, str]) -> str:
    """SPEAKER_API_KEYS with a key `SCOPE-key` for each scope."""
    return " ".join(entry(f"{scope}-key", [scope], key) for scope, key in keys.items())


@dataclass
class Process:
    """One program that a test started, and its log."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def stop(self) -> int:
        """SIGTERM, then wait: the exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        return self.popen.returncode

    def kill(self) -> None:
        """SIGKILL: as when a machine dies."""
        self.popen.kill()
        self.popen.wait()


@dataclass
class Web:
    """Web processes that answer at `url`."""

    process: Process
    url: str

    def post(self, path: str, **options: Any) -> requests.Response:
        return requests.post(self.url + path, timeout=60, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **options)


@dataclass
class Stack:
    """One Redis server and what was started on it."""

    folder: Path
    redis_url: str
    processes: list[Process] = field(default_factory=list)
    model: str = Settings.model_fields["model"].default
    heartbeat_seconds: float = QUICK_BEAT

    @property
    def settings(self) -> Settings:
        """What a client in the test's own process uses."""
        return Settings(
            redis_url=self.redis_url,
            data_dir=self.folder / "var",
            model=self.model,
            heartbeat_seconds=self.heartbeat_seconds,
        )

    def client(self) -> TaskClient:
        return TaskClient(self.settings)

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of this test run, with the stack's settings."""
        ours = {
            "SPEAKER_REDIS_URL": self.redis_url,
            "SPEAKER_DATA_DIR": str(self.folder / "var"),
            "SPEAKER_MODEL": self.model,
            "SPEAKER_HEARTBEAT_SECONDS": str(self.heartbeat_seconds),
        }
        return {**os.environ, **ours, **more}

    def start(self, name: str, command: list[str], **environment: str) -> Process:
        """Start a program with the stack's settings in its environment."""
        env = self.environment(**environment)
        log = self.folder / f"{name}-{len(self.processes)}.log"
        with log.open("wb") as out:
            popen = subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, cwd=self.folder)
        process = Process(popen, log)
        self.processes.append(process)
        return process

    def start_worker(self, *arguments: str, **environment: str) -> Process:
        """Start a worker, without waiting for it."""
        return self.start("worker", [str(PROGRAMS / "speaker-tasks"), "worker", *arguments], **environment)

    def worker(self, *arguments: str, **environment: str) -> Process:
        """Start a worker and wait until it says that it is warm."""
        process = self.start_worker(*arguments, **environment)
        self.wait_warm(process)
        return process

    def wait_warm(self, process: Process) -> WorkerRecord:
        """Wait for the worker's own record."""
        client = self.client()

        def record() -> object:
            assert process.popen.poll() is None, f"the worker ended:\n{process.log.read_text()}"
            return next((worker for worker in client.workers() if worker.pid == process.pid), None)

        found = wait_for("a warm worker", record)
        assert isinstance(found, WorkerRecord)
        return found

    def web(self, *, workers: int = 2, threads: int = 8, **environment: str) -> Web:
        """Start the web processes and wait until they answer."""
        port = free_port()
        size = {"SPEAKER_WEB_WORKERS": str(workers), "SPEAKER_WEB_THREADS": str(threads), "SPEAKER_PORT": str(port)}
        process = self.start("web", [str(PROGRAMS / "speaker-tasks"), "web"], **size, **environment)
        host = environment.get("SPEAKER_HOST", "127.0.0.1")
        web = Web(process, f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

        def answers() -> bool:
            assert web.process.popen.poll() is None, f"web ended:\n{web.process.log.read_text()}"
            try:
                return web.get("/healthz").ok
            except requests.ConnectionError:
                return False

        wait_for("web", answers)
        return web

    def stop(self) -> None:
        """Stop all that was started, last first."""
        for process in reversed(self.processes):
            process.stop()


@contextmanager
def running_stack(tmp_path_factory: pytest.TempPathFactory, *, heartbeat_seconds: float = CALM_BEAT) -> Iterator[Stack]:
    """A stack with a server of its own; what was started on it is stopped at the end."""
    folder = tmp_path_factory.mktemp("stack")
    with EmbeddedServer(folder / "redis") as server:
        running = Stack(folder, server.url, heartbeat_seconds=heartbeat_seconds)
        try:
            yield running
        finally:
            running.stop()


class RestartableServer:
    """A server that comes back on the same port with the same data: it answers when that is on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [server_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--appendonly", "yes", "--appendfsync", "always"]
        command += ["--save", "", "--logfile", str(self.folder / "server.log")]
        self.popen = subprocess.Popen(command)
        client = Stack(self.folder, self.url).client()
        wait_for("the server", lambda: _answers(client))

    def stop(self) -> None:
        if self.popen is not None:
            self.popen.send_signal(signal.SIGTERM)
            self.popen.wait(10)
            self.popen = None


def _answers(client: TaskClient) -> bool:
    try:
        return bool(client.redis.ping())
    except Exception:
        return False
