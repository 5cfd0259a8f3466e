"""The bars of serving: what was measured beside what was asked for, a row each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

OLDER_RATE, OLDER_MS = 1.8, 640.0
"""The older server on such a machine: clips a second, and milliseconds of a 4 s clip with one client."""
Figures = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One bar: what it is of, what was measured, what is asked for (empty: nothing), and whether it is met."""

    name: str
    measured: str
    bar: str
    met: bool


def rows(figures: Figures) -> list[Row]:
    """The bars that the figures tell of."""
    made: list[Row] = []
    for wanted, make in _BARS:
        if all(figures.get(name) for name in wanted):
            made.extend(make(*(figures[name] for name in wanted)))
    return made


def _at_least(name: str, value: float, least: float, ratio: str) -> Row:
    return Row(name, f"{ratio}: {value:.2f} x", f"at least {least:g} x", value >= least)


def _at_most(name: str, value: float, most: float, unit: str, what: str = "") -> Row:
    measured = f"{what}: {value:.2f} {unit}" if what else f"{value:.2f} {unit}"
    return Row(name, measured, f"at most {most:g} {unit}", value <= most)


def _throughput(figures: Figures) -> Iterator[Row]:
    limits = (("embedder", "a process pinned to each core"), ("one_process", "one process"))
    for how, rounds in figures.items():
        for kind, least in (("wav", 0.75), ("json", 0.65)):
            for limit, bare_how in limits:
                share = median(one[kind] / one[limit] for one in rounds)
                rate, most = (median(one[name] for one in rounds) for name in (kind, limit))
                name = f"{kind.upper()}, 16 clients, {how}, of the bare embedder ({bare_how})"
                row = _at_least(name, share, least, f"{rate:.0f} of {most:.0f} clips/s")
                yield row if limit == "one_process" else replace(row, bar="", met=True)
        for share, most in (("p50", 8), ("p99", 20)):
            over = median(one["one client"][share] - one[share] for one in rounds)
            served, alone = median(one["one client"][share] for one in rounds), median(one[share] for one in rounds)
            name = f"WAV, one client, {how}, over the bare embedder, {share}"
            yield _at_most(name, over, most, "ms", f"{served:.1f} - {alone:.1f}")


def _latency(bare: Figures, closed: Figures) -> Iterator[Row]:
    value = closed["json of 4 s, 1"]["p50"]
    yield _at_most(
        "JSON of 4 s, one client, over the bare embedder, p50", value - bare["p50"], 40, "ms",
        f"{value:.1f} - {bare['p50']:.1f}",
    )  # fmt: skip


def _open(figures: Figures) -> Iterator[Row]:
    seen = figures["0.7"]
    ratio = f"{seen['p99']:.1f} / {seen['p50']:.1f} ms at {0.7 * figures['maximum']:.0f}/s"
    yield _at_most("open loop at 70 % of the maximum, p99 over p50", seen["p99"] / seen["p50"], 3, "x", ratio)


def _bulk(figures: Figures) -> Iterator[Row]:
    without, beside = figures["without"]["p95"], figures["beside"]["p95"]
    yield _at_most(
        f"{figures['question rate']:.0f} questions/s under an enrollment, p95 over that without", beside / without, 2,
        "x", f"{beside:.1f} / {without:.1f} ms",
    )  # fmt: skip
    rates = f"{figures['rate']:.0f} of {figures['alone']:.0f} recordings/s"
    yield _at_least("the enrollment beside them, of its rate alone", figures["rate"] / figures["alone"], 0.7, rates)


def _vgg(figures: Figures) -> Iterator[Row]:
    rate, p50 = figures["8"]["rate"], figures["1"]["p50"]
    yield _at_least("vgg, 8 clients, of the older server", rate / OLDER_RATE, 6, f"{rate:.1f} of {OLDER_RATE} clips/s")
    yield _at_most("vgg, one client, of the older server", p50 / OLDER_MS, 0.4, "x", f"{p50:.0f} of {OLDER_MS:.0f} ms")


def _memory(figures: Figures) -> Iterator[Row]:
    looks = figures["looks"]
    first, last = looks[0], looks[-1]
    for kind in ("web", "worker", "redis"):
        drift = 100 * (last[kind] / first[kind] - 1)
        name = f"{kind}: resident memory after {last['requests']} requests, of that after {first['requests']}"
        measured = f"{first[kind]:.0f} to {last[kind]:.0f} MiB: {drift:+.1f} %"
        yield Row(name, measured, "+-5 %", abs(drift) <= 5)
    for kind, most in (("web", 120), ("flower", 100)):
        yield _at_most(f"{kind}: the largest process", max(look[kind] for look in looks), most, "MiB")


def _scaling(figures: Figures) -> Iterator[Row]:
    two = figures["two workers on two cores"]["rate"]
    for name in ("one worker on one core", "all of it on one core"):
        one = figures[name]["rate"]
        yield _at_least(f"two workers on two cores, of {name}", two / one, 1.8, f"{two:.0f} of {one:.0f} clips/s")


def _banks(figures: Figures) -> Iterator[Row]:
    few, many = figures["44"]["p50"], figures["10000"]["p50"]
    yield _at_most("10,000 speakers over 44, one client, p50", many - few, 3, "ms", f"{many:.1f} - {few:.1f}")
    switch = figures["switch"]
    name = (
        f"a switch of banks, until all see it ({switch['requests beside']} requests beside, {switch['failed']} failed)"
    )
    yield _at_most(name, switch["slowest"], 1, "s")


_BARS = (
    (("throughput",), _throughput),
    (("bare", "closed"), _latency),
    (("open",), _open),
    (("bulk",), _bulk),
    (("vgg",), _vgg),
    (("memory",), _memory),
    (("scaling",), _scaling),
    (("banks",), _banks),
)
