"""What the real service does with its processors: `python -m benchmarks.serving`, one table and its picture.

    python -m benchmarks.serving [--only bare,closed] [--seconds 6] [--json FILE] [--images FOLDER] [--path DIR ...]

Starts the real stack (an embedded server, web, a worker) on loopback, and clients in a process of their own: a
closed loop and an open one (Poisson). Speech of 2 to 8 s from `$SPEAKER_SHARED/speech/validation` (default `../shared`
beside the checkout), else of the demo's voices. Warm-up is not counted. In the same run, on the same cores: the bare
network and the bare embedder (decoding, features, network), and the peers. All measures take about fifteen minutes;
`--only` names some (`bare,closed,throughput,peers,open,bulk,scaling,vgg,banks,clients,lengths,memory`), whose figures
replace the older ones in `--json`; `--only none` prints and draws what that file holds.

Resemblyzer is no part of the product: `pip install -r benchmarks/requirements.txt`, then `pip install --no-deps
resemblyzer==0.1.4`, or name a folder that holds it by `--path`. A peer that is not there is left out, and said so.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.service.bars import rows
from benchmarks.service.bench import Bench
from benchmarks.service.measures import MEASURES


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(MEASURES))
    parser.add_argument("--seconds", type=float, default=6.0, help="how long most figures are measured")
    parser.add_argument("--requests", type=int, default=20_000, help="requests of the measure of memory")
    parser.add_argument("--json", type=Path, help="keep the figures here, and add to them")
    parser.add_argument("--images", type=Path, help="draw the table and the plots into this folder")
    parser.add_argument("--path", action="append", default=[], help="a folder with packages of the peers")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name != "none"]
    if unknown := set(names) - set(MEASURES):
        parser.error(f"there is no measure {sorted(unknown)[0]!r}; there is {', '.join(MEASURES)}")
    console = Console(width=150)
    figures: dict[str, Any] = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    with tempfile.TemporaryDirectory(prefix="serving-") as folder:
        bench = Bench(Path(folder), options.seconds, options.requests, tuple(options.path))
        for name in names:
            began = time.monotonic()
            figures[name] = MEASURES[name](bench)
            console.print(f"{name}: {time.monotonic() - began:.0f} s", highlight=False)
            if options.json:
                options.json.write_text(json.dumps(figures, indent=1) + "\n")
    show(figures, console)
    if options.images:
        from benchmarks.service import plots

        plots.draw(figures, options.images)


def show(figures: dict[str, Any], console: Console) -> None:
    """Print the bars, and the figures that they rest on."""
    table = Table("", "measured", "asked for", "", title=f"serving on {platform.machine()}")
    for row in rows(figures):
        table.add_row(row.name, row.measured, row.bar, ("met" if row.met else "NOT MET") if row.bar else "")
    console.print(table)
    rates = Table("", "clips/s", "p50, ms", "p95, ms", "p99, ms", "processor ms a request", title="rates and latencies")
    if bare := figures.get("bare"):
        rates.add_row("bare network", f"{bare['network']:.1f}")
        rates.add_row("bare embedder, a process pinned to each core", f"{bare['embedder']:.1f}")
        one = f"{bare['p50']:.1f}", "", f"{bare['p99']:.1f}"
        rates.add_row("bare embedder, one process", f"{bare['one_process']:.1f}", *one)
    for name, one in figures.get("closed", {}).items():
        if "rate" in one:
            cpu = ", ".join(f"{kind} {ms:.1f}" for kind, ms in one["cpu_ms"].items())
            if one["others"] > 0.1:
                cpu += f"; others took {one['others']:.1f} cores"
            rates.add_row(f"the service, {name}", *_cells(one), cpu)
    for peer, by_clients in figures.get("peers", {}).items():
        for clients, one in by_clients.items():
            rates.add_row(f"{peer}, {clients}", *_cells(one))
    for name in ("clients", "lengths", "open"):
        for key, one in figures.get(name, {}).items():
            if isinstance(one, dict):
                rates.add_row(f"{name}: {key}", *_cells(one))
    console.print(rates)
    if stages := figures.get("closed", {}).get("stages"):
        console.print("one request, milliseconds: " + ", ".join(f"{name} {ms:.1f}" for name, ms in stages.items()))


def _cells(one: dict[str, Any]) -> list[str]:
    latencies = (f"{one[share]:.1f}" if share in one else "" for share in ("p50", "p95", "p99"))
    return [f"{one['rate']:.1f}", *latencies]


if __name__ == "__main__":
    main()
