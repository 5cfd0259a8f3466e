"""Open-set measures on held-out speakers: recordings against people enrolled from several, as a bank has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from speaker_tasks.embedding.calibration import Calibration
from speaker_tasks.embedding.operating import OperatingPoints

ENROLLED_CLIPS = 3
"""Recordings behind each enrolled vector of the trials."""
OPERATING_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Lengths of the recordings that are tried against the enrolled."""


def model_trials(whole: np.ndarray, tried: np.ndarray, speakers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of recordings `tried` `(N, D)` with speakers enrolled from others, and whether it is that speaker.

    Each speaker is enrolled several times, from `ENROLLED_CLIPS` whole recordings `(N, D)` at a time; a recording is
    never tried against a vector that it is part of. Both results are `(K,)`.
    """
    scores, target = [], []
    for speaker in np.unique(speakers):
        own = np.flatnonzero(speakers == speaker)
        for start in range(0, len(own) - ENROLLED_CLIPS + 1, ENROLLED_CLIPS):
            group = own[start : start + ENROLLED_CLIPS]
            mean = whole[group].mean(axis=0)
            others = np.setdiff1d(np.arange(len(speakers)), group)
            scores.append(tried[others] @ (mean / np.linalg.norm(mean)))
            target.append(speakers[others] == speaker)
    return np.concatenate(scores), np.concatenate(target)


def operating(trials: Mapping[float, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """The card's entry `operating`, from `model_trials` by seconds of speech."""
    points = OperatingPoints.fit({seconds: scores[~target] for seconds, (scores, target) in trials.items()})
    scores = np.concatenate([scores for scores, _ in trials.values()])
    lengths = np.concatenate([np.full(len(scores), seconds) for seconds, (scores, _) in trials.items()])
    target = np.concatenate([target for _, target in trials.values()])
    return {
        **points.to_dict(),
        "enrolled_clips": ENROLLED_CLIPS,
        "impostor_trials": int((~target).sum()),
        "target_trials": int(target.sum()),
        "calibration": Calibration.fit(scores, lengths, target).to_dict(),
    }
