"""What the network of `diarization/target.py` is trained on: made-up meetings after the first look.

A meeting goes through segmentation, embedding and clustering as in use, mistakes included. Each cluster is one person
who is looked for; the truth is when the speaker speaks whose cluster it is, and for a cluster that is nobody's, never.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from speaker_tasks.diarization.clustering import cluster
from speaker_tasks.diarization.listening import Listener, cut
from speaker_tasks.diarization.people import middles
from speaker_tasks.diarization.plda import Plda
from speaker_tasks.diarization.target import FIRST_SECOND, STEP_SECONDS, sound_of, to_steps
from speaker_tasks.diarization.training.turntaking import Turns
from speaker_tasks.diarization.turns import activity_of

FINE = 4
"""Points of a step at which it is looked whether somebody speaks."""


@dataclass(frozen=True, eq=False)
class Example:
    """One meeting with S clusters, in N steps."""

    frames: np.ndarray
    """(N, CHANNELS) float16."""
    sound: np.ndarray
    """(N, 3) float16."""
    activity: np.ndarray
    """(N, S) float16: the first look's probabilities."""
    voices: np.ndarray
    """(S, D) float32 unit vectors."""
    truth: np.ndarray
    """(N, S) float16: the part of the step in which the cluster's speaker speaks."""


def example(
    samples: np.ndarray,
    turns: Turns,
    listener: Listener,
    trunk: Callable[[np.ndarray], np.ndarray],
    plda: Plda | None,
) -> Example | None:
    """Hear a meeting; None where nobody was found."""
    heard = listener.hear(cut(samples))
    if not len(heard.voices):
        return None
    frames = np.concatenate([trunk(block) for block in cut(samples)])
    labels = cluster(heard.voices, plda)
    activity = to_steps(activity_of(heard.probabilities, heard.voices, labels), len(frames))
    speaks = spoken(turns, len(frames))
    return Example(
        frames.astype(np.float16),
        to_steps(sound_of(heard.probabilities), len(frames)).astype(np.float16),
        activity.astype(np.float16),
        middles(heard.voices, labels, activity.shape[1]),
        truth_of(activity, speaks).astype(np.float16),
    )


def truth_of(activity: np.ndarray, speaks: np.ndarray) -> np.ndarray:
    """When the speaker of each cluster `(N, S)` speaks, of the speakers `(N, speakers)`, one to one: `(N, S)`."""
    from scipy.optimize import linear_sum_assignment

    together = activity.T.astype(np.float32) @ speaks
    truth = np.zeros_like(activity, np.float32)
    for number, speaker in zip(*linear_sum_assignment(-together), strict=True):
        if together[number, speaker] >= 0.3 * activity[:, number].sum():
            truth[:, number] = speaks[:, speaker]
    return truth


def spoken(turns: Turns, count: int) -> np.ndarray:
    """The part of each step in which each speaker speaks: `(count, speakers)` float32."""
    at = FIRST_SECOND + STEP_SECONDS * ((np.arange(count * FINE) + 0.5) / FINE - 0.5)
    speaks = np.zeros((count * FINE, max(speaker for _, _, speaker in turns) + 1), np.float32)
    for start, end, speaker in turns:
        speaks[(at >= start) & (at < end), speaker] = 1
    return speaks.reshape(count, FINE, -1).mean(axis=1)
