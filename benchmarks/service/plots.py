"""The pictures of serving: the table of bars, where a request's time goes, and how cost grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from benchmarks.service.bars import rows

Figures = dict[str, Any]
MET, NOT_MET = "#d9efd9", "#f7d6d6"
FULL = {"queue", "decode", "speech", "features", "network", "match", "web and client"}


def draw(figures: Figures, folder: Path) -> None:
    """Draw what the figures tell of into PNG files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if bars := rows(figures):
        _table([[row.name, row.measured, row.bar, "met" if row.met else "not met"] for row in bars], folder)
    if stages := figures.get("closed", {}).get("stages"):
        _stages(stages, folder)
    if {"clients", "lengths", "banks", "scaling"} <= figures.keys():
        _growth(figures, folder)


def _table(cells: list[list[str]], folder: Path) -> None:
    figure, axes = plt.subplots(figsize=(13, 0.3 * len(cells) + 0.6), dpi=110)
    axes.axis("off")
    table = axes.table(
        cells,
        colLabels=["", "measured", "asked for", ""],
        colWidths=[0.55, 0.25, 0.13, 0.07],
        cellLoc="left",
        colLoc="left",
        bbox=(0, 0, 1, 1),
    )
    table.auto_set_font_size(False)
    table.set_fontsize(8)
    for (row, _), cell in table.get_celld().items():
        cell.set_edgecolor("0.85")
        if row:
            cell.set_facecolor(MET if cells[row - 1][3] == "met" else NOT_MET)
    figure.savefig(folder / "serving.png", bbox_inches="tight")
    plt.close(figure)


def _stages(stages: Figures, folder: Path) -> None:
    """One bar: the medians of a request's steps, one after another."""
    figure, axes = plt.subplots(figsize=(9, 1.7), dpi=110)
    left = 0.0
    for name, milliseconds in stages.items():
        if name not in FULL:
            continue
        axes.barh(0, milliseconds, left=left, edgecolor="white", label=f"{name} {milliseconds:.1f}")
        left += milliseconds
    axes.set(yticks=[], xlabel="milliseconds of a request, one client, WAV of 2 to 8 s (medians)", xlim=(0, left))
    axes.legend(frameon=False, ncols=4, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _bare(axes)
    figure.savefig(folder / "serving-stages.png", bbox_inches="tight")
    plt.close(figure)


def _growth(figures: Figures, folder: Path) -> None:
    """How cost grows with clients, the clip's length, the bank's size and workers."""
    figure, places = plt.subplots(1, 4, figsize=(15, 3.2), dpi=110, layout="constrained")
    _clients(places[0], figures["clients"])
    _latency(places[1], figures["lengths"], "seconds of the clip")
    people = {size: one for size, one in figures["banks"].items() if size.isdigit()}
    _latency(places[2], people, "speakers of the bank")
    rates = {name: one["rate"] for name, one in figures["scaling"].items() if " core" in name}
    places[3].barh(list(rates), list(rates.values()), color="tab:blue")
    places[3].set(xlabel="clips/s, 16 clients")
    for axes in places:
        _bare(axes)
    figure.savefig(folder / "serving-growth.png")
    plt.close(figure)


def _clients(axes: Axes, figures: Figures) -> None:
    counts = [int(name) for name in figures]
    axes.plot(counts, [one["rate"] for one in figures.values()], "o-", label="clips/s")
    axes.plot(counts, [one["p50"] for one in figures.values()], "s--", label="p50, ms")
    axes.plot(counts, [one["p99"] for one in figures.values()], "^--", label="p99, ms")
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.set(xlabel="clients", ylim=(0, None))
    axes.legend(frameon=False, fontsize=8)


def _latency(axes: Axes, figures: Figures, label: str) -> None:
    sizes = sorted(figures, key=int)
    axes.plot([int(size) for size in sizes], [figures[size]["p50"] for size in sizes], "o-", label="p50, ms")
    axes.plot([int(size) for size in sizes], [figures[size]["p99"] for size in sizes], "^--", label="p99, ms")
    axes.set(xlabel=label, ylim=(0, None), xscale="log")
    axes.legend(frameon=False, fontsize=8)


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
