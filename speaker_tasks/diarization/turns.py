"""From the activity of clusters in each frame to turns: who speaks from when to when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np

from speaker_tasks.diarization.clustering import Voices
from speaker_tasks.diarization.segmentation import (
    FIRST_SAMPLE,
    FRAME_SAMPLES,
    FRAME_SECONDS,
    FRAMES,
    LOCAL_SPEAKERS,
    STEP_SECONDS,
    soft_activity,
)
from speaker_tasks.embedding.audio import SAMPLE_RATE

EDGE_TRUST = 0.1
"""Weight of a window's first and last frame; its middle, where the network sees both sides, has 1."""


@dataclass(frozen=True)
class Smoothing:
    """The parameters, tuned on meetings of development speakers."""

    speaks: float
    """The probability from which on somebody speaks."""
    gap: float
    """A pause of so many seconds does not end a turn, whatever the others do."""
    pause: float
    """The same where nobody else speaks meanwhile."""
    shortest: float = 0.1
    """Seconds below which there is no turn."""


FIRST_LOOK = Smoothing(speaks=0.45, gap=0.25, pause=1.5)
SECOND_LOOK = Smoothing(speaks=0.45, gap=0.25, pause=0.8, shortest=0.2)
"""Its pauses are shorter: the second look bridges most of them by itself."""


@dataclass(frozen=True)
class Span:
    """A turn: a cluster speaks, in seconds from the recording's beginning."""

    start: float
    end: float
    cluster: int

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start


def activity_of(probabilities: Sequence[np.ndarray], voices: Voices, labels: np.ndarray) -> np.ndarray:
    """The probability that each cluster speaks in each frame of the recording, (F, S) float32.

    `probabilities` are of all windows, `(FRAMES, classes)` each; `labels` (N,) say to which cluster each voice belongs.
    """
    count = max(int(labels.max(initial=-1)) + 1, 1)
    total = frame_of_window(max(0, len(probabilities) - 1)) + FRAMES
    activity, weights = np.zeros((total, count), np.float32), np.zeros((total, 1), np.float32)
    for number in range(len(probabilities)):
        weights[frame_of_window(number) : frame_of_window(number) + FRAMES] += trust()
    softs: dict[int, np.ndarray] = {}
    for number, speaker, frames, owners in _owners(voices, labels):
        if number not in softs:
            softs = {number: soft_activity(probabilities[number].astype(np.float32)) * trust()}
        first = frame_of_window(number)
        for owner in np.unique(owners):
            mine = owners == owner
            activity[first + frames[mine], owner] += softs[number][mine, speaker]
    return np.minimum(activity / np.maximum(weights, 1e-6), 1.0)


def _owners(voices: Voices, labels: np.ndarray) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """Window, local speaker, all frames, and the cluster whose nearest piece each frame belongs to."""
    key = voices.windows * LOCAL_SPEAKERS + voices.speakers
    order = np.argsort(key, kind="stable")
    frames = np.arange(FRAMES)
    for rows in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
        if not len(rows):
            continue
        distance = np.stack([_distance(voices.frames[row], frames) for row in rows])
        yield int(voices.windows[rows[0]]), int(voices.speakers[rows[0]]), frames, labels[rows][distance.argmin(axis=0)]


def _distance(stretches: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """How far each frame is from the nearest of the stretches."""
    outside = np.maximum(stretches[:, :1] - frames, frames - stretches[:, 1:] + 1)
    distance: np.ndarray = np.maximum(outside, 0).min(axis=0)
    return distance


@cache
def trust() -> np.ndarray:
    """How much a window's frames count where windows overlap, (FRAMES, 1) float32."""
    weights: np.ndarray = np.hanning(FRAMES + 2)[1:-1, None] * (1 - EDGE_TRUST) + EDGE_TRUST
    return weights.astype(np.float32)


def frame_of_window(number: int) -> int:
    """The recording's frame at which a window begins."""
    return round(number * STEP_SECONDS * SAMPLE_RATE / FRAME_SAMPLES)


def turns_of(activity: np.ndarray, seconds: float, smoothing: Smoothing, *, overlap: bool = True) -> list[Span]:
    """Turns of all clusters by their start, which overlap where two speak at once unless `overlap` is False."""
    speaks = activity >= smoothing.speaks
    if not overlap:
        speaks &= np.arange(activity.shape[1]) == activity.argmax(axis=1)[:, None]
        smoothing = replace(smoothing, gap=0.0)
    anybody = np.append(0, np.cumsum(speaks.any(axis=1)))
    spans = [
        span
        for cluster in range(activity.shape[1])
        for span in _spans(speaks[:, cluster], anybody, cluster, seconds, smoothing)
    ]
    return sorted(spans, key=lambda span: (span.start, span.end, span.cluster))


def exclusive(turns: Sequence[Span], activity: np.ndarray) -> list[tuple[int, float, float]]:
    """The parts of turns that are left when one speaks at a time: the turn's index, start and end.

    Where turns overlap, whoever is likelier has it.
    """
    owner = np.full(len(activity), -1)
    best = np.full(len(activity), -1.0)
    for number, turn in enumerate(turns):
        rows = slice(_frame(turn.start), _frame(turn.end))
        likely = activity[rows, turn.cluster]
        better = likely > best[rows]
        owner[rows][better] = number
        best[rows][better] = likely[better]
    edges = np.flatnonzero(np.diff(owner, prepend=-1, append=-1)).tolist()
    parts = ((int(owner[first]), _second(first), _second(last)) for first, last in pairwise(edges))
    return [part for part in parts if part[0] >= 0]


def _spans(
    speaks: np.ndarray, anybody: np.ndarray, cluster: int, seconds: float, smoothing: Smoothing
) -> Iterator[Span]:
    """The turns of one cluster; `anybody[f]` is in how many frames before `f` somebody speaks."""
    edges = np.flatnonzero(np.diff(speaks.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    joined: list[list[int]] = []
    for first, last in edges.tolist():
        if joined:
            before = joined[-1][1]
            others = anybody[first] - anybody[before]
            if (first - before) * FRAME_SECONDS <= (smoothing.gap if others else smoothing.pause):
                joined[-1][1] = last
                continue
        joined.append([first, last])
    for first, last in joined:
        start, end = _second(first), min(_second(last), seconds)
        if end - start >= smoothing.shortest:
            yield Span(start, end, cluster)


def _second(frame: int) -> float:
    """Where a frame begins."""
    return max(0.0, (FIRST_SAMPLE - FRAME_SAMPLES / 2) / SAMPLE_RATE + float(frame) * FRAME_SECONDS)


def _frame(second: float) -> int:
    return max(0, round((second - (FIRST_SAMPLE - FRAME_SAMPLES / 2) / SAMPLE_RATE) / FRAME_SECONDS))
