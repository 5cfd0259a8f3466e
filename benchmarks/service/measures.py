"""The measures, each a function of a `Bench` that gives plain figures; `serving.py` runs them and keeps the figures."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.service import bare, load, peers, speech
from benchmarks.service.bench import CLIPS, JSON, WAV, Bench, Figures, enroll, shown, watched
from benchmarks.service.beside import banks, bulk
from benchmarks.service.stack import ServingStack

BOTH = "two workers on two cores"
ROUNDS = 4


def bare_rates(bench: Bench) -> Figures:
    """The network and the embedder without a service."""
    variables = {"SPEAKER_DATA_DIR": str(bench.folder / "data")}
    return bare.as_dict(bare.measure(bench.wav, bench.seconds, bench.cores, variables))


def closed(bench: Bench) -> Figures:
    """Closed loop: 1 and 16 clients, WAV and JSON; and where one request's time goes."""
    with bench.stack() as stack:
        enroll(stack, bench.clips[0])
        figures = {
            "wav, 16": watched(stack, bench.plan(stack, WAV, bench.wav, clients=16)),
            "wav, 1": watched(stack, bench.plan(stack, WAV, bench.wav, clients=1)),
            "json, 16": watched(stack, bench.plan(stack, JSON, bench.json, clients=16)),
            "json of 4 s, 1": watched(stack, bench.plan(stack, JSON, bench.json_of_4_s, clients=1)),
        }
        return figures | {"stages": stages(stack, bench), "resident": stack.resident()}


def throughput(bench: Bench) -> Figures:
    """One client, and 16, in turns with the bare rates, so that a machine whose speed changes changes both."""
    two, short = bench.cores[:2], bench.seconds / 2
    figures: Figures = {}
    cases: dict[str, dict[str, Any]] = {"one worker": {}, "a worker a core": {"workers": 2, "cores": two}}
    variables = {"SPEAKER_DATA_DIR": str(bench.folder / "data")}
    for name, how in cases.items():
        with bench.stack(**how) as stack:
            enroll(stack, bench.clips[0])
            figures[name] = []
            for _ in range(ROUNDS):
                alone = bare.as_dict(bare.measure(bench.wav, short, bench.cores, variables))
                plans = {"wav": bench.plan(stack, WAV, bench.wav), "json": bench.plan(stack, JSON, bench.json)}
                one = shown(load.run(replace(plans["wav"], clients=1, seconds=short)))
                rates = {kind: load.run(replace(plan, clients=16, seconds=short)).rate for kind, plan in plans.items()}
                figures[name].append(alone | rates | {"one client": one})
    return figures


def stages(stack: ServingStack, bench: Bench) -> Figures:
    """Medians over single requests of what the answers say of their steps, and of what is left: web and client."""
    steps: dict[str, list[float]] = {}
    for clip in bench.clips * 3:
        body = speech.wav(clip)
        started = time.perf_counter()
        timings = stack.post(WAV[0], body, WAV[1])["timings_ms"]
        whole = 1e3 * (time.perf_counter() - started)
        rest = whole - timings.pop("total")
        for name, value in [*timings.items(), ("web and client", rest), ("whole", whole)]:
            steps.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in steps.items()}


def clients(bench: Bench) -> Figures:
    """The rate and the latency by the number of clients."""
    with bench.stack() as stack:
        enroll(stack, bench.clips[0])
        counts = (1, 2, 4, 8, 16, 32)
        return {
            str(n): shown(load.run(bench.plan(stack, WAV, bench.wav, clients=n, seconds=bench.seconds / 2)))
            for n in counts
        }


def opened(bench: Bench) -> Figures:
    """Open loop at shares of the maximum rate, which is that of 16 clients."""
    with bench.stack() as stack:
        enroll(stack, bench.clips[0])
        most = load.run(bench.plan(stack, WAV, bench.wav, clients=16)).rate
        figures: Figures = {"maximum": most}
        for share in (0.3, 0.5, 0.7, 0.85):
            plan = bench.plan(stack, WAV, bench.wav, rate=share * most, seconds=2 * bench.seconds)
            figures[f"{share:g}"] = shown(load.run(plan))
        return figures


def scaling(bench: Bench) -> Figures:
    """One worker pinned to a core beside two workers on two; and the same with the whole service on one core."""
    one, two = bench.cores[0], bench.cores[:2]
    figures: Figures = {}
    cases: dict[str, dict[str, Any]] = {
        "one worker on one core": {"workers": 1, "cores": [one]},
        BOTH: {"workers": 2, "cores": two},
        "all of it on one core": {"workers": 1, "cores": [one], "web_cores": [one]},
    }
    for name, how in cases.items():
        with bench.stack(**how) as stack:
            enroll(stack, bench.clips[0])
            figures[name] = watched(stack, bench.plan(stack, WAV, bench.wav, clients=16))
            if name == BOTH:
                figures["json"] = watched(stack, bench.plan(stack, JSON, bench.json, clients=16))
                figures["one client"] = shown(load.run(bench.plan(stack, WAV, bench.wav)))
    return figures


def lengths(bench: Bench) -> Figures:
    """The latency of one client by the clip's length in seconds."""
    with bench.stack() as stack:
        enroll(stack, bench.clips[0])
        figures = {}
        for seconds in (1, 2, 4, 8, 16, 32, 64):
            bodies = speech.write(bench.folder / f"wav-{seconds}", [speech.wav(speech.clip(seconds))])
            figures[str(seconds)] = shown(load.run(bench.plan(stack, WAV, bodies, seconds=bench.seconds / 3)))
        return figures


def vgg(bench: Bench) -> Figures:
    """The published network through the older endpoint: clips a second and the latency of one client, JSON of 4 s."""
    weights = _vgg_weights(bench.folder)
    if weights is None:
        return {}
    with bench.stack(model="vgg", **({"weights": weights} if weights else {})) as stack:
        enroll(stack, bench.clips[0])
        plan = bench.plan(stack, JSON, bench.json_of_4_s, seconds=2 * bench.seconds)
        return {"8": shown(load.run(replace(plan, clients=8))), "1": shown(load.run(replace(plan, clients=1)))}


def _vgg_weights(folder: Path) -> str | None:
    """The registered file (empty text), else the oracle's, whose time is the same, converted; None without either."""
    from speaker_tasks.embedding import legacy_weights, weights
    from speaker_tasks.embedding.members import VGG

    if "vgg" in weights.registered(Path("var")):
        return str(weights.find("vgg", Path("var")).resolve())
    source = speech.SHARED / "oracle" / "vgg_weights.h5"
    if not source.is_file():
        print("left out: vgg: there are no weights (`speaker-tasks weights fetch vgg`)")
        return None
    path = folder / "vgg.safetensors"
    weights.write(path, VGG, legacy_weights.read_legacy(source, verify=False))
    return str(path)


def memory(bench: Bench) -> Figures:
    """Resident memory in MiB of the largest process of each kind, over many requests of mixed lengths.

    Before it comes a warm-up: records of answered jobs live for some seconds, so the server is full of them only after
    thousands of requests, and each of the network's graphs has to meet each length, those of a call alone too.
    """
    with bench.stack(flower=True) as stack:
        enroll(stack, bench.clips[0])
        looks: list[Figures] = []
        load.run(bench.plan(stack, WAV, bench.wav, clients=1, requests=2 * CLIPS, warm_up=0.0))
        step, done = bench.requests // 10, 0
        for number in range(11):
            count = step if number else 2 * step
            report = load.run(bench.plan(stack, WAV, bench.wav, clients=8, requests=count, warm_up=0.0, seed=number))
            done += count
            looks.append({"requests": done, "rate": report.rate, **stack.resident()})
        return {"looks": looks}


def rivals(bench: Bench) -> Figures:
    """The peers, as far as they are installed."""
    plan = load.Plan("127.0.0.1", 0, "/embed", str(bench.wav), "audio/wav", seconds=bench.seconds)
    plans = [replace(plan, clients=16), replace(plan, clients=1)]
    variables = {"SPEAKER_DATA_DIR": str(bench.folder / "data")}
    measured = {name: peers.measure(name, plans, list(bench.paths), variables) for name in peers.PEERS}
    return {name: figures for name, figures in measured.items() if figures is not None}


MEASURES: dict[str, Callable[[Bench], Figures]] = {
    "bare": bare_rates,
    "closed": closed,
    "throughput": throughput,
    "peers": rivals,
    "open": opened,
    "bulk": bulk,
    "scaling": scaling,
    "vgg": vgg,
    "banks": banks,
    "clients": clients,
    "lengths": lengths,
    "memory": memory,
}
"""In the order in which they run; the first two belong together."""
