"""A recording of any length, read once: the segmentation of its windows, and the voice of each local speaker in them.

Each window adds 8 kB of probabilities and about two vectors to memory, and for a second look 104 kB of codes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain

import numpy as np

from speaker_tasks.diarization.clustering import Voices
from speaker_tasks.diarization.segmentation import STEP_SECONDS, Segmented, Segmenter
from speaker_tasks.diarization.target import BLOCK_SECONDS
from speaker_tasks.diarization.voices import Piece, pieces_of
from speaker_tasks.embedding.audio import SAMPLE_RATE
from speaker_tasks.embedding.embedder import pool
from speaker_tasks.embedding.telephone import Called
from speaker_tasks.errors import UnusableAudio

AHEAD = 3
"""Batches of windows whose voices may wait for the network while the next are segmented; blocks that wait for codes."""

NOTHING = np.zeros(0, np.float32)

Spectrograms = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]
Submit = Callable[[Sequence[np.ndarray]], "Future[np.ndarray]"]
Code = Callable[[np.ndarray], np.ndarray]

BLOCK_SAMPLES = BLOCK_SECONDS * SAMPLE_RATE
LEAST_SAMPLES = SAMPLE_RATE // 10
"""Of the last block; shorter sound has no codes."""


def cut(samples: np.ndarray) -> Iterator[np.ndarray]:
    """Samples in blocks of `BLOCK_SAMPLES`, the last one perhaps shorter."""
    for first in range(0, len(samples), BLOCK_SAMPLES):
        yield samples[first : first + BLOCK_SAMPLES]


@dataclass(frozen=True, eq=False)
class Heard:
    """What is kept of a recording."""

    seconds: float
    probabilities: tuple[np.ndarray, ...]
    """Of each window, (FRAMES, classes) float16."""
    voices: Voices
    codes: np.ndarray | None = None
    """(N, CODE) float16, for a second look; see `target`."""
    telephone: bool = False
    """Whether most pieces of speech have a telephone's band, where the embedder has a map for such."""


class Listener:
    """Hears recordings with a segmentation network and the embedding network of whoever made it."""

    def __init__(
        self, segmenter: Segmenter, spectrograms: Spectrograms, submit: Submit, code: Code | None = None
    ) -> None:
        """`submit` takes spectrograms `(bins, T)` and gives the future of their vectors `(N, D)`.

        `code` takes a block of `target.BLOCK_SECONDS`, the last one perhaps shorter, and gives its codes `(N, CODE)`.
        """
        self._segmenter, self._spectrograms, self._submit, self._code = segmenter, spectrograms, submit, code

    def hear(self, blocks: Iterable[np.ndarray], moved: Callable[[float], None] = lambda seconds: None) -> Heard:
        """Hear blocks of samples at 16 kHz to their end.

        `moved` is called several times a second with the seconds that were heard; what it raises ends the hearing.
        """

        def report() -> None:
            moved(min(counter.seconds, len(kept.probabilities) * STEP_SECONDS))

        with _ended(ThreadPoolExecutor(1)) as apart:
            coded = _Coded(blocks, self._code, apart, report) if self._code is not None else None
            counter, kept = _Counter(blocks if coded is None else coded), _Kept()
            with _dropped(kept.waiting):
                for windows in self._segmenter.over(counter):
                    self._take(windows, kept)
                    kept.collect(AHEAD)
                    report()
                while kept.waiting:
                    kept.collect(len(kept.waiting) - 1)
                    moved(counter.seconds)
            codes = None if coded is None else coded.codes()
        voices, telephone = _voices(kept.rows, kept.vectors), 2 * kept.by_telephone > len(kept.rows)
        return Heard(counter.seconds, tuple(kept.probabilities), voices, codes, telephone)

    def _take(self, windows: Sequence[Segmented], kept: _Kept) -> None:
        """Keep what the windows hold, and hand their voices to the network."""
        batch = _Batch([], [])
        for window in windows:
            kept.probabilities.append(window.probabilities.astype(np.float16))
            for piece in pieces_of(window):
                try:
                    parts = list(self._spectrograms([piece.samples]))
                except UnusableAudio:  # digital silence that the network took for speech
                    continue
                batch.spectrograms += parts
                batch.counts.append(len(parts))
                kept.by_telephone += isinstance(parts[0], Called)
                kept.rows.append((len(kept.probabilities) - 1, replace(piece, samples=NOTHING)))
        if batch.spectrograms:
            batch.future = self._submit(batch.spectrograms)
            kept.waiting.append(batch)


@dataclass
class _Kept:
    """What is kept of the windows so far."""

    probabilities: list[np.ndarray] = field(default_factory=list)
    rows: list[tuple[int, Piece]] = field(default_factory=list)
    """The window of each piece, and the piece without its samples."""
    by_telephone: int = 0
    """Pieces of a telephone's band."""
    vectors: list[np.ndarray] = field(default_factory=list)
    waiting: deque[_Batch] = field(default_factory=deque)

    def collect(self, most: int) -> None:
        """Wait for the network until `most` batches wait."""
        while len(self.waiting) > most:
            self.vectors += self.waiting.popleft().vectors()


class _Counter:
    """The blocks as they are, and how many seconds they were."""

    def __init__(self, blocks: Iterable[np.ndarray]) -> None:
        self._blocks, self._samples = blocks, 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            self._samples += len(block)
            yield block

    @property
    def seconds(self) -> float:
        return self._samples / SAMPLE_RATE


class _Coded:
    """The same samples in blocks of `BLOCK_SAMPLES` at most, and the codes of what has gone through."""

    def __init__(
        self,
        blocks: Iterable[np.ndarray],
        code: Code,
        apart: Executor,
        made: Callable[[], None] = lambda: None,
    ) -> None:
        """`code` runs in `apart`. `made` is called after each code; what it raises ends the iteration."""
        self._blocks, self._code, self._apart, self._made = blocks, code, apart, made
        self._held, self._codes, self._waiting = NOTHING, list[np.ndarray](), deque[Future[np.ndarray]]()

    def __iter__(self) -> Iterator[np.ndarray]:
        for block in self._blocks:
            for piece in cut(block):  # bare samples may come as one block of hours
                self._take(piece)
                yield piece

    def _take(self, piece: np.ndarray) -> None:
        self._held = np.concatenate([self._held, piece])
        while len(self._held) >= BLOCK_SAMPLES:
            self._waiting.append(self._apart.submit(self._code, self._held[:BLOCK_SAMPLES]))
            self._held = self._held[BLOCK_SAMPLES:]
            self._collect(AHEAD)

    def _collect(self, most: int) -> None:
        """Wait until `most` blocks wait."""
        while len(self._waiting) > most:
            self._codes.append(self._waiting.popleft().result())
            self._made()

    def codes(self) -> np.ndarray | None:
        """Of all of it; None where there is too little sound."""
        if len(self._held) >= LEAST_SAMPLES:
            self._waiting.append(self._apart.submit(self._code, self._held))
            self._held = NOTHING
        self._collect(0)
        return np.concatenate(self._codes) if self._codes else None


@contextmanager
def _ended(apart: Executor) -> Iterator[Executor]:
    """End the threads behind the block, without what they have not begun if it ends with an error."""
    try:
        yield apart
    except BaseException:
        apart.shutdown(cancel_futures=True)
        raise
    apart.shutdown()


@contextmanager
def _dropped(waiting: deque[_Batch]) -> Iterator[None]:
    """Cancel what the network has not begun if the block ends with an error."""
    try:
        yield
    except BaseException:
        for batch in waiting:
            if batch.future is not None:
                batch.future.cancel()
        raise


@dataclass
class _Batch:
    """The voices of a few windows on their way through the network."""

    spectrograms: list[np.ndarray]
    counts: list[int]
    """How many of them each voice has."""
    future: Future[np.ndarray] | None = None

    def vectors(self) -> list[np.ndarray]:
        """The vector of each voice, when the network has given them."""
        if self.future is None:
            return []
        unpooled = self.future.result()
        return [pool(part) for part in np.split(unpooled, np.cumsum(self.counts)[:-1])]


def _voices(rows: Sequence[tuple[int, Piece]], vectors: Sequence[np.ndarray]) -> Voices:
    return Voices(
        np.array([number for number, _ in rows], int),
        np.array([piece.speaker for _, piece in rows], int),
        np.array([piece.clean_seconds for _, piece in rows], np.float32),
        np.stack(vectors) if vectors else np.zeros((0, 1), np.float32),
        tuple(piece.frames for _, piece in rows),
    )


def decoded_first(blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The same blocks, the first of them decoded now, so that an unreadable recording fails at once."""
    return chain([next(blocks)], blocks)
