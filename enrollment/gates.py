"""Quality gates: which recordings would spoil a bank, each with its reason; pure functions of measures and vectors.

How alike two vectors of one voice, or of two, usually are depends on the model. With enough recordings in the job that
is taken from the job itself: the cosines of recordings with other speakers' means tell what chance looks like. Small
jobs use the thresholds of the settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from enrollment.report import Reason

ENOUGH_SPEAKERS, ENOUGH_RECORDINGS = 5, 20
"""From here on the job itself tells what chance looks like."""
SPREAD = 2.0
"""Standard deviations below the usual that make a recording suspicious."""
SAMPLE = 1500
"""Recordings and speakers that are looked at for that, at most."""
MARGIN = 0.15
"""A recording that fits another speaker of the job better than its own by this much is mislabelled."""
MOST_SPEAKERS = 20_000
"""Beyond this many speakers the pairs are not compared with each other."""
BLOCK = 1024


@dataclass(frozen=True)
class Thresholds:
    """What is asked of recordings. Cosines are for small jobs; see the module."""

    clip_speech: float = 1.0
    """Seconds of speech in a recording."""
    speaker_speech: float = 3.0
    """Seconds of speech of a speaker in all."""
    snr: float = 5.0
    """Speech over noise, in dB."""
    clipped: float = 0.05
    """Share of samples that may be cut off."""
    outlier: float = 0.3
    """Cosine of a recording with its speaker's others."""
    agreement: float = 0.3
    """Cosine between the parts of a recording."""
    twin: float = 0.9
    """Cosine between the means of two speakers above which they may be one person."""


@dataclass(frozen=True)
class Candidate:
    """One recording that was embedded: whose it is, its measures and its vector (D,)."""

    key: str
    speaker: str
    vector: np.ndarray
    seconds: float
    speech: float
    snr: float
    clipped: float
    agreement: float = 1.0


@dataclass(frozen=True)
class Known:
    """A speaker whom the bank has already: its mean (D,), recordings and seconds."""

    mean: np.ndarray
    count: int
    seconds: float


@dataclass(frozen=True)
class Chance:
    """What cosines look like in this job."""

    outlier: float
    agreement: float
    twin: float


@dataclass(frozen=True)
class Verdict:
    """Why a recording is left out."""

    reason: Reason
    message: str


@dataclass
class Voices:
    """The recordings of a job by speaker, with those that the bank has."""

    candidates: Sequence[Candidate]
    known: Mapping[str, Known] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows: dict[str, list[int]] = {}
        for row, one in enumerate(self.candidates):
            self.rows.setdefault(one.speaker, []).append(row)
        self.labels = list(self.rows)
        self.vectors = np.stack([one.vector for one in self.candidates]) if self.candidates else np.zeros((0, 1))

    def others(self, row: int) -> np.ndarray | None:
        """The normalised mean of a speaker's other recordings, the bank's included; None if there are none."""
        speaker = self.candidates[row].speaker
        mine = [one for one in self.rows[speaker] if one != row]
        total = self.vectors[mine].sum(axis=0) if mine else np.zeros(self.vectors.shape[1])
        if speaker in self.known:
            total = total + self.known[speaker].mean * max(1, self.known[speaker].count)
        return _unit(total) if mine or speaker in self.known else None

    def means(self) -> np.ndarray:
        """(S, D) the normalised mean of each speaker, in the order of `labels`."""
        return np.stack([_unit(self.vectors[rows].sum(axis=0)) for rows in self.rows.values()])


def single(one: Candidate, asked: Thresholds) -> Verdict | None:
    """What is wrong with a recording by itself."""
    if one.speech < asked.clip_speech:
        return Verdict(
            Reason.TOO_LITTLE_SPEECH,
            f"{one.speech:.2f} s of speech in {one.seconds:.2f} s; at least {asked.clip_speech:g} s are wanted",
        )
    if one.clipped > asked.clipped:
        return Verdict(Reason.CLIPPED, f"{one.clipped:.0%} of it is cut off; at most {asked.clipped:.0%} may be")
    if one.snr < asked.snr:
        return Verdict(Reason.NOISY, f"speech is {one.snr:.0f} dB over the noise; at least {asked.snr:g} dB are wanted")
    return None


def chance(voices: Voices, asked: Thresholds) -> Chance:
    """What cosines are usual between speakers, and within one, in this job; the settings' where it is small."""
    if len(voices.labels) < ENOUGH_SPEAKERS or len(voices.candidates) < ENOUGH_RECORDINGS:
        return Chance(asked.outlier, asked.agreement, asked.twin)
    random = np.random.default_rng(0)
    rows = random.permutation(len(voices.candidates))[:SAMPLE]
    columns = random.permutation(len(voices.labels))[:SAMPLE]
    cosines = voices.vectors[rows] @ voices.means()[columns].T
    owner = np.array([voices.labels.index(voices.candidates[row].speaker) for row in rows])
    between = cosines[owner[:, None] != columns[None, :]]
    own = [float(voices.vectors[row] @ mean) for row in rows if (mean := voices.others(int(row))) is not None]
    twin = max(asked.twin, float(np.quantile(own, 0.75))) if len(own) >= ENOUGH_RECORDINGS else asked.twin
    return Chance(float(between.mean()), float(between.mean() - between.std()), twin)


def outliers(voices: Voices, usual: Chance) -> dict[str, Verdict]:
    """Recordings that are unlike the others of their speaker: those of somebody else.

    The worst of a speaker goes first and the rest are looked at again. With two recordings that disagree, nobody can
    tell which is the wrong one, so both stay; `Voices.known` may decide.
    """
    found: dict[str, Verdict] = {}
    means = voices.means()
    for speaker, rows in voices.rows.items():
        left = list(rows)
        own_mean = voices.labels.index(speaker)
        while len(left) + (1 if speaker in voices.known else 0) > 2:
            scores = [_own_score(voices, row, left) for row in left]
            worst = int(np.argmin(scores))
            row, score = left[worst], scores[worst]
            elsewhere = np.delete(means, own_mean, axis=0) @ voices.vectors[row]
            best = float(elsewhere.max()) if len(elsewhere) else -1.0
            if score >= usual.outlier and best < score + MARGIN:
                break
            found[voices.candidates[row].key] = Verdict(
                Reason.OUTLIER, f"unlike the other recordings of {speaker}: cosine {score:.2f}"
            )
            left.pop(worst)
    return found


def suspects(voices: Voices, usual: Chance) -> list[str]:
    """Keys of recordings worth a second look for more than one voice: without others, or far less like them than usual.

    The least convincing come first.
    """
    scores: dict[str, float] = {}
    for row, one in enumerate(voices.candidates):
        others = voices.others(row)
        scores[one.key] = float(one.vector @ others) if others is not None else -1.0
    own = np.array([score for score in scores.values() if score > -1.0] or [usual.twin])
    least = min(usual.twin, float(np.median(own) - SPREAD * own.std()))
    single_window = {one.key for one in voices.candidates if one.agreement >= 1}
    return [key for key in sorted(scores, key=lambda key: scores[key]) if scores[key] < least and key in single_window]


def several_voices(one: Candidate, usual: Chance) -> Verdict | None:
    """Whether the parts of a recording are not of one voice."""
    if one.agreement >= usual.agreement:
        return None
    return Verdict(Reason.SEVERAL_VOICES, f"its parts are of several voices: cosine {one.agreement:.2f} between them")


def agreement(parts: np.ndarray) -> float:
    """The lowest cosine between neighbouring parts and between the first and the last; 1 for a single one."""
    if len(parts) < 2:
        return 1.0
    pairs = [*pairwise(range(len(parts))), (0, len(parts) - 1)]
    return min(float(_unit(parts[a]) @ _unit(parts[b])) for a, b in pairs)


def too_little(voices: Voices, asked: Thresholds) -> dict[str, Verdict]:
    """All recordings of speakers who do not speak long enough in all, the bank's recordings counted."""
    found = {}
    for speaker, rows in voices.rows.items():
        before = voices.known[speaker].seconds if speaker in voices.known else 0.0
        speech = before + sum(voices.candidates[row].speech for row in rows)
        if speech < asked.speaker_speech:
            message = f"{speech:.2f} s of speech of {speaker} in all; at least {asked.speaker_speech:g} s are wanted"
            verdict = Verdict(Reason.TOO_LITTLE_SPEECH, message)
            found.update({voices.candidates[row].key: verdict for row in rows})
    return found


def twins(labels: Sequence[str], vectors: np.ndarray, usual: Chance) -> list[tuple[str, str, float]]:
    """Pairs of speakers who are nearly the same vector, most alike first."""
    if not 1 < len(labels) <= MOST_SPEAKERS:
        return []
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    found = []
    for start in range(0, len(unit), BLOCK):
        cosines = unit[start : start + BLOCK] @ unit.T
        for row, column in zip(*np.nonzero(cosines > usual.twin), strict=True):
            if start + row < column and labels[start + row] != labels[column]:
                found.append((labels[start + row], labels[column], float(cosines[row, column])))
    return sorted(found, key=lambda pair: -pair[2])


def _own_score(voices: Voices, row: int, left: Sequence[int]) -> float:
    speaker = voices.candidates[row].speaker
    mine = [one for one in left if one != row]
    total = voices.vectors[mine].sum(axis=0)
    if speaker in voices.known:
        total = total + voices.known[speaker].mean * max(1, voices.known[speaker].count)
    return float(voices.vectors[row] @ _unit(total))


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
