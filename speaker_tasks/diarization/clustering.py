"""Which pieces of speech are one person's: agglomerative start, Bayesian refinement, pruning."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from speaker_tasks.diarization import vbx
from speaker_tasks.diarization.plda import Plda
from speaker_tasks.diarization.segmentation import LOCAL_SPEAKERS

MOST_CLUSTERED = 4_000
"""Voices that agglomerative clustering takes at most, since its memory grows with the square; of more, every n-th."""


@dataclass(frozen=True)
class Count:
    """How many speakers there may be."""

    least: int = 1
    most: int = 50


@dataclass(frozen=True)
class Parameters:
    """The parameters, tuned on meetings of development speakers."""

    strong_seconds: float = 1.5
    """Voices with so much clean speech are clustered; the others are given to the clusters afterwards."""
    start_distance: float = 0.5
    """Cosine distance at which agglomerative clustering stops, with more clusters than there are people."""
    plain_distance: float = 0.6
    """The same without a PLDA, where VBx does not refine the clusters."""
    fa: float = 0.1
    """VBx' Fa, per second of speech: below 1, since pieces are not independent of each other."""
    fb: float = 3.0
    """VBx' Fb: the cost of each further speaker."""
    mixed: float = 0.5
    """Mean cosine of a component's voices to their mean below which they are many people's: see `_parted`."""
    join: float = 0.55
    """Cosine of two clusters from which on they are one person."""
    company: float = 0.15
    """How much the mean of a local speaker's voices in one window weighs in each of them: a short piece says little."""
    least_seconds: float = 4.0
    """Clean speech that a cluster needs to be a person, and ..."""
    least_share: float = 0.005
    """... its least share of all speech; smaller clusters are other people's speech in bad sound."""


@dataclass(frozen=True, eq=False)
class Voices:
    """The pieces of speech that have a voice, N of them, in the order of their windows and local speakers."""

    windows: np.ndarray
    """(N,) int: the number of the window."""
    speakers: np.ndarray
    """(N,) int: which of the window's local speakers."""
    clean: np.ndarray
    """(N,) seconds of speech without overlap; 0 where all is overlapped."""
    vectors: np.ndarray
    """(N, D) float32 unit vectors."""
    frames: tuple[np.ndarray, ...]
    """For each the stretches that it was taken from: (R, 2) frames of its window."""

    def __len__(self) -> int:
        return len(self.windows)


def cluster(
    voices: Voices, plda: Plda | None, count: Count | None = None, tuned: Parameters | None = None
) -> np.ndarray:
    """The cluster of each voice, (N,) int from 0 by descending speech."""
    count, tuned = count or Count(), tuned or Parameters()
    if not len(voices):
        return np.zeros(0, int)
    voices = _steadied(_broad(voices, plda), tuned.company)
    strong = voices.clean >= tuned.strong_seconds
    if strong.sum() < max(2, count.least):
        strong = voices.clean >= np.sort(voices.clean)[::-1][: max(2, count.least)][-1]
    chosen = np.flatnonzero(strong)
    labels = _components(voices, chosen, plda, tuned)
    labels = _pruned(voices, chosen, labels, count, tuned)
    labels = _joined(voices, chosen, labels, count.least, tuned.join)
    labels = _bounded(voices, chosen, labels, count)
    return _assigned(voices, centroids(voices.vectors[chosen], voices.clean[chosen], labels))


def _broad(voices: Voices, plda: Plda | None) -> Voices:
    return voices if plda is None else replace(voices, vectors=plda.broad(voices.vectors))


def _steadied(voices: Voices, company: float) -> Voices:
    """Each voice with some of the mean of its local speaker's in the window added."""
    _, owner = np.unique(voices.windows * LOCAL_SPEAKERS + voices.speakers, return_inverse=True)
    vectors = voices.vectors + np.float32(company) * centroids(voices.vectors, voices.clean, owner)[owner]
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return replace(voices, vectors=vectors / np.maximum(lengths, 1e-12))


def centroids(vectors: np.ndarray, weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The unit vector of each cluster, (S, D): the mean of its voices by their weight."""
    sums = np.zeros((int(labels.max()) + 1, vectors.shape[1]), np.float32)
    np.add.at(sums, labels, vectors * np.maximum(weights, 1e-3)[:, None])
    return sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)


def _components(voices: Voices, chosen: np.ndarray, plda: Plda | None, tuned: Parameters) -> np.ndarray:
    """The refined clusters of the chosen voices, (M,) int; for a model without a PLDA the agglomerative ones."""
    vectors, clean = voices.vectors[chosen], voices.clean[chosen]
    if plda is None:
        return _agglomerated(vectors, tuned.plain_distance)
    start = _agglomerated(vectors, tuned.start_distance)
    projected = plda.project(vectors)
    likely, shares = vbx.refine(projected, plda.between, np.minimum(clean, 10.0), start, fa=tuned.fa, fb=tuned.fb)
    refined = _numbered(likely[:, shares > 1e-6].argmax(axis=1))
    return _parted(vectors, clean, refined, start, tuned.mixed)


def _parted(vectors: np.ndarray, clean: np.ndarray, labels: np.ndarray, start: np.ndarray, mixed: float) -> np.ndarray:
    """Components of unlike voices taken apart again, into the agglomerative clusters.

    Where many people speak and each says little, none is worth a component of their own to VBx, and one takes them all.
    """
    weights = np.maximum(clean, 1e-3)
    cosines = (vectors * centroids(vectors, weights, labels)[labels]).sum(axis=1)
    alike = np.bincount(labels, weights * cosines) / np.bincount(labels, weights)
    return _numbered(np.where(alike[labels] < mixed, labels.max() + 1 + start, labels))


def _agglomerated(vectors: np.ndarray, limit: float, criterion: str = "distance") -> np.ndarray:
    """Average linkage of cosine distances, cut at a distance, or by "maxclust" into so many: (M,) int."""
    from scipy.cluster.hierarchy import fcluster

    if len(vectors) == 1:
        return np.zeros(1, int)
    stride = -(-len(vectors) // MOST_CLUSTERED)
    looked_at = vectors[::stride]
    clusters = fcluster(_tree(looked_at), limit, criterion) - 1
    if stride == 1:
        return _numbered(clusters)
    middle = centroids(looked_at, np.ones(len(looked_at)), _numbered(clusters))
    return _numbered((vectors @ middle.T).argmax(axis=1))


def _tree(vectors: np.ndarray) -> np.ndarray:
    """Average linkage of the cosine distances between unit vectors (M, D), in scipy's form: (M - 1, 4)."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    distances = vectors @ vectors.T  # scipy's own take 1.3 s for an hour, this hundredths
    np.subtract(1, distances, out=distances)
    distances = squareform(np.maximum(distances, 0, out=distances), checks=False)
    tree: np.ndarray = linkage(distances, "average")
    return tree


def _pruned(voices: Voices, chosen: np.ndarray, labels: np.ndarray, count: Count, tuned: Parameters) -> np.ndarray:
    """Without clusters of too little speech, whose voices go to the nearest of the others."""
    while len(spoken := np.bincount(labels, voices.clean[chosen])) > max(1, count.least):
        least = max(tuned.least_seconds, tuned.least_share * spoken.sum())
        smallest = int(spoken.argmin())
        if spoken[smallest] >= least:
            break
        labels = _dissolved(voices, chosen, labels, smallest)
    return labels


def _dissolved(voices: Voices, chosen: np.ndarray, labels: np.ndarray, gone: int) -> np.ndarray:
    vectors, clean = voices.vectors[chosen], voices.clean[chosen]
    middle = centroids(vectors, clean, labels)
    middle[gone] = -middle[gone]
    rest = labels == gone
    labels = labels.copy()
    scores = vectors[rest] @ middle.T
    scores[:, gone] = -2
    labels[rest] = scores.argmax(axis=1)
    return _numbered(labels)


def _bounded(voices: Voices, chosen: np.ndarray, labels: np.ndarray, count: Count) -> np.ndarray:
    """As many clusters as the caller says: the nearest are joined, or the voices are clustered again into so many."""
    if labels.max() + 1 < count.least and 1 < count.least <= len(chosen):
        return _agglomerated(voices.vectors[chosen], count.least, "maxclust")
    return _joined(voices, chosen, labels, count.most, -1.0)


def _joined(voices: Voices, chosen: np.ndarray, labels: np.ndarray, least: int, alike: float) -> np.ndarray:
    """The nearest clusters joined while they are `alike`, a cosine, and more than `least`."""
    vectors, clean = voices.vectors[chosen], voices.clean[chosen]
    while (people := int(labels.max()) + 1) > max(1, least):
        middle = centroids(vectors, clean, labels)
        cosines = middle @ middle.T - 4 * np.eye(people)
        one, other = divmod(int(cosines.argmax()), people)
        if cosines[one, other] < alike:
            break
        labels = _numbered(np.where(labels == other, one, labels))
    return labels


def _assigned(voices: Voices, middle: np.ndarray) -> np.ndarray:
    """Each voice to the nearest cluster, which are numbered by descending speech."""
    labels = (voices.vectors @ middle.T).argmax(axis=1)
    spoken = np.bincount(labels, np.maximum(voices.clean, 0.1), minlength=len(middle))
    order = np.argsort(np.argsort(-spoken, kind="stable"), kind="stable")
    assigned: np.ndarray = order[labels]
    return assigned


def _numbered(labels: np.ndarray) -> np.ndarray:
    return np.unique(labels, return_inverse=True)[1]
