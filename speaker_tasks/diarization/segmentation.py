"""Who speaks in ten seconds of sound, up to three people, two at once: pyannote's segmentation network by OpenVINO.

segmentation-3.0 (Plaquet & Bredin, "Powerset multi-class cross entropy loss for neural speaker diarization",
Interspeech 2023; MIT, see NOTICE) gives for each of 589 frames the probabilities of seven classes: nobody, one of three
local speakers, or two of them. Local means: who is the first in one window may be the second in the next. The weights
are fine-tuned (`diarization/training`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speaker_tasks.embedding.audio import SAMPLE_RATE

FILE = "segmentation-3.0"
NAME = "pyannote segmentation-3.0, fine-tuned"
"""As timelines call it."""
FOLDER = Path(__file__).parent / "models"
"""Of all networks and tables of this room."""
WINDOW_SECONDS = 10
WINDOW_SAMPLES = WINDOW_SECONDS * SAMPLE_RATE
STEP_SECONDS = 5
"""From one window to the next: each second is in two windows, at different places."""
FRAMES = 589
FIRST_SAMPLE, FRAME_SAMPLES = 495, 270
"""The centre of a window's first frame, and the distance between two."""
FRAME_SECONDS = FRAME_SAMPLES / SAMPLE_RATE
LOCAL_SPEAKERS = 3
CLASSES = ((), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2))
"""The local speakers that speak in each class."""
BATCH = 4
"""Windows in one call: a third faster than one by one, and still short enough to cancel quickly."""

MEMBERSHIP = np.array([[speaker in one for speaker in range(LOCAL_SPEAKERS)] for one in CLASSES], np.float32)
"""(classes, local speakers): 1 where the class has the speaker."""


@dataclass(frozen=True, eq=False)
class Segmented:
    """One window after the network."""

    start: int
    """Its first sample in the recording."""
    samples: np.ndarray
    """(WINDOW_SAMPLES,) float32, zeros behind the recording's end."""
    probabilities: np.ndarray
    """(FRAMES, classes) float32."""


class Segmenter:
    """The network, to be called by any thread; calls run one after the other."""

    def __init__(self, *, threads: int = 0) -> None:
        """`threads` of OpenVINO; 0: as many as it takes by itself. The process's own model is in memory already."""
        import openvino

        core = openvino.Core()
        network = core.read_model(FOLDER / f"{FILE}.xml")
        network.reshape([BATCH, 1, WINDOW_SAMPLES])
        options = {"ENABLE_CPU_PINNING": False, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self._request = core.compile_model(
            network, "CPU", options | ({"INFERENCE_NUM_THREADS": threads} if threads else {})
        ).create_infer_request()
        self._lock = threading.Lock()

    def run(self, windows: np.ndarray) -> np.ndarray:
        """The probabilities `(N, FRAMES, classes)` of up to `BATCH` windows `(N, WINDOW_SAMPLES)` float32."""
        filled = np.zeros((BATCH, 1, WINDOW_SAMPLES), np.float32)
        filled[: len(windows), 0] = windows
        with self._lock:
            logarithms = self._request.infer([filled])[0][: len(windows)]
            return np.exp(logarithms)

    def over(self, blocks: Iterable[np.ndarray]) -> Iterator[list[Segmented]]:
        """All windows of a recording that comes in blocks, a few at a time."""
        waiting: list[tuple[int, np.ndarray]] = []
        for start, samples in windows_of(blocks):
            waiting.append((start, samples))
            if len(waiting) == BATCH:
                yield self._segmented(waiting)
                waiting = []
        if waiting:
            yield self._segmented(waiting)

    def _segmented(self, windows: list[tuple[int, np.ndarray]]) -> list[Segmented]:
        probabilities = self.run(np.stack([samples for _, samples in windows]))
        return [Segmented(start, samples, one) for (start, samples), one in zip(windows, probabilities, strict=True)]


def windows_of(blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
    """First sample and samples of each window; the last ones are filled up with zeros."""
    step, start, held = STEP_SECONDS * SAMPLE_RATE, 0, np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= WINDOW_SAMPLES:
            yield start, held[:WINDOW_SAMPLES].copy()
            held, start = held[step:], start + step
    covered = 0 if start == 0 else WINDOW_SAMPLES - step  # the window before has heard so much of what is held
    if len(held) > covered:
        yield start, np.pad(held, (0, WINDOW_SAMPLES - len(held)))


def activity(probabilities: np.ndarray) -> np.ndarray:
    """Who speaks in each frame by the likeliest class: `(..., classes)` to `(..., local speakers)` bool."""
    return MEMBERSHIP[probabilities.argmax(axis=-1)].astype(bool)


def soft_activity(probabilities: np.ndarray) -> np.ndarray:
    """The probability that each local speaker speaks: `(..., classes)` to `(..., local speakers)`."""
    return probabilities @ MEMBERSHIP
