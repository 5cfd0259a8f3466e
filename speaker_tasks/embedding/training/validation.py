"""Validation during training: EER on held-out speakers, per corpus."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from speaker_tasks.embedding import features
from speaker_tasks.embedding.training.corpus import Clip, read_audio, read_manifest
from speaker_tasks.scoring.evaluation import Trials, Utterances

MAX_SECONDS = 10.0


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
            utterances = Utterances.nameless(speakers[inside], vectors[inside], np.ones(int(inside.sum())))
            result[str(corpus)] = Trials.all_pairs(utterances).curve().eer()
        return {**result, "mean": float(np.mean(list(result.values())))}

    def _embed(self, network: keras.Model) -> np.ndarray:
        """Vectors in the clips' order: `(N, D)`. One by one: a network without masks takes no padding."""
        rows = (spectrogram[None, :, :, None] for spectrogram in self._spectrograms)
        return np.concatenate([network.predict_on_batch(in_layout(row)) for row in rows])


def in_layout(spectrograms: np.ndarray) -> np.ndarray:
    """`(B, bins, T, 1)` in the layout that Keras is set to; a view."""
    channels_first = keras.config.image_data_format() == "channels_first"
    return spectrograms.transpose(0, 3, 1, 2) if channels_first else spectrograms
