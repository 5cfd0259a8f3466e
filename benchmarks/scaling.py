"""Plays KEDA on this machine: workers come and go by the length of the queue, while a backlog is worked off.

    python -m benchmarks.scaling [--jobs 2000] [--waiting 200] [--most 2] [--every 5]

Starts a Redis-protocol server, puts so many questions into the queue, and every few seconds starts or stops workers, as
the ScaledObject of deploy/helm does: one for each `--waiting` messages in the list `recognize`, at least one, at most
`--most`. Each job has to succeed, whoever is stopped meanwhile. Exit status 1 if one does not.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console

from speaker_tasks.celery_app import RECOGNIZE_QUEUE
from speaker_tasks.client import TaskClient
from speaker_tasks.embedding.audio import decode
from speaker_tasks.jobs.audio import Audio
from speaker_tasks.launcher.server import EmbeddedServer
from speaker_tasks.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
CLIPS = sorted((ROOT / "banks" / "demo" / "speakers").glob("*/*.ogg"))
LONGEST_SECONDS = 1800.0


class Workers:
    """The local workers; the newest are stopped first."""

    def __init__(self, settings: Settings) -> None:
        self._variables = os.environ | {"SPEAKER_REDIS_URL": settings.redis_url or "", "PYTHONPATH": str(ROOT)}
        self._variables |= {"SPEAKER_DATA_DIR": str(settings.data_dir), "SPEAKER_WORKERS": "2"}
        self._running: list[subprocess.Popen[bytes]] = []
        self._leaving: list[subprocess.Popen[bytes]] = []
        self.started = self.stopped = 0

    def __len__(self) -> int:
        return len(self._running)

    def scale(self, wanted: int) -> None:
        """Start or stop workers until so many run."""
        while len(self._running) < wanted:
            command = [sys.executable, "-m", "speaker_tasks", "worker", "--log-level", "WARNING"]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self._running.append(subprocess.Popen(command, env=self._variables, cwd=ROOT, **quiet))
            self.started += 1
        while len(self._running) > wanted:
            leaving = self._running.pop()
            leaving.send_signal(signal.SIGTERM)
            self._leaving.append(leaving)
            self.stopped += 1

    def stop(self) -> None:
        """All of them."""
        self.scale(0)
        for worker in self._leaving:
            worker.wait(60)


def main() -> None:
    """Fill the queue, scale until it is empty, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--waiting", type=int, default=200, help="messages for which one worker is started")
    parser.add_argument("--most", type=int, default=2)
    parser.add_argument("--every", type=float, default=5.0)
    options = parser.parse_args()
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="speaker-scaling-") as folder, EmbeddedServer(Path(folder) / "r") as server:
        settings = Settings(
            redis_url=server.url, data_dir=Path(folder), max_queued=options.jobs, payload_ttl=3600, result_ttl=7200
        )
        client, workers = TaskClient(settings), Workers(settings)
        sounds = [Audio.of_samples((decode(clip) * 32767).astype(np.int16), 16_000) for clip in CLIPS]
        jobs = [client.ask("vector", [sounds[number % len(sounds)]], {}).id for number in range(options.jobs)]
        began = time.monotonic()
        try:
            states = work_off(client, workers, jobs, options, console)
        finally:
            workers.stop()
    took = time.monotonic() - began
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    console.print(f"{counts} in {took:.0f} s; {workers.started} workers started, {workers.stopped} stopped")
    sys.exit(int(states != {"succeeded": options.jobs}))


def work_off(
    client: TaskClient, workers: Workers, jobs: list[str], options: argparse.Namespace, console: Console
) -> Counter[str]:
    """Scale as KEDA does until all jobs have ended: their states."""
    deadline, states = time.monotonic() + LONGEST_SECONDS, Counter[str]()
    while time.monotonic() < deadline:
        waiting = int(client.redis.llen(RECOGNIZE_QUEUE))  # type: ignore[arg-type]
        workers.scale(min(options.most, max(1, math.ceil(waiting / options.waiting))))
        console.print(f"{waiting} wait, {len(workers)} workers")
        if not waiting:
            states = Counter(client.job(job).state for job in jobs)
            if not states.keys() & {"queued", "running"}:
                break
        time.sleep(options.every)
    return states


if __name__ == "__main__":
    main()
