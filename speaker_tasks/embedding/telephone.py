"""Telephones: which sound is of their band, and their vectors mapped to where broad sound would have them.

The band moves the vectors of all people to one side, so that strangers on a telephone look alike, and far from
themselves in broad sound. A linear map, fitted on pairs of both (`tools/fit_telephone.py`), takes most of that back. It
belongs to one model, whose id the file's name holds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.fft
from safetensors import safe_open
from safetensors.numpy import save_file

from speaker_tasks.embedding.features import SAMPLE_RATE

FOLDER = Path(__file__).parent / "models" / "telephone"
FRAME, EVERY = 512, 2
"""Samples of a frame, and every how manieth is looked at."""
BAND_HZ, EMPTY_HZ = (500.0, 3250.0), 4250.0
"""Where a telephone has sound, and above which it has none."""
EMPTY_DB = -65.0
"""What lies above, relative to the band: -59 dB and more in broad recordings, -96 and less in what had 8 kHz.

What lies below 300 Hz is no witness: GSM makes up sound there.
"""
RIDGE = 1.0
"""How strongly the map is held to a mere shift, as a share of the vectors' mean variance."""


class Called(np.ndarray):
    """A spectrogram `(bins, T)` of sound by telephone: the vector from it is to be mapped."""


@dataclass(frozen=True, eq=False)
class Telephone:
    """The map of one model."""

    narrow: np.ndarray
    """(D,) float32: the mean vector by telephone."""
    broad: np.ndarray
    """(D,) float32: the mean vector of the same recordings in broad sound."""
    matrix: np.ndarray
    """(D, D) float32, for rows."""

    @classmethod
    def fit(cls, narrow: np.ndarray, broad: np.ndarray, ridge: float = RIDGE) -> Telephone:
        """Fit on the vectors (N, D) of the same recordings by telephone and as they were."""
        centre, wanted = narrow.mean(axis=0, dtype=np.float64), broad.mean(axis=0, dtype=np.float64)
        rows, size = narrow - centre, narrow.shape[1]
        spread = rows.T @ rows
        held = spread + ridge * np.trace(spread) / size * np.eye(size)
        matrix = np.eye(size) + np.linalg.solve(held, rows.T @ (broad - wanted - rows))
        return cls(*(part.astype(np.float32) for part in (centre, wanted, matrix)))

    @classmethod
    def load(cls, model: str) -> Telephone | None:
        """The one that is shipped for a model's vectors, by its id; None where there is none."""
        path = path_of(model)
        if not path.is_file():
            return None
        with safe_open(path, framework="numpy") as file:
            return cls(*(file.get_tensor(name).astype(np.float32) for name in ("narrow", "broad", "matrix")))

    def write(self, path: Path, card: dict[str, object]) -> None:
        """Write the file, with a card that says what it was fitted on."""
        tensors = {"narrow": self.narrow, "broad": self.broad, "matrix": self.matrix.astype(np.float16)}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, {"card": json.dumps(card)})

    def to_broad(self, vectors: np.ndarray) -> np.ndarray:
        """Unit vectors (N, D) by telephone as unit vectors that compare with those of broad sound."""
        mapped = (vectors - self.narrow) @ self.matrix + self.broad
        return mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), 1e-12)


def path_of(model: str) -> Path:
    """Where the map of a model lies, by the model's id."""
    return FOLDER / f"{model}.safetensors"


def is_telephone(samples: np.ndarray) -> bool:
    """Whether samples `(T,)` at 16 kHz hold nothing above a telephone's band, as all that was sampled at 8 kHz."""
    count = len(samples) // FRAME
    frames = samples[: count * FRAME].reshape(count, FRAME)[::EVERY] * _window()
    power = np.square(np.abs(scipy.fft.rfft(frames, axis=1))).sum(axis=0, dtype=np.float64)
    hertz = np.arange(len(power)) * SAMPLE_RATE / FRAME
    band = power[(hertz >= BAND_HZ[0]) & (hertz < BAND_HZ[1])].sum()
    return bool(power[hertz >= EMPTY_HZ].sum() < band * 10 ** (EMPTY_DB / 10))


def _window() -> np.ndarray:
    """Hann's: what it lets through from afar is softer than what is looked for."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)
