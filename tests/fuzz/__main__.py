"""Inputs by chance for the real readers, in this process or, with --url, of a service that runs.

Each input has to be read, or refused by an error of ours that is no 5xx, within 30 s; the process has to stay below
1 GB; no seconds of a recording may vanish in silence. The first input that breaks this ends the run with a trace, made
as small as hypothesis can. Figures come at the end.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from tests.fuzz import documents, readers
from tests.fuzz.recordings import recordings, strange
from tests.fuzz.service import Service

MOST_SECONDS, MOST_BYTES = 30.0, 1 << 30
KINDS: dict[str, tuple[float, SearchStrategy[Any], Callable[[Any], str]]] = {
    "recordings": (0.3, recordings(), readers.hear),
    "strange recordings": (0.15, strange(), readers.hear_anything),
    "workbooks": (0.15, documents.workbooks(), readers.source("x.xlsx")),
    "tables": (0.1, documents.tables(), readers.source("x.csv")),
    "dictionaries": (0.05, documents.dictionaries(), readers.source("x.json")),
    "segments": (0.05, documents.segments(), readers.meeting),
    "bank files": (0.05, documents.bank_files(), readers.bank),
    "archives": (0.05, documents.archives(), readers.speakers),
    "bodies": (0.1, documents.bodies(), readers.body),
}
"""Each kind's share of the inputs, how they are made, and who reads them."""


@dataclass
class Figures:
    """What came of the inputs of one kind."""

    inputs: int = 0
    slowest: float = 0.0
    came: Counter[str] = field(default_factory=Counter)


def run(name: str, inputs: int, start: int = 0, read: Callable[[Any], str] | None = None) -> Figures:
    """Try so many inputs of one kind, by their reader here or another. Raises what the first that breaks a bound does.

    The same `start` gives the same inputs.
    """
    bound = MOST_BYTES + (peak() if read else 0)  # who drives a service may have done other things before
    strategy, read = KINDS[name][1], read or KINDS[name][2]
    figures = Figures()
    last = Path(tempfile.gettempdir()) / f"fuzz-{os.getpid()}"

    @seed(start)
    @settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(one: Any) -> None:
        faulthandler.dump_traceback_later(2 * MOST_SECONDS, exit=True)
        last.write_bytes(getattr(one, "content", one))
        began = time.monotonic()
        came = read(one)
        took = time.monotonic() - began
        faulthandler.cancel_dump_traceback_later()
        figures.inputs += 1
        figures.slowest = max(figures.slowest, took)
        figures.came[came] += 1
        assert took < MOST_SECONDS, f"{took:.1f} s"
        assert peak() < bound, f"the process has had {peak() >> 20} MB"

    try:
        each()
    except BaseException:
        print(f"the input lies at {last}", file=sys.stderr)
        raise
    last.unlink(missing_ok=True)
    return figures


def peak() -> int:
    """The most bytes of memory that this process has had; it is not the parent's, as `getrusage` may tell."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))


def main() -> None:
    """Run all kinds, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--url", help="of a service that runs")
    parser.add_argument("--folder", type=Path, help="that its workers may read, for workbooks, tables and so on")
    options = parser.parse_args()
    others = Service(options.url, options.folder).readers() if options.url else {}
    began = time.monotonic()
    for name, (share, *_) in KINDS.items():
        if options.only not in (None, name) or (others and name not in others):
            continue
        inputs = options.inputs if options.only else round(share * options.inputs)
        figures = run(name, inputs, options.seed, others.get(name))
        came = ", ".join(f"{count} {what}" for what, count in figures.came.most_common(6))
        print(f"{name}: {figures.inputs} inputs, the slowest {figures.slowest:.2f} s: {came}", flush=True)
    print(f"all in {time.monotonic() - began:.0f} s, at most {peak() >> 20} MB")


if __name__ == "__main__":
    sys.exit(main())
