"""Validation during training: EER on held-out speakers, per corpus."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from speaker_tasks.embedding import features, metrics
from speaker_tasks.embedding.training.corpus import Clip, read_audio, read_manifest

MAX_SECONDS = 10.0
_BATCH = 16


class Validation:
    """The held-out clips as spectrograms, scored as often as asked."""

    def __init__(self, speech: Path) -> None:
        self._clips: list[Clip] = read_manifest(speech, "validation")
        limit = int(MAX_SECONDS * features.SAMPLE_RATE)
        self._spectrograms = [features.log_mel(read_audio(clip.path)[:limit]) for clip in self._clips]

    def eer_by_corpus(self, network: keras.Model) -> dict[str, float]:
        """EER over all pairs within each corpus, and their `mean`, in [0, 1]."""
        vectors = self._embed(network)
        corpora = np.array([clip.corpus for clip in self._clips])
        speakers = np.array([clip.speaker for clip in self._clips])
        result = {}
        for corpus in np.unique(corpora):
            inside = corpora == corpus
            scores = metrics.pair_scores(vectors[inside], speakers[inside])
            result[str(corpus)] = metrics.ErrorCurve.of(*scores).eer()
        return {**result, "mean": float(np.mean(list(result.values())))}

    def _embed(self, network: keras.Model) -> np.ndarray:
        """Vectors in the clips' order, computed in batches of similar length: `(N, D)`."""
        order = np.argsort([spectrogram.shape[1] for spectrogram in self._spectrograms])
        vectors: list[np.ndarray] = [np.empty(0)] * len(order)
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            frames = np.array([self._spectrograms[index].shape[1] for index in batch], np.int32)
            padded = np.zeros((len(batch), features.MEL_BINS, -(-frames.max() // 50) * 50, 1), np.float32)
            for row, index in enumerate(batch):
                padded[row, :, : frames[row], 0] = self._spectrograms[index]
            for index, vector in zip(batch, keras.ops.convert_to_numpy(network([padded, frames])), strict=True):
                vectors[index] = vector
        return np.stack(vectors)
