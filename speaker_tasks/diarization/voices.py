"""The voices of a window: the speech of its local speakers while they speak alone, in pieces that are embedded once.

A long stretch of speech is several pieces, for the segmentation may take two similar voices for one local speaker. A
local speaker's short stretches are joined into one more piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from speaker_tasks.diarization.segmentation import (
    FIRST_SAMPLE,
    FRAME_SAMPLES,
    FRAME_SECONDS,
    WINDOW_SAMPLES,
    Segmented,
    activity,
)
from speaker_tasks.embedding.audio import SAMPLE_RATE

LEAST_SECONDS = 0.4
"""A local speaker with less speech, overlapped or not, is left out."""
LONG_SECONDS = 1.5
"""A stretch of speech from which on it is a piece by itself, ..."""
PIECE_SECONDS = 1.7
"""... and about how long the pieces are that a longer one is cut into."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Speech of one local speaker in one window, or a long stretch of it."""

    speaker: int
    """Which of the window's."""
    clean_seconds: float
    """In which they speak alone; 0 where all of it is overlapped."""
    samples: np.ndarray
    """(T,) float32."""
    frames: np.ndarray
    """(R, 2) first and last frames, in the window, of the stretches that it consists of."""


def pieces_of(window: Segmented) -> Iterator[Piece]:
    """The pieces of each local speaker who has enough."""
    speaks = activity(window.probabilities)
    alone = speaks & (speaks.sum(axis=1, keepdims=True) == 1)
    for speaker in range(speaks.shape[1]):
        stretches = _stretches(alone[:, speaker])
        lengths = (stretches[:, 1] - stretches[:, 0]) * FRAME_SECONDS
        for stretch in stretches[lengths >= LONG_SECONDS]:
            for part in _cut(stretch):
                yield from _piece(window, speaker, part[None])
        rest = stretches[lengths < LONG_SECONDS]
        if lengths[lengths < LONG_SECONDS].sum() >= LEAST_SECONDS:
            yield from _piece(window, speaker, rest)
        elif lengths.sum() < LEAST_SECONDS:  # never alone for long
            yield from _piece(window, speaker, _stretches(speaks[:, speaker]), clean=False)


def _cut(stretch: np.ndarray) -> np.ndarray:
    """A stretch in equal parts of about `PIECE_SECONDS`: (P, 2) frames."""
    count = max(1, round(float(stretch[1] - stretch[0]) * FRAME_SECONDS / PIECE_SECONDS))
    edges = np.linspace(stretch[0], stretch[1], count + 1).round().astype(int)
    return np.stack([edges[:-1], edges[1:]], axis=1)


def _piece(window: Segmented, speaker: int, frames: np.ndarray, *, clean: bool = True) -> Iterator[Piece]:
    samples = np.concatenate(
        [window.samples[start:end] for start, end in samples_of(frames)] or [np.zeros(0, np.float32)]
    )
    if len(samples) >= LEAST_SECONDS * SAMPLE_RATE:
        yield Piece(speaker, len(samples) / SAMPLE_RATE if clean else 0.0, samples, frames)


def samples_of(frames: np.ndarray) -> np.ndarray:
    """The first and last samples of stretches of frames `(R, 2)`."""
    return np.clip(frames * FRAME_SAMPLES + FIRST_SAMPLE - FRAME_SAMPLES // 2, 0, WINDOW_SAMPLES)


def _stretches(frames: np.ndarray) -> np.ndarray:
    """Where `(FRAMES,)` bool is set: first frame, and the one behind the last, of each stretch, `(R, 2)`."""
    return np.flatnonzero(np.diff(frames.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
