"""A task that runs for minutes: when its worker dies another one takes it over, once, and nobody else while that lives.

    python -m benchmarks.takeover [--seconds 600]

Starts a Redis-protocol server and three workers whose network takes so many seconds for a recording (it sleeps, so that
the machine is free meanwhile), sends one question, and kills the worker that has begun it with `kill -9`. Exit status 1
if the question was not begun exactly twice, or not answered.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.failing.stack import SPEAKERS
from speaker_tasks.client import TaskClient
from speaker_tasks.embedding.audio import decode
from speaker_tasks.jobs.audio import Audio
from speaker_tasks.launcher.server import EmbeddedServer
from tests.integration.stack import Process, Stack, wait_for

CLIP = SPEAKERS / "Alice" / "1.ogg"
SLOW_WORKER = """
import os, pathlib, time
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.settings import Settings
from speaker_tasks.worker import run_worker

run, begun, warm = Embedder.run, pathlib.Path(os.environ["BEGUN"]), []

def slow(self, spectrograms):
    if warm:
        with begun.open("a") as file:
            file.write(f"{os.getpid()} {time.time()}\\n")
        time.sleep(float(os.environ["SECONDS"]))
    warm.append(1)
    return run(self, spectrograms)

Embedder.run = slow
run_worker(Settings())
"""


def begun(folder: Path) -> list[tuple[int, float]]:
    """The process ids of who has begun the task, and when."""
    lines = (folder / "begun").read_text().splitlines() if (folder / "begun").exists() else []
    return [(int(pid), float(moment)) for pid, moment in (line.split() for line in lines)]


def run(stack: Stack, folder: Path, seconds: float) -> bool:
    """Whether it went as it should."""
    given = {"BEGUN": str(folder / "begun"), "SECONDS": str(seconds), "SPEAKER_HEARTBEAT_SECONDS": "2"}
    given["SPEAKER_STALL_SECONDS"] = str(10 * seconds)
    workers: list[Process] = []
    for _ in range(3):
        workers.append(stack.start("worker", [sys.executable, "-c", SLOW_WORKER], **given))
        stack.wait_warm(workers[-1])
    client: TaskClient = stack.client()
    job = client.embed(Audio.of_samples(decode(CLIP), 16_000))
    wait_for("the task's begin", lambda: begun(folder), 30)
    time.sleep(min(10.0, seconds / 4))
    victim = next(one for one in workers if one.pid == begun(folder)[0][0])
    victim.kill()
    killed = time.time()
    wait_for("another one's begin", lambda: len(begun(folder)) > 1, 30)
    print(f"taken over {begun(folder)[1][1] - killed:.1f} s after its worker's death")
    wait_for("the answer", lambda: client.job(job.id).over, 2 * seconds + 60)
    answered, record = time.time(), client.job(job.id)
    time.sleep(5)
    runs = begun(folder)
    print(f"{record.state} {answered - runs[1][1]:.1f} s later; begun {len(runs)} times by {len(dict(runs))} workers")
    return record.state == "succeeded" and len(runs) == 2


def main() -> None:
    """Run it, print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="speaker-takeover-") as temporary:
        folder = Path(temporary)
        with EmbeddedServer(folder / "redis") as server:
            stack = Stack(folder, server.url)
            try:
                well = run(stack, folder, options.seconds)
            finally:
                for process in stack.processes:
                    process.kill()
    sys.exit(int(not well))


if __name__ == "__main__":
    main()
