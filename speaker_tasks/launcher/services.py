"""The Procfile's processes run in the background, their output in files: what the demo starts and stops."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping
from pathlib import Path

from speaker_tasks.launcher.supervisor import LOOK_SECONDS, Command

STOP_SECONDS = 10.0


class Services:
    """Several commands, stopped together at the end of a `with`. None is started again."""

    def __init__(self, commands: Mapping[str, str], environment: Mapping[str, str], logs: Path) -> None:
        self.running = [
            Command(name, command, environment, log=logs / f"{name}.log") for name, command in commands.items()
        ]

    def __enter__(self) -> Services:
        for service in self.running:
            service.start()
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.running:
            service.signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while any(service.status() is None for service in self.running) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
        for service in self.running:
            service.signal(signal.SIGKILL)  # also what it left behind in its session
            service.wait()

    def ended(self) -> str | None:
        """Why the first that has ended did so; None while all run."""
        for service in self.running:
            if (status := service.status()) is not None:
                return f"{service.name} ended with status {status}: {service.last_words()}"
        return None
