"""The real service on loopback, as the Procfile starts it: embedded server, web, workers; and what they use."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil

from speaker_tasks.client import TaskClient
from speaker_tasks.launcher.procfile import environment, read_procfile
from speaker_tasks.launcher.readiness import wait_until_ready
from speaker_tasks.launcher.server import free_port
from speaker_tasks.launcher.services import Services
from speaker_tasks.launcher.up import with_redis
from speaker_tasks.settings import Settings

MIB = 1024 * 1024
TICKS = os.sysconf("SC_CLK_TCK")


class ServingStack:
    """One running service. Use as a context; `more` are SPEAKER_* settings for all of its processes."""

    def __init__(
        self,
        *,
        workers: int = 1,
        cores: list[int] | None = None,
        web_cores: list[int] | None = None,
        flower: bool = False,
        **more: str,
    ) -> None:
        """Workers run on `cores`, web and server on `web_cores`; without, where the kernel puts them."""
        self._workers, self._cores, self._web_cores, self._flower = workers, cores, web_cores, flower
        self._more = {"workers": str(workers), **more}
        self._exits = ExitStack()

    def __enter__(self) -> ServingStack:
        with self._exits:
            self._start()
            self._exits = self._exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _start(self) -> None:
        folder = Path(self._exits.enter_context(tempfile.TemporaryDirectory(prefix="serving-")))
        settings = Settings(host="127.0.0.1", port=free_port(), flower_port=free_port(), redis_url=None)
        before = set(_children())
        url = with_redis(settings.model_copy(update={"data_dir": folder}), self._exits).redis_url
        self.redis_pid = next(iter(set(_children()) - before))
        if self._web_cores:
            psutil.Process(self.redis_pid).cpu_affinity(self._web_cores)
        self.settings = settings.model_copy(update={"redis_url": url})
        variables = environment(self.settings) | {
            f"SPEAKER_{name.upper()}": value for name, value in self._more.items()
        }
        commands = read_procfile()
        wanted = {"web": _pinned(self._web_cores) + commands["web"]}
        worker = _pinned(self._cores) + commands["worker"]
        wanted |= {f"worker-{number + 1}": worker for number in range(self._workers)}
        wanted |= {"flower": commands["flower"]} if self._flower else {}
        self.services = self._exits.enter_context(Services(wanted, variables, folder))
        self._wait()
        self.client = TaskClient(self.settings)

    def _wait(self) -> None:
        self.ready = wait_until_ready(self.settings, give_up=self.services.ended)
        deadline = time.monotonic() + 60
        while len(self.ready["workers"]) < self._workers:
            if (reason := self.services.ended()) or time.monotonic() > deadline:
                raise SystemExit(reason or "not all workers came up")
            time.sleep(0.2)
            self.ready = wait_until_ready(self.settings, give_up=self.services.ended)

    def post(self, path: str, body: bytes, content_type: str = "application/json") -> dict[str, Any]:
        """The answer to one request; anything but a 200 ends the benchmark."""
        connection = HTTPConnection(self.settings.host, self.settings.port, timeout=60)
        try:
            connection.request("POST", path, body, {"Content-Type": content_type})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            logs = [service.last_words() for service in self.services.running]
            raise SystemExit(f"{path} answered {answer.status}: {text.decode()[:300]}\n" + "\n".join(logs))
        document: dict[str, Any] = json.loads(text)
        return document

    def processes(self) -> dict[str, list[int]]:
        """Process ids by what they are: web, worker, redis, flower."""
        pids = {"redis": [self.redis_pid]}
        for service in self.services.running:
            family = [service.pid, *(child.pid for child in psutil.Process(service.pid).children(recursive=True))]
            pids.setdefault(service.name.partition("-")[0], []).extend(family)
        return pids

    def cpu(self) -> dict[str, float]:
        """Seconds of processor time that each kind of process has used, all of its threads together."""
        return {kind: sum(map(cpu_seconds, pids)) for kind, pids in self.processes().items()}

    def resident(self) -> dict[str, float]:
        """MiB resident in the largest process of each kind."""
        return {
            kind: max(psutil.Process(pid).memory_info().rss for pid in pids) / MIB
            for kind, pids in self.processes().items()
        }


def cpu_seconds(pid: int) -> float:
    """Processor time of a process, user and system, from the start to now."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def busy_seconds() -> float:
    """Processor time that the whole machine has spent, whoever asked for it."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - getattr(times, "guest", 0) - getattr(times, "guest_nice", 0))


def _pinned(cores: list[int] | None) -> str:
    return f"taskset -c {','.join(map(str, cores))} " if cores else ""


def _children() -> Iterator[int]:
    return (child.pid for child in psutil.Process().children(recursive=True))
