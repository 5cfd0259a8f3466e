"""Bayesian clustering of vectors under a PLDA model, which also finds the number of speakers.

Variational Bayes for a mixture whose components are speakers drawn from the PLDA model (VBx, Landini et al., "Bayesian
HMM clustering of x-vector sequences (VBx) in speaker diarization", Computer Speech & Language 2022), without the chain
of states: a window's local speakers have no order. It starts from an agglomerative clustering into too many clusters,
and a component that others explain as well dies out.
"""

from __future__ import annotations

import numpy as np

ITERATIONS = 40
CONVERGED = 1e-5
START_SMOOTHING = 7.0
"""Confidence in the start: the logarithm by which a vector's own cluster is ahead of the others."""


def refine(
    projected: np.ndarray, between: np.ndarray, weights: np.ndarray, start: np.ndarray, *, fa: float, fb: float
) -> tuple[np.ndarray, np.ndarray]:
    """Refine a clustering of `projected` vectors (N, K) under the variances `between` (K,).

    `weights` (N,) say how much each vector counts, `start` (N,) is the clustering to begin with. `fa` scales what
    vectors say (they are not independent of each other), `fb` how much each speaker costs. Gives the probabilities
    (N, S) of the components and their shares (S,); those that died out have next to none.
    """
    count = int(start.max()) + 1
    odds = np.zeros((len(projected), count))
    odds[np.arange(len(projected)), start] = START_SMOOTHING
    likely = _softmax(odds)
    shares = np.full(count, 1 / count)
    rho = projected * np.sqrt(between)
    scale, before = fa * weights[:, None], -np.inf
    for _ in range(ITERATIONS):
        mass = (scale * likely).T  # (S, N)
        precision = 1 / (1 + (mass.sum(axis=1) / fb)[:, None] * between)  # of each speaker's point, (S, K)
        points = precision * (mass @ rho) / fb
        log_joint = scale * (rho @ points.T - 0.5 * ((precision + points**2) @ between)) + np.log(
            np.maximum(shares, 1e-12)
        )
        whole = np.logaddexp.reduce(log_joint, axis=1)
        likely = np.exp(log_joint - whole[:, None])
        shares = (weights[:, None] * likely).sum(axis=0) / weights.sum()
        bound = whole.sum() + fb * 0.5 * (np.log(precision) - precision - points**2 + 1).sum()
        if bound - before < CONVERGED * max(1.0, abs(bound)):
            break
        before = bound
    return likely, shares


def _softmax(values: np.ndarray) -> np.ndarray:
    softmax: np.ndarray = np.exp(values - np.logaddexp.reduce(values, axis=1)[:, None])
    return softmax
