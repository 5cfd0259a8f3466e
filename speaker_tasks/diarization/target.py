"""Who of the people that were found speaks at each moment: target-speaker voice activity detection (TS-VAD).

Medennikov et al., "Target-speaker voice activity detection: a novel approach for multi-speaker diarization in a dinner
party scenario", Interspeech 2020. Segmentation and clustering say who is there and about when they speak. Knowing each
voice, a small network looks again: at the frames of the embedding network's trunk, at the voice, at what the first look
gave, and at what the others do meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from safetensors.numpy import load_file

from speaker_tasks.diarization.segmentation import CLASSES, FIRST_SAMPLE, FOLDER, FRAME_SAMPLES, FRAMES
from speaker_tasks.diarization.turns import frame_of_window, trust
from speaker_tasks.embedding.audio import SAMPLE_RATE

BLOCK_SECONDS = 10
"""The trunk sees so much at a time."""
BLOCK_STEPS = 250
"""Steps of this network in a block: two of the trunk's frames each."""
STEP_SECONDS = BLOCK_SECONDS / BLOCK_STEPS
FIRST_SECOND = 0.0225
"""The centre of the first step."""
CHANNELS = 512
"""Of the trunk's frames."""
SURE = 0.99
"""The first look's probabilities lie between this and its complement."""
SPANS = (7, 25)
"""Steps that a voice around a step is taken from: a quarter of a second, and one second."""
INNER = 192
"""Numbers of such a voice."""
HEARD = 32
"""Channels that the trunk's frames are brought down to."""
CODE = HEARD + len(SPANS) * INNER
NOBODY = -0.2
SIZE = 64
KERNEL = 5
DILATIONS = (1, 2, 4, 8, 1, 2, 4, 8, 16)
MIXED_BEHIND = (1, 3, 5, 7)
"""The blocks behind which people see each other."""
NORM_EPSILON = 1e-5
REACH = sum(DILATIONS) * (KERNEL // 2)
"""Steps to both sides that a step depends on."""
CHUNK_STEPS = 1500
"""Steps that are computed at a time: a minute."""
MOST_PEOPLE = 6
"""In a chunk: as many as in training."""
WEIGHT = 0.8
"""Of what the network adds: it is too sure of voices that are alike, as those of one synthesizer."""
LEAST_LIKELY = 0.05
SHORT_STEPS = 5
"""Somebody who by the first look never speaks for so long is not looked for."""


def sound_of(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    """The probabilities that nobody, one or two speak in each frame of the recording, `(F, 3)` float32.

    `probabilities` are the segmentation's of all windows, `(FRAMES, classes)` each.
    """
    people = np.array([len(members) for members in CLASSES])
    total = frame_of_window(max(0, len(probabilities) - 1)) + FRAMES
    sums, weights = np.zeros((total, 3), np.float32), np.zeros((total, 1), np.float32)
    for number, window in enumerate(probabilities):
        rows = slice(frame_of_window(number), frame_of_window(number) + FRAMES)
        counts = np.stack([window[:, people == count].sum(axis=1) for count in range(3)], axis=1)
        sums[rows] += counts.astype(np.float32) * trust()
        weights[rows] += trust()
    return sums / np.maximum(weights, 1e-6)


def odds(probabilities: np.ndarray) -> np.ndarray:
    """The log odds of the first look's probabilities, of any shape."""
    sure = np.clip(probabilities.astype(np.float32), 1 - SURE, SURE)
    found: np.ndarray = np.log(sure / (1 - sure))
    return found


def to_steps(frames: np.ndarray, count: int) -> np.ndarray:
    """The mean of the segmentation's frames `(F, ...)` in each of `count` steps, `(count, ...)` float32."""
    number = np.clip(np.round((_centres(len(frames)) - FIRST_SECOND) / STEP_SECONDS).astype(int), 0, None)
    number = number[: np.searchsorted(number, count)]
    steps, firsts, counts = np.unique(number, return_index=True, return_counts=True)
    means = np.zeros((count, *frames.shape[1:]), np.float32)
    means[steps] = np.add.reduceat(frames[: len(number)], firsts, axis=0, dtype=np.float32)
    means[steps] /= counts.reshape(-1, *[1] * (frames.ndim - 1)).astype(np.float32)
    return means


def to_frames(steps: np.ndarray, count: int) -> np.ndarray:
    """Steps `(N, S)` at `count` of the segmentation's frames, by linear interpolation: `(count, S)` float32."""
    at, known = _centres(count), FIRST_SECOND + STEP_SECONDS * np.arange(len(steps))
    frames = np.empty((count, steps.shape[1]), np.float32)
    for person in range(steps.shape[1]):
        frames[:, person] = np.interp(at, known, steps[:, person])
    return frames


def paired(frames: np.ndarray) -> np.ndarray:
    """The means of two frames each, `(T, channels)` to `(ceil(T / 2), channels)`."""
    if len(frames) % 2:
        frames = np.concatenate([frames, frames[-1:]])
    mean: np.ndarray = frames.reshape(len(frames) // 2, 2, -1).mean(axis=1)
    return mean


def _centres(count: int) -> np.ndarray:
    return (FIRST_SAMPLE + FRAME_SAMPLES * np.arange(count)) / SAMPLE_RATE


class SecondLook:
    """The network, in numpy: it is small. Made by `load`; may be called by any thread."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self._weights = {name: np.asarray(value, np.float32) for name, value in weights.items()}

    @classmethod
    def load(cls, model: str) -> SecondLook | None:
        """The one that is shipped for a model's vectors, by its id; None where there is none."""
        path = FOLDER / f"target-{model}.safetensors"
        return cls(load_file(path)) if path.is_file() else None

    def code(self, frames: np.ndarray) -> np.ndarray:
        """What is kept of the trunk's frames in a block `(T, CHANNELS)`, two to one: `(ceil(T / 2), CODE)` float16."""
        steps = paired(frames)
        heard = self._normed("encoded", self._layer("encode", steps))
        return np.concatenate([heard, *near_voices(steps, self._weights)], axis=1).astype(np.float16)

    def look(
        self,
        codes: np.ndarray,
        sound: np.ndarray,
        activity: np.ndarray,
        voices: np.ndarray,
        moved: Callable[[float], None] = lambda seconds: None,
    ) -> np.ndarray:
        """The probability that each person speaks in each frame of the segmentation, `(F, S)` float32.

        `codes` (N, CODE) are the recording's, `sound` (F, 3) and `activity` (F, S) what the first look gave, `voices`
        (S, D) the people's unit vectors. `moved` is called several times a second with the seconds that were looked
        at; what it raises ends the look.
        """
        count, inner = len(codes), inner_voices(voices, self._weights)
        heard, said = to_steps(sound, count), to_steps(activity, count)
        added = np.zeros_like(said)
        for first in range(0, count, CHUNK_STEPS):
            start, end = max(0, first - REACH), min(count, first + CHUNK_STEPS + REACH)
            rows, kept = slice(start, end), slice(first, min(first + CHUNK_STEPS, count))
            who = _speaking(said[rows])
            if len(who):
                found = self._added(codes[rows].astype(np.float32), heard[rows], said[rows][:, who], inner[who])
                added[kept, who] = found[first - start : kept.stop - start]
            moved(kept.stop * STEP_SECONDS)
        looked = to_frames(added, len(activity))
        for person in range(looked.shape[1]):  # one at a time: of four hours and thirty people each copy has 100 MB
            looked[:, person] = _likely(odds(activity[:, person]) + WEIGHT * looked[:, person])
        return looked

    def _added(self, codes: np.ndarray, sound: np.ndarray, said: np.ndarray, voices: np.ndarray) -> np.ndarray:
        """What is added to the log odds of these people in these steps, `(N, S)`."""
        people, steps = said.shape[1], len(codes)
        near = codes[:, HEARD:].reshape(steps, len(SPANS), INNER)
        alike = np.einsum("ntd,sd->snt", near, voices, optimize=True)
        sure = np.clip(said, 1 - SURE, SURE).T[..., None]
        rows = np.concatenate(
            [
                np.broadcast_to(codes[:, :HEARD], (people, steps, HEARD)),
                alike,
                _best_of_others(alike),
                sure,
                sure.sum(axis=0, keepdims=True) - sure,
                np.broadcast_to(sound, (people, steps, 3)),
            ],
            axis=-1,
        )
        rows = self._layer("begin", rows)
        for number in range(len(DILATIONS)):
            rows = rows + self._block(f"blocks.{number}", DILATIONS[number], rows)
            if number in MIXED_BEHIND:
                mean = rows.mean(axis=0, keepdims=True)
                rows = rows + np.maximum(self._layer(f"mix.{MIXED_BEHIND.index(number)}", mean), 0)
        ended: np.ndarray = self._layer("end", rows)[..., 0].T
        return ended

    def _block(self, name: str, dilation: int, rows: np.ndarray) -> np.ndarray:
        """A depthwise convolution over time, and two layers."""
        kernel, steps = self._weights[f"{name}.over_time.weight"][:, 0], rows.shape[1]  # (SIZE, KERNEL)
        reach = dilation * (kernel.shape[1] // 2)
        wide = np.pad(rows, ((0, 0), (reach, reach), (0, 0)))
        seen = np.broadcast_to(self._weights[f"{name}.over_time.bias"], rows.shape).copy()
        for number in range(kernel.shape[1]):
            seen += wide[:, number * dilation : number * dilation + steps] * kernel[:, number]
        inner = np.maximum(self._layer(f"{name}.inner", self._normed(f"{name}.norm", seen)), 0)
        return self._layer(f"{name}.outer", inner)

    def _layer(self, name: str, rows: np.ndarray) -> np.ndarray:
        given: np.ndarray = rows @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return given

    def _normed(self, name: str, rows: np.ndarray) -> np.ndarray:
        apart = rows - rows.mean(axis=-1, keepdims=True)
        apart /= np.sqrt(np.square(apart).mean(axis=-1, keepdims=True) + NORM_EPSILON)
        return apart * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def near_voices(steps: np.ndarray, weights: Mapping[str, np.ndarray]) -> Iterator[np.ndarray]:
    """The voice around each step of a block `(n, CHANNELS)`, for each of SPANS: `(n, INNER)` unit vectors.

    It is what the embedding network makes of the mean and the deviation of so many steps. `weights` has "inner.mean",
    "inner.deviation" (CHANNELS, INNER) and "inner.bias".
    """
    for span in SPANS:
        mean = _moving_mean(steps, span)
        deviation = np.sqrt(np.maximum(_moving_mean(np.square(steps), span) - np.square(mean), 1e-6))
        inner = mean @ weights["inner.mean"] + deviation @ weights["inner.deviation"] + weights["inner.bias"]
        yield _unit(inner)


def inner_voices(voices: np.ndarray, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """Vectors `(S, D)` as they are before the network's last layer, an isometry: `(S, INNER)` unit vectors."""
    return _unit(voices @ weights["inner.isometry"].T)


def _moving_mean(steps: np.ndarray, span: int) -> np.ndarray:
    """The mean of `span` steps around each; the block's first and last step go on beyond it."""
    wide = np.pad(steps, ((span // 2 + 1, span // 2), (0, 0)), mode="edge")
    sums = np.cumsum(wide, axis=0, dtype=np.float64)
    mean: np.ndarray = ((sums[span:] - sums[:-span]) / span).astype(np.float32)
    return mean


def _best_of_others(alike: np.ndarray) -> np.ndarray:
    """For each person the most that anybody else is alike `(S, N, spans)`; NOBODY where there is nobody else."""
    if len(alike) < 2:
        return np.full_like(alike, NOBODY)
    best, second = -np.sort(-alike, axis=0)[:2]
    others: np.ndarray = np.where(alike == best, second, best)
    return others


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-6)


def _speaking(said: np.ndarray) -> np.ndarray:
    """Who of all people may speak in a chunk: the likeliest, as many as the network was trained with."""
    likely = np.sort(said, axis=0)[-SHORT_STEPS:].mean(axis=0)
    order = np.argsort(-likely, kind="stable")[:MOST_PEOPLE]
    return np.sort(order[likely[order] > LEAST_LIKELY])


def _likely(log_odds: np.ndarray) -> np.ndarray:
    """The probabilities of log odds of any size."""
    probabilities: np.ndarray = (1 + np.tanh(log_odds / 2)) / 2
    return probabilities
