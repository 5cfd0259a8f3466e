"""A long recording through the real service, as a timeline: how long it takes, how its progress moves, and memory.

    python -m benchmarks.long_recording [--minutes 60]

Starts an embedded server, web and a worker on loopback, enrols the demo's speakers except Carol, and sends the demo's
meeting, over and over, as one recording. Prints the time from the request to the answer, how often progress moved and
for how long it stood still, and the most memory that the worker held.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.odd_recordings import enrol
from benchmarks.service.stack import ServingStack
from speaker_tasks.embedding.audio import SAMPLE_RATE
from speaker_tasks.sdk.calls import plain
from speaker_tasks.sdk.client import SpeakerTasks
from tools.make_demo_meeting import meeting, write

LOOK_SECONDS = 0.02
MEMORY_SECONDS = 0.2


@dataclass
class Moves:
    """When progress moved."""

    moments: list[float] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    def saw(self, done: int) -> None:
        """Note what is done, if that is more than before."""
        if not self.done or done > self.done[-1]:
            self.done.append(done)
            self.moments.append(time.monotonic())

    def standstills(self, end: float) -> list[tuple[float, int]]:
        """Seconds for which it stood still, the longest first, each with what was done then."""
        ends = [*self.moments[1:], end][: len(self.moments)]
        gaps = [(later - sooner, done) for sooner, later, done in zip(self.moments, ends, self.done, strict=True)]
        return sorted(gaps, reverse=True)


class Memory(threading.Thread):
    """Watches what the worker holds."""

    def __init__(self, stack: ServingStack) -> None:
        super().__init__(daemon=True)
        self._stack, self._over = stack, threading.Event()
        self.most = 0.0
        """MiB."""

    def run(self) -> None:
        """Watch until `stop`."""
        while not self._over.wait(MEMORY_SECONDS):
            self.most = max(self.most, self._stack.resident()["worker"])

    def stop(self) -> None:
        """End, and wait for the end."""
        self._over.set()
        self.join()


def main() -> None:
    """Make, send, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    once, _ = meeting()
    times = math.ceil(60 * minutes * SAMPLE_RATE / len(once))
    with tempfile.TemporaryDirectory(prefix="long-") as name:
        folder = Path(name)
        write(folder / "long.ogg", meeting(times)[0])
        with (
            ServingStack(data_roots=str(folder), data_dir=str(folder / "data")) as stack,
            SpeakerTasks(f"http://{stack.settings.host}:{stack.settings.port}") as client,
        ):
            enrol(client, folder)
            before, memory, moves = stack.resident()["worker"], Memory(stack), Moves()
            memory.start()
            try:
                began = time.monotonic()
                sent = plain("POST", "/v1/timeline", {"path": str(folder / "long.ogg")}, bank="demo", wait=0)
                job = client.call(sent)["job"]["id"]
                while not (record := stack.client.job(job)).over:
                    moves.saw(record.done)
                    time.sleep(LOOK_SECONDS)
                timeline = client.timeline_of(job)
                ended = time.monotonic()
            finally:
                memory.stop()
    taken = ended - began
    print(f"{timeline.seconds:.0f} s of sound in {taken:.1f} s: {taken / timeline.seconds:.4f} of its length")
    print("of it, ms: " + ", ".join(f"{step} {spent:.0f}" for step, spent in timeline.raw["timings_ms"].items()))
    still = ", ".join(f"{gap:.2f} s at {done}" for gap, done in moves.standstills(ended)[:3])
    print(f"progress moved {len(moves.done)} times; it stood still for at most {still}")
    print(f"{len(timeline.turns)} turns of {', '.join(timeline.speakers)}")
    print(f"the worker held {memory.most:.0f} MiB at most, {before:.0f} before")


if __name__ == "__main__":
    main()
