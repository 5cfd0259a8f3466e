"""A master, its replicas and a sentinel, real processes on free ports, for tests of failovers."""

from __future__ import annotations

import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import redis
from redis.exceptions import RedisError

from speaker_tasks.launcher.server import free_port, server_binary
from tests.integration.stack import wait_for

DOWN_MS = 1000
"""How long the master may be silent before the sentinel takes it for down."""
MASTER = "mymaster"


class Watched:
    """Two servers or more, one of which is the master, and the sentinel that says which."""

    def __init__(self, folder: Path, *, password: str = "", sentinel_password: str = "", servers: int = 2) -> None:
        self.folder, self.password, self.sentinel_password = folder, password, sentinel_password
        self.ports = [free_port() for _ in range(servers)]
        self.sentinel_port = free_port()
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        for port in self.ports:
            (folder / str(port)).mkdir()
            self.start(port, of=None if port == self.ports[0] else self.ports[0])
        self._start_sentinel()

    @property
    def url(self) -> str:
        secret = f":{quote(self.password, safe='')}@" if self.password else ""
        return f"sentinel://{secret}127.0.0.1:{self.sentinel_port}/0"

    def start(self, port: int, *, of: int | None = None) -> None:
        command = [server_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.folder / str(port))]
        command += ["--save", "", "--appendonly", "yes", "--logfile", str(self.folder / f"{port}.log")]
        command += ["--requirepass", self.password, "--masterauth", self.password] if self.password else []
        command += ["--replicaof", f"127.0.0.1 {of}"] if of else []
        command += ["--repl-diskless-sync-delay", "0"]
        self.processes[port] = subprocess.Popen(command)
        wait_for("a server", lambda: self._answers(self.client(port)), 20)

    def client(self, port: int) -> redis.Redis:
        return redis.Redis(port=port, password=self.password or None, socket_timeout=2)

    @property
    def sentinel(self) -> redis.Redis:
        return redis.Redis(port=self.sentinel_port, password=self.sentinel_password or None, socket_timeout=2)

    def master(self) -> int:
        """The port of the master, as the sentinel says."""
        return int(self.sentinel.sentinel_get_master_addr_by_name(MASTER)[1])

    def fail_over(self, *, kill: bool, coordinated: bool = False) -> float:
        """Make a replica the master, as planned or by killing the master: when it was promoted (monotonic).

        In a `coordinated` one (Valkey 9) the old master takes no changes until the new one has all of its own.
        """
        before = self.master()
        if kill:
            self.processes[before].send_signal(signal.SIGKILL)
            self.processes[before].wait()
        else:
            options = ["COORDINATED"] if coordinated else []
            wait_for("leave to fail over", lambda: self._planned(*options), 30)
        wait_for("the promotion", lambda: self.master() != before, 30)
        promoted = time.monotonic()
        if kill:
            self.start(before)
        return promoted

    def settle(self) -> None:
        """Wait until the replica follows the master."""
        wait_for("a replica in step", self._in_step, 60)

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)

    def _planned(self, *options: str) -> bool:
        try:
            return bool(self.sentinel.execute_command("SENTINEL", "FAILOVER", MASTER, *options))
        except RedisError:
            return False

    def _in_step(self) -> bool:
        try:
            replicas = self.sentinel.sentinel_slaves(MASTER)
            about = self.client(self.master()).info("replication")
        except RedisError:
            return False
        return about["role"] == "master" and any(
            one["master-link-status"] == "ok" and not one["is_disconnected"] for one in replicas
        )

    def _start_sentinel(self) -> None:
        lines = [f"port {self.sentinel_port}", "bind 127.0.0.1", f"logfile {self.folder / 'sentinel.log'}"]
        lines += [f"requirepass {self.sentinel_password}"] if self.sentinel_password else []
        lines += [f"sentinel monitor {MASTER} 127.0.0.1 {self.ports[0]} 1"]
        lines += [f"sentinel auth-pass {MASTER} {self.password}"] if self.password else []
        lines += [f"sentinel down-after-milliseconds {MASTER} {DOWN_MS}", f"sentinel failover-timeout {MASTER} 5000"]
        config = self.folder / "sentinel.conf"
        config.write_text("\n".join(lines) + "\n")
        self.processes[self.sentinel_port] = subprocess.Popen(
            [server_binary(), str(config), "--sentinel"], stdout=subprocess.DEVNULL
        )
        wait_for("the sentinel", lambda: self._answers(self.sentinel), 20)

    @staticmethod
    def _answers(client: redis.Redis) -> bool:
        try:
            return bool(client.ping())
        except RedisError:
            return False
