"""How many requests should share a call of the network, and how long to wait for company: from what calls cost here."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from speaker_tasks.embedding.embedder import Embedder

SIZES = (1, 2, 4, 8, 16, 32)
FRAMES = 400
"""Four seconds, as a typical request has them."""
REPEATS = 3
NEAR_BEST = 0.9
"""A larger batch is not worth its latency for less than the last tenth of the rate."""
LONGEST_WAIT_MS = 5.0
THREADS_A_CALL = 4
"""Threads for each call that runs at a time: in one, about to begin, being prepared, being answered."""
MOST_THREADS = 32


@dataclass(frozen=True)
class Limits:
    """What a batcher takes together, and for how many milliseconds the first waits for company."""

    max_batch: int = 1
    max_wait_ms: float = 0.0


def measured(embedder: Embedder) -> Limits:
    """The limits for this model on this device; none are measured where calls are not shared."""
    if not embedder.mixes_lengths:
        return Limits()
    spectrogram = np.random.default_rng(0).normal(size=(embedder.config.bins, FRAMES)).astype(np.float32)
    seconds: dict[int, float] = {}
    for size in SIZES:
        batch = [spectrogram] * size
        embedder.run(batch)  # the first call of a shape chooses its algorithms
        seconds[size] = min(_timed(embedder, batch) for _ in range(REPEATS))
    return chosen(seconds)


def threads_for(embedder: Embedder, max_batch: int) -> int:
    """How many threads keep the network fed: so many calls, each of so many requests, and as much on its way."""
    calls = max(2, max_batch) // 2 if embedder.mixes_lengths else embedder.streams
    return min(MOST_THREADS, THREADS_A_CALL * calls)


def chosen(seconds: Mapping[int, float]) -> Limits:
    """The limits for calls that take so many seconds by batch size; sizes 1 and 2 are among them.

    Waiting never costs more than it saves: the first of two waits for at most what the two spare by one call, halved,
    since both of them wait for the longer call too.
    """
    rates = {size: size / took for size, took in seconds.items()}
    best = max(rates.values())
    max_batch = min(size for size, rate in rates.items() if rate >= NEAR_BEST * best)
    spared = max(0.0, 2 * seconds[1] - seconds[2])
    wait = min(LONGEST_WAIT_MS, 1e3 * spared / 2) if max_batch > 1 else 0.0
    return Limits(max_batch, round(wait, 3))


def _timed(embedder: Embedder, batch: list[np.ndarray]) -> float:
    started = time.perf_counter()
    embedder.run(batch)
    return time.perf_counter() - started
