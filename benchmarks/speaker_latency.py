"""What `/speaker` costs for a 4 s clip sent as JSON, and what the processes hold in memory.

    python benchmarks/speaker_latency.py [--model compact --model vgg] [--requests 50] [--json FILE]

Starts the real stack of the Procfile (an embedded server, web, a worker, Flower) on free loopback ports for each
model and stops it again. One client on one kept-alive connection, one request at a time, after a warm-up. The clip is
real speech from `$SPEAKER_SHARED/speech/validation` (default `../shared` beside the checkout), else one of the demo's.
The weights are those that `speaker-tasks worker` finds; `SPEAKER_WEIGHTS` names others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from speaker_tasks.embedding.audio import SAMPLE_RATE, decode
from speaker_tasks.launcher.procfile import environment, read_procfile
from speaker_tasks.launcher.readiness import wait_until_ready
from speaker_tasks.launcher.server import free_port
from speaker_tasks.launcher.services import Services
from speaker_tasks.launcher.up import with_redis
from speaker_tasks.settings import Settings

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("SPEAKER_SHARED", ROOT.parent / "shared"))
CLIP_SECONDS = 4
ENROLLED = 44
WARM_UP = 5
MIB = 1024 * 1024


@dataclass(frozen=True)
class Memory:
    """What the processes of one service hold, in MiB; `proportional` counts pages that they share once in all."""

    service: str
    processes: int
    largest_resident: float
    proportional: float


@dataclass(frozen=True)
class Result:
    """One model's figures, in milliseconds."""

    model: str
    device: str
    runtime: str
    body_kib: float
    p50: float
    p95: float
    worst: float
    memory: list[Memory]


def main() -> None:
    """Measure the models asked for and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", help="compact or vgg; more than once for several")
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    console = Console()
    results = []
    for model in options.model or ["compact"]:
        with console.status(f"measuring {model}"):
            results.append(measure(model, options.requests))
    for table in tables(results, options.requests):
        console.print(table)
    if options.json:
        options.json.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n")


def measure(model: str, requests: int) -> Result:
    """Start the stack with `model`, send the clip `requests` times, look at the memory, stop the stack."""
    body = json.dumps({"speaker": clip().tolist()}).encode()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="speaker-latency-")))
        settings = Settings(host="127.0.0.1", port=free_port(), flower_port=free_port(), redis_url=None, model=model)
        redis_url = with_redis(settings.model_copy(update={"data_dir": folder}), stack).redis_url
        settings = settings.model_copy(update={"redis_url": redis_url})
        variables = environment(settings) | {"SPEAKER_MODEL": model}
        services = stack.enter_context(Services(read_procfile(), variables, folder))
        ready = wait_until_ready(settings, give_up=services.ended)
        connection = stack.enter_context(closing(HTTPConnection(settings.host, settings.port, timeout=60)))
        enroll(connection, body)
        for _ in range(WARM_UP):
            ask(connection, "/speaker", body)
        times = sorted(timed(connection, body) for _ in range(requests))
        return Result(
            model=ready["model"],
            device=ready["device"],
            runtime=ready["workers"][0]["runtime"] + " " + ready["workers"][0]["precision"],
            body_kib=len(body) / 1024,
            p50=statistics.median(times),
            p95=times[int(0.95 * (len(times) - 1))],
            worst=times[-1],
            memory=[memory(service.name, service.pid) for service in services.running],
        )


def clip() -> np.ndarray:
    """(T,) float32: four seconds of speech."""
    real = sorted((SHARED / "speech" / "validation").glob("libri-*/*.opus"))
    for path in real or sorted((ROOT / "banks" / "demo" / "speakers").rglob("*.*")):
        samples = decode(path)
        if len(samples) >= CLIP_SECONDS * SAMPLE_RATE:
            return samples[: CLIP_SECONDS * SAMPLE_RATE]
    raise SystemExit("there is no recording of four seconds to send")


def enroll(connection: HTTPConnection, body: bytes) -> None:
    """Make a list of as many people as the first server's: the clip's own voice, and random others."""
    own = ask(connection, "/SpeakerFeats", body)["feats"][0]
    others = np.random.default_rng(0).normal(0, 0.04, (ENROLLED - 1, len(own))).tolist()
    labels = [f"speaker {number}" for number in range(ENROLLED)]
    ask(connection, "/ModifyFeatsCustom", json.dumps({"label": labels, "feats": [own, *others]}).encode())


def timed(connection: HTTPConnection, body: bytes) -> float:
    """Milliseconds that one request takes, until its answer is parsed."""
    started = time.perf_counter()
    ask(connection, "/speaker", body)
    return 1e3 * (time.perf_counter() - started)


def ask(connection: HTTPConnection, path: str, body: bytes) -> dict[str, list[list[float]]]:
    """The answer to a POST; anything but a 200 ends the benchmark."""
    connection.request("POST", path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise SystemExit(f"{path} answered {answer.status}: {text.decode()[:300]}")
    return json.loads(text)  # type: ignore[no-any-return]


def memory(service: str, pid: int) -> Memory:
    """What a service's processes hold; those that only keep another alive are left out."""
    infos = [process.memory_full_info() for process in family(pid)]
    infos = [info for info in infos if info.rss > 8 * MIB]
    return Memory(service, len(infos), max(i.rss for i in infos) / MIB, sum(i.pss for i in infos) / MIB)


def family(pid: int) -> Iterator[psutil.Process]:
    """The process and all that it started."""
    first = psutil.Process(pid)
    yield first
    yield from first.children(recursive=True)


def tables(results: list[Result], requests: int) -> Iterator[Table]:
    """The latencies, and the memory."""
    latency = Table(title=f"POST /speaker, JSON of {CLIP_SECONDS} s, one client, {requests} requests, milliseconds")
    for name in ("model", "device", "runtime", "body", "p50", "p95", "worst"):
        latency.add_column(name, no_wrap=True, justify="left" if name in ("model", "device", "runtime") else "right")
    held = Table(title="memory, MiB")
    for name in ("model", "service", "processes", "largest resident", "all, proportional"):
        held.add_column(name, no_wrap=True, justify="left" if name in ("model", "service") else "right")
    for one in results:
        figures = (f"{one.body_kib:.0f} KiB", f"{one.p50:.1f}", f"{one.p95:.1f}", f"{one.worst:.1f}")
        latency.add_row(one.model, one.device, one.runtime, *figures)
        for each in one.memory:
            figures = (str(each.processes), f"{each.largest_resident:.0f}", f"{each.proportional:.0f}")
            held.add_row(one.model, each.service, *figures)
    yield latency
    yield held


if __name__ == "__main__":
    main()
