"""The Procfile's processes run in the background, their output in files: what the demo starts and stops."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from speaker_tasks.launcher.tether import tethered

STOP_SECONDS = 10.0


class Service:
    """One process and its log. It never outlives this process."""

    def __init__(self, name: str, command: str, environment: Mapping[str, str], log: Path) -> None:
        self.name, self.log = name, log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                tethered(["/bin/sh", "-c", f"exec {command}"], signal.SIGKILL),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def ended(self) -> str | None:
        """Why it ended: its last words; None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        return f"{self.name} ended with status {status}: {last_words(self.log)}"

    def terminate(self) -> None:
        """Ask its process group to end."""
        self._signal(signal.SIGTERM)

    def wait(self, deadline: float) -> None:
        """Wait until it has ended, at most until `deadline` on the monotonic clock; then kill it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        self._signal(signal.SIGKILL)  # also what the process left behind in its group
        self._process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def last_words(log: Path) -> str:
    """The last error that a log names, else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"(^|\w)[Ee]rror: ", line)]
    return (errors or lines or ["it said nothing"])[-1]


class Services:
    """Several services, stopped together at the end of a `with`."""

    def __init__(self, commands: Mapping[str, str], environment: Mapping[str, str], logs: Path) -> None:
        self._commands, self._environment, self._logs = commands, environment, logs
        self.running: list[Service] = []

    def __enter__(self) -> Services:
        for name, command in self._commands.items():
            self.running.append(Service(name, command, self._environment, self._logs / f"{name}.log"))
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.running:
            service.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for service in self.running:
            service.wait(deadline)

    def ended(self) -> str | None:
        """Why the first that has ended did so; None while all run."""
        return next((reason for service in self.running if (reason := service.ended())), None)
