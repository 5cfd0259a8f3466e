"""From segmentation and voices to people: clusters with their turns and voices, and clean clips to enrol them from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from speaker_tasks.diarization.clustering import Count, Parameters, Voices, centroids, cluster
from speaker_tasks.diarization.listening import Heard
from speaker_tasks.diarization.naming import Voice
from speaker_tasks.diarization.plda import Plda
from speaker_tasks.diarization.segmentation import FRAME_SECONDS, STEP_SECONDS, WINDOW_SECONDS, soft_activity
from speaker_tasks.diarization.target import SecondLook, sound_of
from speaker_tasks.diarization.turns import (
    FIRST_LOOK,
    SECOND_LOOK,
    Span,
    activity_of,
    exclusive,
    frame_of_window,
    turns_of,
)
from speaker_tasks.diarization.voices import samples_of
from speaker_tasks.embedding.audio import SAMPLE_RATE
from speaker_tasks.timelines.clips import CleanClip

VOICE_SECONDS = 1.0
"""Voices from less clean speech do not count for their cluster's mean, unless the cluster has no other."""
CLIP_SECONDS = 1.0
"""Least clean speech of a clip for enrolling."""
CLIP_ALONE = 0.5
"""Least share of a clip in which its cluster has a turn and nobody else has: a second look may give it to another."""


@dataclass(frozen=True, eq=False)
class People:
    """Who speaks when, without names; clusters are numbered by how much they speak."""

    turns: tuple[Span, ...]
    exclusive: tuple[tuple[int, float, float], ...]
    """Parts of turns, of which none overlap: the index of the turn, start and end."""
    voices: tuple[Voice, ...]
    """Of each cluster."""
    together: np.ndarray
    """(S, S) seconds in which two clusters speak at once; on the diagonal, all seconds of a cluster."""
    scores: tuple[float | None, ...]
    """For each turn the cosine between the voice of its windows and its cluster's."""
    clips: tuple[CleanClip, ...]
    too_short: tuple[tuple[float, float], ...]
    """Speech that is in no turn."""


@dataclass(frozen=True)
class Options:
    """How a recording is taken apart."""

    count: Count = field(default_factory=Count)
    overlap: bool = True
    clustering: Parameters = field(default_factory=Parameters)


def people_of(
    heard: Heard,
    plda: Plda | None,
    options: Options | None = None,
    second: SecondLook | None = None,
    moved: Callable[[float], None] = lambda seconds: None,
) -> People:
    """Cluster the voices of a recording and give each cluster's turns, after a second look where there can be one.

    `moved` is called during the second look, as `SecondLook.look` says.
    """
    options, voices = options or Options(), heard.voices
    labels = cluster(voices, plda, options.count, options.clustering)
    activity = activity_of(heard.probabilities, voices, labels)
    smoothing = FIRST_LOOK
    if second is not None and heard.codes is not None and len(voices):
        smoothing = SECOND_LOOK
        found = middles(voices, labels, activity.shape[1])
        activity = second.look(heard.codes, sound_of(heard.probabilities), activity, found, moved)
    turns = turns_of(activity, heard.seconds, smoothing, overlap=options.overlap)
    turns, labels, activity = _renumbered(turns, labels, activity)
    speaks = _frames(turns, activity.shape)
    together = speaks.T.astype(np.float32) @ speaks.astype(np.float32) * FRAME_SECONDS
    alone = speaks & (speaks.sum(axis=1, keepdims=True) == 1)
    clean = alone.sum(axis=0) * FRAME_SECONDS
    middle = middles(voices, labels, activity.shape[1]) if turns else np.zeros((0, 1), np.float32)
    return People(
        tuple(turns),
        tuple(exclusive(turns, activity)),
        tuple(Voice(vector, float(seconds)) for vector, seconds in zip(middle, clean, strict=False)),
        together,
        tuple(_score(turn, heard, labels, middle) for turn in turns),
        tuple(_clips(heard, labels, alone)),
        tuple(_missed(heard, speaks)),
    )


def _renumbered(
    turns: list[Span], labels: np.ndarray, activity: np.ndarray
) -> tuple[list[Span], np.ndarray, np.ndarray]:
    """Clusters without turns are left out, the others numbered by the length of their turns."""
    spoken = np.zeros(activity.shape[1])
    for turn in turns:
        spoken[turn.cluster] += turn.seconds
    kept = [int(one) for one in np.argsort(-spoken, kind="stable") if spoken[one] > 0]
    number = np.full(activity.shape[1] + 1, -1)
    number[kept] = np.arange(len(kept))
    renamed = [Span(turn.start, turn.end, int(number[turn.cluster])) for turn in turns]
    return renamed, number[labels], activity[:, kept] if kept else activity[:, :0]


def _frames(turns: list[Span], shape: tuple[int, ...]) -> np.ndarray:
    speaks = np.zeros(shape, bool)
    for turn in turns:
        speaks[round(turn.start / FRAME_SECONDS) : round(turn.end / FRAME_SECONDS), turn.cluster] = True
    return speaks


def middles(voices: Voices, labels: np.ndarray, count: int) -> np.ndarray:
    """The unit vector of each cluster, (S, D), from its longer voices."""
    weights = np.where(voices.clean >= VOICE_SECONDS, voices.clean, voices.clean * 1e-3)
    mine = labels >= 0
    found = centroids(voices.vectors[mine], weights[mine], labels[mine])
    return np.concatenate([found, np.zeros((count - len(found), found.shape[1]), np.float32)])


def _score(turn: Span, heard: Heard, labels: np.ndarray, middle: np.ndarray) -> float | None:
    """How alike the voice of a turn is to its cluster's; None where no voice was taken from it."""
    total = np.zeros(middle.shape[1], np.float32)
    starts = heard.voices.windows * STEP_SECONDS
    near = (labels == turn.cluster) & (starts < turn.end) & (starts + WINDOW_SECONDS > turn.start)
    for row in np.flatnonzero(near):
        runs = _seconds(heard.voices, int(row))
        inside = np.clip(np.minimum(runs[:, 1], turn.end) - np.maximum(runs[:, 0], turn.start), 0, None).sum()
        total += heard.voices.vectors[row] * np.float32(inside)
    length = float(np.linalg.norm(total))
    return None if length < 1e-6 else round(float(total @ middle[turn.cluster]) / length, 4)


def _clips(heard: Heard, labels: np.ndarray, alone: np.ndarray) -> list[CleanClip]:
    """The clean clips of all clusters, none of which shares sound with another; of two that do the longer.

    `alone` (F, S) is where one cluster speaks, and nobody else.
    """
    clips: list[CleanClip] = []
    taken: dict[tuple[int, int], list[np.ndarray]] = {}
    """The stretches of the clips that are chosen, by cluster and window."""
    for row in np.argsort(-heard.voices.clean, kind="stable"):
        seconds = float(heard.voices.clean[row])
        if seconds < CLIP_SECONDS:
            break
        cluster_of, runs = int(labels[row]), _seconds(heard.voices, int(row))
        window = int(heard.voices.windows[row])
        near = [other for number in (-1, 0, 1) for other in taken.get((cluster_of, window + number), [])]
        if cluster_of < 0 or any(_share(runs, other) for other in near):
            continue
        if _rows(alone[:, cluster_of], heard.voices, int(row)).mean() < CLIP_ALONE:
            continue
        taken.setdefault((cluster_of, window), []).append(runs)
        start, end = float(runs[0, 0]), float(runs[-1, 1])
        clips.append(
            CleanClip(cluster_of, round(start, 3), round(end, 3), round(seconds, 2), heard.voices.vectors[row])
        )
    return sorted(clips, key=lambda clip: (clip.start, clip.cluster))


def _seconds(voices: Voices, row: int) -> np.ndarray:
    """The stretches that a voice was taken from, (R, 2) seconds of the recording."""
    return samples_of(voices.frames[row]) / SAMPLE_RATE + voices.windows[row] * STEP_SECONDS


def _rows(frames: np.ndarray, voices: Voices, row: int) -> np.ndarray:
    """Of the recording's frames (F,), those that a voice was taken from."""
    window = frames[frame_of_window(int(voices.windows[row])) :]
    return np.concatenate([window[first:last] for first, last in voices.frames[row]])


def _share(one: np.ndarray, other: np.ndarray) -> bool:
    if one[-1, 1] <= other[0, 0] or other[-1, 1] <= one[0, 0]:
        return False
    shared = np.minimum(one[:, None, 1], other[None, :, 1]) - np.maximum(one[:, None, 0], other[None, :, 0])
    return bool((shared > 0.1).any())


def _missed(heard: Heard, speaks: np.ndarray) -> list[tuple[float, float]]:
    """Stretches of speech, by the segmentation, of half a second or more that are in no turn."""
    speech = np.zeros(len(speaks) + 1, np.float32)
    for number, one in enumerate(heard.probabilities):
        rows = slice(frame_of_window(number), frame_of_window(number) + len(one))
        speech[rows] = np.maximum(speech[rows], soft_activity(one.astype(np.float32)).max(axis=1))
    lost = (speech[:-1] >= 0.5) & ~speaks.any(axis=1)
    edges = np.flatnonzero(np.diff(lost.astype(np.int8), prepend=0, append=0)).reshape(-1, 2) * FRAME_SECONDS
    return [(round(float(a), 2), round(float(b), 2)) for a, b in edges if b - a >= 0.5 and b <= heard.seconds]
