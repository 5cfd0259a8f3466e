"""Pictures of an evaluation: the DET curve and the score histogram, as PNG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist

import numpy as np

from speaker_tasks.scoring.evaluation import Trials
from speaker_tasks.scoring.metrics import ErrorCurve

_TICKS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
_SMALLEST = 5e-4


def det_curve(curves: Mapping[str, ErrorCurve], path: Path) -> None:
    """False rejects against false accepts of each named curve, on normal deviate axes (Martin et al., 1997)."""
    figure, axes = _figure()
    for name, curve in curves.items():
        false_accepts, false_rejects = _deviate(curve.false_accepts), _deviate(curve.false_rejects)
        axes.plot(false_accepts, false_rejects, label=f"{name}, EER {100 * curve.eer():.2f} %", linewidth=1.6)
    ticks = _deviate(np.array(_TICKS))
    labels = [f"{100 * tick:g}" for tick in _TICKS]
    axes.set_xticks(ticks, labels)
    axes.set_yticks(ticks, labels)
    limits = _deviate(np.array([_SMALLEST, 0.5]))
    axes.set(xlim=limits, ylim=limits, xlabel="false accepts, %", ylabel="false rejects, %")
    axes.plot(limits, limits, color="0.8", linewidth=0.8, zorder=0)
    axes.grid(color="0.92")
    axes.legend(frameon=False)
    figure.savefig(path)


def score_histogram(trials: Trials, threshold: float, path: Path) -> None:
    """Densities of the scores of one speaker and of two, with the threshold."""
    figure, axes = _figure()
    edges = np.linspace(trials.scores.min(), trials.scores.max(), 80)
    for kept, label in ((~trials.target, "two speakers"), (trials.target, "one speaker")):
        axes.hist(trials.scores[kept], bins=edges, density=True, alpha=0.6, label=label)
    axes.axvline(threshold, color="0.3", linestyle="--", linewidth=1, label=f"equal errors at {threshold:.2f}")
    axes.set(xlabel="score (cosine)", ylabel="density")
    axes.legend(frameon=False)
    figure.savefig(path)


def _figure():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), dpi=120, layout="constrained")
    return figure, figure.subplots()


def _deviate(rates: np.ndarray) -> np.ndarray:
    normal = NormalDist()
    return np.array([normal.inv_cdf(rate) for rate in np.clip(rates, _SMALLEST / 5, 1 - _SMALLEST / 5)])
