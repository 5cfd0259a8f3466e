"""How alike two voices are beyond a cosine: probabilistic linear discriminant analysis (PLDA), fitted once.

A vector is centred, scaled to unit length and projected to a space in which the variance between speakers is `between`
along each axis and that within a speaker is 1. Of 512 dimensions those are left that distinguish speakers best.
`tools/fit_plda.py` fits it on training speakers; it belongs to one model, whose id the file holds.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from speaker_tasks.diarization.segmentation import FOLDER

LEAST_VARIANCE = 1e-8
TELEPHONE_SHARE = 0.5
"""A recording is by telephone if its vectors are moved by this share of what a telephone moves them. Single clips of
broad sound have at most as much, telephone's two thirds at least."""


@dataclass(frozen=True, eq=False)
class Plda:
    """A fitted model; clustering uses `project` alone."""

    mean: np.ndarray
    """(D,) float32."""
    transform: np.ndarray
    """(D, K) float32."""
    between: np.ndarray
    """(K,) float32, descending: the variance between speakers where that within a speaker is 1."""
    telephone: np.ndarray | None = None
    """(D,) float32: by how much the telephone's band moves the vectors of all speakers; None where that is unknown."""

    @classmethod
    def fit(cls, vectors: np.ndarray, owners: np.ndarray, size: int) -> Plda:
        """Fit on vectors (N, D) of speakers (N,), keeping the `size` directions that distinguish speakers best."""
        from scipy.linalg import eigh

        mean = vectors.mean(axis=0, dtype=np.float64)
        rows = _unit(vectors - mean)
        _, number = np.unique(owners, return_inverse=True)
        counts = np.bincount(number).astype(np.float64)
        means = np.zeros((len(counts), rows.shape[1]))
        np.add.at(means, number, rows)
        means /= counts[:, None]
        apart = rows - means[number]
        within = apart.T @ apart / (len(rows) - len(counts))
        spread = means - means.mean(axis=0)
        # The means of few recordings spread by a part of what is within a speaker, too.
        between = spread.T @ spread / len(means) - within * float((1 / counts).mean())
        within += np.eye(len(within)) * (np.trace(within) / len(within) * 1e-2 + LEAST_VARIANCE)
        values, directions = eigh(between, within)
        best = np.argsort(-values)[:size]
        return cls(
            mean.astype(np.float32),
            directions[:, best].astype(np.float32),
            np.maximum(values[best], LEAST_VARIANCE).astype(np.float32),
        )

    @classmethod
    def load(cls, model: str) -> Plda | None:
        """The one that is shipped for a model's vectors, by its id; None where there is none."""
        path = FOLDER / f"plda-{model}.safetensors"
        return cls.read(path) if path.is_file() else None

    @classmethod
    def read(cls, path: Path) -> Plda:
        """The one of a file."""
        with safe_open(path, framework="numpy") as file:
            mean, transform, between = (
                file.get_tensor(name).astype(np.float32) for name in ("mean", "transform", "between")
            )
            names = file.keys()
            telephone = file.get_tensor("telephone").astype(np.float32) if "telephone" in names else None
        return cls(mean, transform, between, telephone)

    def write(self, path: Path, card: dict[str, object]) -> None:
        """Write the file, with a card that says what it was fitted on."""
        half = np.ascontiguousarray(self.transform, np.float16)  # as it lies in memory is how it is written
        tensors = {"mean": self.mean, "between": self.between, "transform": half}
        if self.telephone is not None:
            tensors["telephone"] = self.telephone
        save_file(tensors, path, {"card": json.dumps(card)})

    def broad(self, vectors: np.ndarray) -> np.ndarray:
        """Unit vectors (N, D) of one recording as they are; of a telephone's as if its sound were broad.

        The telephone's band moves the vectors of all people to one side, so that different people are alike.
        """
        if self.telephone is None or not len(vectors):
            return vectors
        shares = (vectors - self.mean) @ self.telephone / float(self.telephone @ self.telephone)
        share = float(np.median(shares))
        return vectors if share < TELEPHONE_SHARE else _unit(vectors - np.float32(share) * self.telephone)

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors (N, D) where those of one speaker lie around a point with deviation 1 along each axis: (N, K)."""
        return _unit(vectors - self.mean) @ self.transform


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
