"""Endless training batches: crops drawn by speaker, mixed with noise and babble in the mel power domain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from banks.vectors import unit
from speaker_tasks.embedding import features
from speaker_tasks.embedding.training.corpus import Corpus, View
from speaker_tasks.embedding.training.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """`spectrograms` (B, 64, T, 1) float32, `labels` (B,) int32 (-1: none), `targets` (B, 192)."""

    spectrograms: np.ndarray
    labels: np.ndarray
    targets: np.ndarray


class BatchMaker:
    """Draws batches. Every speaker of a batch comes with two crops, so that each batch holds target pairs."""

    def __init__(self, corpus: Corpus, recipe: Recipe) -> None:
        self._corpus, self._recipe = corpus, recipe
        self._clips_of = _clips_by_speaker(corpus.speakers)
        self._speaker_share = _speaker_shares(corpus, self._clips_of, recipe.duration_power)
        self._targets = {speed: self._blend(vectors) for speed, vectors in corpus.teacher.items()}
        self._views: dict[float, dict[bool, View]] = {}
        for view in corpus.views:
            self._views.setdefault(view.speed, {})[view.degraded] = view
        self._speeds = tuple(self._views)
        others = max(1, len(self._speeds) - 1)
        natural = recipe.natural_share if len(self._speeds) > 1 else 1.0
        self._speed_share = np.array([natural] + [(1 - natural) / others] * (len(self._speeds) - 1))
        labelled = [speaker for speaker, clips in enumerate(self._clips_of) if len(clips) > 1]
        self._class_of = np.full(len(self._clips_of), -1)
        self._class_of[labelled] = np.arange(len(labelled))
        self._labelled = labelled

    @property
    def classes(self) -> int:
        """Speakers with two clips or more, counted once for each speed."""
        return len(self._labelled) * len(self._speeds)

    def class_vectors(self) -> np.ndarray:
        """The teacher's mean vector of each class: `(classes, 192)` unit rows."""
        means = [
            self._corpus.teacher[speed][self._clips_of[speaker]].mean(axis=0)
            for speed in self._speeds
            for speaker in self._labelled
        ]
        return unit(np.stack(means))

    def draw(self, rng: np.random.Generator, *, final: bool = False) -> Batch:
        """One batch; the same generator state gives the same batch. `final` takes the longer crops."""
        recipe = self._recipe
        length = int(rng.choice(recipe.final_crop_frames if final else recipe.crop_frames))
        speakers = rng.choice(len(self._clips_of), recipe.batch_size // 2, replace=False, p=self._speaker_share)
        speeds = rng.choice(len(self._speeds), len(speakers), p=self._speed_share)
        spectrograms = np.zeros((recipe.batch_size, features.MEL_BINS, length, 1), np.float32)
        labels, targets = [], []
        for row in range(recipe.batch_size):
            speaker, speed_index = speakers[row // 2], speeds[row // 2]
            speed = self._speeds[speed_index]
            clips = self._clips_of[speaker]
            clip = clips[rng.integers(len(clips))]
            spectrograms[row, :, :, 0] = self._spectrogram(clip, speed, length, rng)
            label = self._class_of[speaker]
            labels.append(label + speed_index * len(self._labelled) if label >= 0 else -1)
            targets.append(self._targets[speed][clip])
        return Batch(spectrograms, np.array(labels, np.int32), np.stack(targets))

    def _spectrogram(self, clip: int, speed: float, length: int, rng: np.random.Generator) -> np.ndarray:
        """One augmented crop: `(64, length)` float32."""
        recipe = self._recipe
        power = self._crop(clip, speed, length, rng)
        if rng.random() < recipe.noise_probability:
            snr = rng.uniform(*recipe.snr_db)
            noise = self._babble(length, rng) if rng.random() < recipe.babble_share else self._noise(length, rng)
            power = power + noise * (power.mean() / (noise.mean() + 1e-12) * 10 ** (-snr / 10))
        spectrogram = features.normalise_mel_power(power.T)
        return _spec_augment(spectrogram, recipe, rng)

    def _crop(self, clip: int, speed: float, length: int, rng: np.random.Generator) -> np.ndarray:
        """A random crop as linear mel power, a short clip repeated: `(length, 64)` float32."""
        views = self._views[speed]
        view = views[True] if True in views and rng.random() < self._recipe.degraded_share else views[False]
        start, stop = view.offsets[clip], view.offsets[clip + 1]
        room = max(stop - start - length, 0)
        start += rng.integers(room + 1)
        power = np.exp(view.frames[start : min(start + length, stop)].astype(np.float32))
        return np.resize(power, (length, features.MEL_BINS))

    def _noise(self, length: int, rng: np.random.Generator) -> np.ndarray:
        noise = self._corpus.noise
        start = rng.integers(len(noise) - length)
        return np.exp(noise[start : start + length].astype(np.float32))

    def _babble(self, length: int, rng: np.random.Generator) -> np.ndarray:
        """The sum of two to five other voices."""
        total = np.zeros((length, features.MEL_BINS), np.float32)
        for clip in rng.integers(len(self._corpus.speakers), size=rng.integers(2, 6)):
            voice = self._crop(int(clip), self._speeds[0], length, rng)
            total += voice / (voice.mean() + 1e-12)
        return total

    def _blend(self, vectors: np.ndarray) -> np.ndarray:
        """Each clip's teacher vector, moved towards the mean of its speaker's: `(clips, 192)` unit rows."""
        share = self._recipe.speaker_mean_share
        blended = vectors.copy()
        for clips in self._clips_of:
            blended[clips] = (1 - share) * vectors[clips] + share * unit(vectors[clips].mean(axis=0))
        return unit(blended)


def _clips_by_speaker(speakers: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(speakers, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(speakers[order])) + 1)


def _speaker_shares(corpus: Corpus, clips_of: list[np.ndarray], power: float) -> np.ndarray:
    """The probability of each speaker: a power of how much speech there is of it."""
    lengths = np.diff(corpus.views[0].offsets)
    shares = np.array([lengths[clips].sum() for clips in clips_of], float) ** power
    return shares / shares.sum()


def _spec_augment(spectrogram: np.ndarray, recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """One band and one stretch of time set to the mean (Park et al., arXiv 1904.08779), half of the time each."""
    bins, length = spectrogram.shape
    if rng.random() < 0.5:
        width = rng.integers(1, recipe.frequency_mask_bins + 1)
        start = rng.integers(bins - width)
        spectrogram[start : start + width] = 0.0
    if rng.random() < 0.5 and length > 2 * recipe.time_mask_frames:
        width = rng.integers(1, recipe.time_mask_frames + 1)
        start = rng.integers(length - width)
        spectrogram[:, start : start + width] = 0.0
    return spectrogram
