"""A long recording through the real service, as a timeline: how long it takes, how its progress moves, and memory.

    python -m benchmarks.long_recording [--minutes 60]

Starts an embedded server, web and a worker on loopback, enrols the demo's speakers except Carol, and sends the demo's
meeting, over and over, as one recording. Prints the time from the request to the answer, how often progress moved and
for how long it stood still, and the most memory that the worker held.
"""

from __future__ import annotations

import argparse
import math
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.odd_recordings import enrol
from benchmarks.service.stack import ServingStack
from speaker_tasks.embedding.audio import SAMPLE_RATE
from speaker_tasks.sdk.calls import plain
from speaker_tasks.sdk.client import SpeakerTasks
from tools.make_demo_meeting import meeting, write

LOOK_SECONDS = 0.02


def most_memory(pids: Sequence[int]) -> float:
    """The most MiB that one of these processes has held since `forget_memory`."""
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    return max(int(found[1]) for text in statuses if (found := re.search(r"VmHWM:\s+(\d+)", text))) / 1024


def forget_memory(pids: Sequence[int]) -> None:
    """Have the kernel forget the most that these processes have held."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def standstills(moves: Sequence[tuple[float, int]], end: float) -> list[tuple[float, int]]:
    """Seconds for which progress stood still, the longest first, each with what was done then.

    `moves` are moments with what was done from then on.
    """
    moments = [*(moment for moment, _ in moves), end]
    return sorted(
        ((later - sooner, done) for (sooner, done), later in zip(moves, moments[1:], strict=True)), reverse=True
    )


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
            pids, moves = stack.processes()["worker"], list[tuple[float, int]]()
            forget_memory(pids)
            before, began = most_memory(pids), time.monotonic()
            sent = plain("POST", "/v1/timeline", {"path": str(folder / "long.ogg")}, bank="demo", wait=0)
            job = client.call(sent)["job"]["id"]
            while not (record := stack.client.job(job)).over:
                if not moves or record.done > moves[-1][1]:
                    moves.append((time.monotonic(), record.done))
                time.sleep(LOOK_SECONDS)
            timeline, ended = client.timeline_of(job), time.monotonic()
            most = most_memory(pids)
    taken = ended - began
    print(f"{timeline.seconds:.0f} s of sound in {taken:.1f} s: {taken / timeline.seconds:.4f} of its length")
    print("of it, ms: " + ", ".join(f"{step} {spent:.0f}" for step, spent in timeline.raw["timings_ms"].items()))
    still = ", ".join(f"{gap:.2f} s at {done}" for gap, done in standstills(moves, ended)[:3])
    print(f"progress moved {len(moves)} times; it stood still for at most {still}")
    print(f"{len(timeline.turns)} turns of {', '.join(timeline.speakers)}")
    print(f"the worker held {most:.0f} MiB at most, {before:.0f} before")


if __name__ == "__main__":
    main()
