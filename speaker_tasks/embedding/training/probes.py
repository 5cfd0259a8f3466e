"""Probes: stretches of held-out speakers' recordings that hold a known amount of speech, as serving measures it.

A person who asks the service has more or less speech than one recording of a corpus; probes are cut from one recording
and the next ones of the same speaker, until the detector of `speech.measure` hears the seconds that are wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.embedding.features import SAMPLE_RATE
from speaker_tasks.embedding.speech import measure

TOLERANCE = 0.08
"""How far the speech of a probe may be from what is wanted, as a share of it."""
_TRIES = 8
_MOST_SOUND = 3.0
"""Sound in which the wanted speech must be found, in multiples of it."""
_BATCH = 32
MOST_PROBES = 4
"""Of each length and speaker."""


@dataclass(frozen=True)
class Recordings:
    """The recordings of one corpus: samples `(T,)` each at 16 kHz, and speakers `(N,)`."""

    samples: Sequence[np.ndarray]
    speakers: np.ndarray


@dataclass(frozen=True)
class Probes:
    """Embedded probes of one length."""

    vectors: np.ndarray
    """`(P, D)` unit rows."""
    speakers: np.ndarray
    """`(P,)`."""
    speech: np.ndarray
    """`(P,)` seconds of speech."""
    made_of: np.ndarray
    """`(P, N)` bool: which recordings a probe is cut from."""

    @classmethod
    def of_whole(cls, embedder: Embedder, recordings: Recordings) -> Probes:
        """Each recording as it is."""
        speech = np.array([measure(samples).speech for samples in recordings.samples])
        vectors = embedded(embedder, recordings.samples)
        return cls(vectors, recordings.speakers, speech, np.eye(len(speech), dtype=bool))

    @classmethod
    def cut(cls, embedder: Embedder, recordings: Recordings, seconds: float) -> Probes:
        """Probes of `seconds` of speech, each from another recording on, where the speaker has recorded so much."""
        cuts: list[tuple[int, np.ndarray, float, np.ndarray]] = []
        probes: Counter[str] = Counter()
        for first, speaker in enumerate(recordings.speakers):
            if probes[speaker] == MOST_PROBES:
                continue
            sound, ends = _from(recordings, first, seconds)
            if (stretch := with_speech(sound, seconds)) is not None:
                made_of = np.zeros(len(recordings.samples), bool)
                made_of[[index for index, start in ends if start < len(stretch)]] = True
                cuts.append((first, stretch, measure(stretch).speech, made_of))
                probes[speaker] += 1
        if not cuts:
            nobody = recordings.speakers[:0]
            return cls(
                np.zeros((0, embedder.embedding_size)),
                nobody,
                np.zeros(0),
                np.zeros((0, len(recordings.samples)), bool),
            )
        firsts, stretches, speech, made_of_each = zip(*cuts, strict=True)
        vectors = embedded(embedder, stretches)
        return cls(vectors, recordings.speakers[list(firsts)], np.array(speech), np.stack(made_of_each))


def with_speech(samples: np.ndarray, seconds: float) -> np.ndarray | None:
    """The beginning of `samples` `(T,)` that holds `seconds` of speech, nearly; None if there is not so much."""
    length = int(1.3 * seconds * SAMPLE_RATE)
    for _ in range(_TRIES):
        length = min(length, len(samples))
        heard = measure(samples[:length]).speech
        if abs(heard - seconds) <= TOLERANCE * seconds:
            return samples[:length]
        if heard < seconds and length == len(samples):
            return None
        length = int(length * min(2.0, max(0.5, seconds / max(heard, 0.01))))
    return None


def embedded(embedder: Embedder, clips: Sequence[np.ndarray]) -> np.ndarray:
    """The vectors of clips of any lengths, `(N, D)`."""
    return np.concatenate([embedder.embed_many(clips[at : at + _BATCH]) for at in range(0, len(clips), _BATCH)])


def _from(recordings: Recordings, first: int, seconds: float) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """A recording and the speaker's next ones, as long as could be needed; with each one's index and first sample."""
    parts: list[np.ndarray] = []
    starts: list[tuple[int, int]] = []
    length, most = 0, int(_MOST_SOUND * seconds * SAMPLE_RATE)
    for index in range(first, len(recordings.samples)):
        if recordings.speakers[index] == recordings.speakers[first] and length < most:
            starts.append((index, length))
            parts.append(recordings.samples[index])
            length += len(parts[-1])
    return np.concatenate(parts), starts
