"""The public face: `Embedder.load(name).embed(samples)` gives a voice's unit vector.

Samples become windows, windows spectrograms, spectrograms vectors; a clip's vector is the mean of its windows'
vectors, normalised. Windows of several clips share a batch; masks keep each as it would be alone.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from speaker_tasks.embedding import features, machine
from speaker_tasks.embedding.audio import SAMPLE_RATE, check, is_silent
from speaker_tasks.embedding.fbank import kaldi_fbank
from speaker_tasks.embedding.runtime import Runtime, make
from speaker_tasks.embedding.telephone import Called, Telephone, is_telephone
from speaker_tasks.embedding.weights import Weights, load
from speaker_tasks.errors import UnusableAudio
from speaker_tasks.settings import Settings

FRONT_ENDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "vgg": features.vgg_spectrogram,
    "log_mel": lambda window: features.lengthened(features.log_mel(window)),
    "kaldi_fbank": kaldi_fbank,
}
WINDOW_SECONDS = {"log_mel": 10.0, "vgg": 20.0, "kaldi_fbank": 10.0}
"""The longest stretch that the network sees at once: what it was trained near, and what bounds the memory."""
BATCH_FRAMES = {"log_mel": 8_000, "vgg": 4_000, "kaldi_fbank": 8_000}
"""Frames (padding included) that one call of the network takes at most, unless one window has more."""


class Embedder:
    """A loaded model, safe to share between threads. Made by `Embedder.load`."""

    def __init__(self, loaded: Weights, runtime: Runtime, telephone: Telephone | None = None) -> None:
        """`telephone` maps the vectors of telephones; without one they stay as the network gives them."""
        self.config = loaded.config
        self.card = loaded.card
        self.model = loaded.card.name
        self.model_id = loaded.card.model_id
        self.embedding_size = loaded.config.embedding_size
        self.runtime, self.device, self.precision = runtime.name, runtime.device, runtime.precision
        self.mixes_lengths = runtime.mixes_lengths
        self._runtime, self._telephone = runtime, telephone
        self.streams, self.ahead = runtime.streams, runtime.ahead
        self._calls = threading.BoundedSemaphore(runtime.streams + runtime.ahead)
        self._front_end = FRONT_ENDS[loaded.config.front_end]
        self._window = int(WINDOW_SECONDS[loaded.config.front_end] * SAMPLE_RATE)
        self._batch_frames = BATCH_FRAMES[loaded.config.front_end]

    @classmethod
    def load(
        cls,
        model: str = "campplus",
        *,
        weights: Path | None = None,
        data_dir: Path | None = None,
        device: str = "auto",
        runtime: str = "auto",
        precision: str = "auto",
        threads: int = 0,
        telephones: bool = True,
    ) -> Embedder:
        """Load a model's trained weights and build its network; the process is settled for it (`machine.settle`).

        `weights` is a file to use instead of the registered one; `data_dir` is where fetched weights and compiled
        networks are kept. Vectors of telephones are mapped (`telephone.py`) where the model has a map, unless
        `telephones` is false. Raises WeightsMissing, WeightsRefused, ConfigurationError.
        """
        machine.settle()
        loaded = load(model, path=weights, data_dir=data_dir)
        cache_dir = data_dir / "compiled" if data_dir else None
        built = make(loaded, device=device, runtime=runtime, precision=precision, threads=threads, cache_dir=cache_dir)
        embedder = cls(loaded, built, Telephone.load(loaded.card.model_id) if telephones else None)
        del loaded
        machine.give_back()
        return embedder

    @classmethod
    def configured(cls, settings: Settings) -> Embedder:
        """Load the model that the settings name, as they say. Raises what `load` raises."""
        return cls.load(
            settings.model,
            weights=settings.weights,
            data_dir=settings.data_dir,
            device=settings.device,
            runtime=settings.runtime,
            precision=settings.precision,
            threads=settings.threads or machine.share_of_processors(settings.workers),
        )

    def embed(self, samples: np.ndarray) -> np.ndarray:
        """The unit vector of one clip: `(T,)` samples at 16 kHz to `(embedding_size,)` float32.

        Raises what `audio.check` raises.
        """
        return self.embed_many([samples])[0]

    def embed_many(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """The vectors of `clips`, `(N, embedding_size)` float32, each as it would be alone."""
        prepared = [list(self.spectrograms([check(clip)])) for clip in clips]
        vectors = self.run([spectrogram for parts in prepared for spectrogram in parts])
        ends = np.cumsum([len(parts) for parts in prepared])
        return np.stack([pool(vectors[end - len(parts) : end]) for parts, end in zip(prepared, ends, strict=True)])

    def spectrograms(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The front end alone, lazily: blocks of samples to the spectrograms of their windows, each `(bins, T)`.

        Needs no lock. Raises what `audio.check` raises, for a recording in which all is silent.
        """
        for window in _spoken_windows(blocks, self._window):
            spectrogram = self._front_end(window)
            called = self._telephone is not None and is_telephone(window)
            yield spectrogram.view(Called) if called else spectrogram

    def run(self, spectrograms: Sequence[np.ndarray]) -> np.ndarray:
        """The network: spectrograms of any lengths to `(N, embedding_size)` unit rows, in the given order."""
        vectors = self._all(spectrograms)
        called = [index for index, one in enumerate(spectrograms) if isinstance(one, Called)]
        if called and self._telephone is not None:
            vectors = np.array(vectors)  # TensorFlow's cannot be written to
            vectors[called] = self._telephone.to_broad(vectors[called])
        return vectors

    def _all(self, spectrograms: Sequence[np.ndarray]) -> np.ndarray:
        if len(spectrograms) == 1:  # the commonest call: nothing to sort out
            return self._call(spectrograms)
        vectors = np.empty((len(spectrograms), self.embedding_size), np.float32)
        lengths = [part.shape[1] for part in spectrograms]
        for batch in _batches(lengths, self._batch_frames, mixed=self.mixes_lengths):
            vectors[batch] = self._call([spectrograms[index] for index in batch])
        return vectors

    def trunk_frames(self, samples: np.ndarray) -> np.ndarray:
        """What a dense trunk hears at each moment of a window of samples `(N,)`: `(T, channels)`, 50 a second."""
        with self._calls:
            return self._runtime.trunk_frames(self._front_end(samples))

    def warm(self) -> float:
        """Run a real inference on a second of noise and give the seconds it took."""
        started = time.perf_counter()
        self.embed(np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32))
        return time.perf_counter() - started

    def _call(self, spectrograms: Sequence[np.ndarray]) -> np.ndarray:
        padded, frames = pad(spectrograms)
        with self._calls:
            return self._runtime.embed(padded, frames)


def pool(vectors: np.ndarray) -> np.ndarray:
    """The vector of a clip from those of its windows, `(W, D)`: their mean, normalised, `(D,)` float32."""
    mean = vectors[0] if len(vectors) == 1 else vectors.mean(axis=0)
    return mean / max(math.sqrt(np.dot(mean, mean)), 1e-12)


def pad(spectrograms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Stack `(bins, T)` spectrograms under zeros: `(B, bins, max T, 1)` float32 and `(B,)` int32 valid frames.

    One alone is not copied.
    """
    frames = np.array([part.shape[1] for part in spectrograms], np.int32)
    if len(spectrograms) == 1:
        return np.asarray(spectrograms[0], np.float32)[np.newaxis, :, :, np.newaxis], frames
    stacked = np.zeros((len(frames), spectrograms[0].shape[0], int(frames.max()), 1), np.float32)
    for row, part in zip(stacked, spectrograms, strict=True):
        row[:, : part.shape[1], 0] = part
    return stacked, frames


def windows(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Cut a stream of samples into windows of at most `size`: full ones while two remain, then one or two halves."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block]) if len(held) else block
        while len(held) >= 2 * size:
            yield held[:size]
            held = held[size:]
    yield from np.array_split(held, 2) if len(held) > size else [held]


def _spoken_windows(blocks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Windows that are not silent; when all are, the error of `audio.check` for the last one."""
    spoken, window = False, np.zeros(0, np.float32)
    for window in windows(blocks, size):
        if not is_silent(window):
            spoken = True
            yield check(window)
    if not spoken:
        check(window)
        raise UnusableAudio("the recording is silent")


def _batches(lengths: Sequence[int], most_frames: int, *, mixed: bool) -> Iterator[list[int]]:
    """Indices in batches, longest first, within `most_frames` with their padding; of equal lengths unless `mixed`."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while order:
        longest = lengths[order[0]]
        size = max(1, most_frames // longest)
        if not mixed:
            size = min(size, sum(lengths[index] == longest for index in order))
        yield order[:size]
        order = order[size:]
