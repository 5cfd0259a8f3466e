"""Who of the people that were found speaks at each moment: target-speaker voice activity detection (TS-VAD).

Medennikov et al., "Target-speaker voice activity detection: a novel approach for multi-speaker diarization in a dinner
party scenario", Interspeech 2020. Segmentation and clustering say who is there and about when they speak. Knowing each
voice, a small network looks again: at the frames of the embedding network's trunk, at the voice, at what the first look
gave, and at what the others do meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from speaker_tasks.diarization.segmentation import CLASSES, FIRST_SAMPLE, FRAME_SAMPLES, FRAMES
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
    inside = number < count
    sums = np.zeros((count, *frames.shape[1:]), np.float32)
    np.add.at(sums, number[inside], frames[inside].astype(np.float32))
    counts = np.bincount(number[inside], minlength=count).reshape(-1, *[1] * (frames.ndim - 1))
    return sums / np.maximum(counts, 1).astype(np.float32)


def to_frames(steps: np.ndarray, count: int) -> np.ndarray:
    """Steps `(N, S)` at `count` of the segmentation's frames, by linear interpolation: `(count, S)` float32."""
    at = np.clip((_centres(count) - FIRST_SECOND) / STEP_SECONDS, 0, max(len(steps) - 1, 0))
    below = np.minimum(at.astype(int), max(len(steps) - 2, 0))
    above = np.minimum(below + 1, len(steps) - 1)
    share = (at - below).astype(np.float32)[:, None]
    interpolated: np.ndarray = steps[below] * (1 - share) + steps[above] * share
    return interpolated


def _centres(count: int) -> np.ndarray:
    return (FIRST_SAMPLE + FRAME_SAMPLES * np.arange(count)) / SAMPLE_RATE


class Trunk:
    """The embedding network's trunk for blocks of sound, by OpenVINO; to be called by one thread."""

    def __init__(
        self, graph: Any, front_end: Callable[[np.ndarray], np.ndarray], *, precision: str, threads: int = 1
    ) -> None:
        import openvino

        self._front_end = front_end
        options = {"ENABLE_CPU_PINNING": False, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": precision}
        compiled = openvino.Core().compile_model(graph, "CPU", options | {"INFERENCE_NUM_THREADS": threads})
        self._request = compiled.create_infer_request()
        self._length = 0

    def steps(self, samples: np.ndarray) -> np.ndarray:
        """The frames of up to a block of samples, two to one: `(steps, CHANNELS)` float32, BLOCK_STEPS if it is full."""
        spectrogram = self._front_end(samples)
        length = spectrogram.shape[1]
        self._length = max(self._length, length)
        padded = np.zeros((1, 1, spectrogram.shape[0], self._length), np.float32)
        padded[0, 0, :, :length] = spectrogram
        frames = self._request.infer([padded, np.array([length], np.int32)])[0][0][: -(-length // 2)]
        if len(frames) % 2:
            frames = np.concatenate([frames, frames[-1:]])
        paired: np.ndarray = frames.reshape(len(frames) // 2, 2, -1).mean(axis=1)
        return paired
