"""The bare rates: the network alone, and the embedder (decoding, features, network) alone, without any service around.

Two arrangements are measured: one process whose network has a thread on every core, as one would call a library; and a
process pinned to each core with one thread, which is the most that the cores give. Started by `measure`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from speaker_tasks.embedding.audio import decode
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.settings import Settings

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Bare:
    """Clips a second, and the milliseconds of one clip at a time in one process with all cores."""

    network: float
    """The network alone, the better arrangement."""
    embedder: float
    """Decoding, features and network, the better arrangement: the limit of the cores."""
    one_process: float
    """Decoding, features and network in one process, one clip after another, the network on all cores."""
    p50: float
    p99: float


def measure(bodies: Path, seconds: float, cores: list[int], variables: dict[str, str]) -> Bare:
    """The bare rates for the WAV files of a folder. `variables` are SPEAKER_* settings."""
    one = _run([("whole", None, len(cores))], bodies, seconds, variables)[0]
    alone = {
        what: sum(rates["rate"] for rates in _run([(what, core, 1) for core in cores], bodies, seconds, variables))
        for what in ("network", "whole")
    }
    one_network = _run([("network", None, len(cores))], bodies, seconds, variables)[0]
    return Bare(
        network=max(alone["network"], one_network["rate"]),
        embedder=max(alone["whole"], one["rate"]),
        one_process=one["rate"],
        p50=one["p50"],
        p99=one["p99"],
    )


def _run(
    wanted: list[tuple[str, int | None, int]], bodies: Path, seconds: float, variables: dict[str, str]
) -> list[dict[str, float]]:
    """Processes that run at the same time: each what, on which core, with how many threads of the network."""
    running = []
    for what, core, threads in wanted:
        command = [sys.executable, "-m", "benchmarks.service.bare", what, str(bodies), str(seconds)]
        command = command if core is None else ["taskset", "-c", str(core), *command]
        environment = os.environ | variables | {"SPEAKER_THREADS": str(threads)}
        running.append(
            subprocess.Popen(
                command, env=environment, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
    for one in running:
        assert one.stdout is not None
        one.stdout.readline()  # it is warm
    for one in running:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return [json.loads(one.communicate()[0]) for one in running]


def loop(what: str, bodies: Path, seconds: float) -> dict[str, float]:
    """Embed files one after another for so long: clips a second and percentiles in milliseconds."""
    embedder = Embedder.configured(Settings())
    files = [path.read_bytes() for path in sorted(bodies.iterdir())]
    prepared = [list(embedder.spectrograms([decode(file)])) for file in files]

    def whole(number: int) -> None:
        embedder.embed(decode(files[number]))

    def network(number: int) -> None:
        embedder.run(prepared[number])

    work = {"whole": whole, "network": network}[what]
    for number in range(len(files)):
        work(number)
    print("warm", flush=True)
    sys.stdin.readline()
    took: list[float] = []
    order = np.random.default_rng(os.getpid()).permutation(len(files))
    began = time.perf_counter()
    while (started := time.perf_counter()) < began + seconds:
        work(int(order[len(took) % len(order)]))
        took.append(time.perf_counter() - started)
    p50, p99 = np.percentile(took, [50, 99]) * 1e3
    return {"rate": len(took) / sum(took), "p50": float(p50), "p99": float(p99)}


def as_dict(bare: Bare) -> dict[str, float]:
    """For the file of figures."""
    return asdict(bare)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("whole", "network"))
    parser.add_argument("bodies", type=Path)
    parser.add_argument("seconds", type=float)
    options = parser.parse_args()
    print(json.dumps(loop(options.what, options.bodies, options.seconds)))
