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

from banks.vectors import unit
from enrollment.report import Reason
from speaker_tasks.settings import Settings

ENOUGH_SPEAKERS, ENOUGH_RECORDINGS = 5, 20
"""From here on the job itself tells what chance looks like."""
SPREAD = 2.0
"""Standard deviations below the usual that make a recording suspicious."""
SAMPLE = 1500
"""Recordings and speakers that are looked at for that, at most."""
MARGIN = 0.15
"""A recording that fits another speaker of the job better than its own by this much is mislabelled."""
MIXED_SHARE = 0.25
"""Of two voices under one name, that of so few of the recordings is the wrong one."""
MIXED_GAP = 0.2
"""How much more alike the recordings of each voice are to each other than to the other's, where chance is 0."""
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
    mixed: float = 0.45
    """Cosine between the means of two halves of a speaker's recordings below which they may be two people."""


def thresholds(settings: Settings) -> Thresholds:
    """The gates' thresholds as they are set."""
    return Thresholds(
        clip_speech=settings.gate_clip_speech,
        speaker_speech=settings.gate_speaker_speech,
        snr=settings.gate_snr,
        clipped=settings.gate_clipped,
        outlier=settings.gate_outlier,
        agreement=settings.gate_agreement,
        twin=settings.gate_twin,
        mixed=settings.gate_mixed,
    )


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
class EnrolledVoice:
    """A speaker whom the bank has already: its mean (D,), recordings and seconds."""

    mean: np.ndarray
    count: int
    seconds: float
    vectors: np.ndarray | None = None
    """(K, D) of its recordings; None where the bank keeps none."""

    def clips(self) -> np.ndarray:
        """Its recordings, or its mean for one or two of them."""
        return np.repeat(self.mean[None], min(2, max(1, self.count)), axis=0) if self.vectors is None else self.vectors


@dataclass(frozen=True)
class Mixed:
    """A speaker whose recordings are of two voices."""

    speaker: str
    halves: tuple[tuple[str, ...], tuple[str, ...]]
    """The keys of the recordings of each; those of the bank are not among them."""
    enrolled: tuple[int, int]
    """How many of the bank's recordings are of each."""
    cosine: float
    """Between the means of the two."""

    @property
    def clear(self) -> bool:
        """Whether each voice has two recordings: of two that disagree nobody can tell that it is not one voice."""
        return all(len(keys) + enrolled >= 2 for keys, enrolled in zip(self.halves, self.enrolled, strict=True))

    @property
    def doubtful(self) -> tuple[str, ...]:
        """The recordings that may not be the speaker's: the few against many, or those not of the bank's voice."""
        sizes = [len(keys) + enrolled for keys, enrolled in zip(self.halves, self.enrolled, strict=True)]
        few = MIXED_SHARE * sum(sizes)
        right = [
            min(sizes) <= few < size or (enrolled > 0 and few < min(sizes))
            for size, enrolled in zip(sizes, self.enrolled, strict=True)
        ]
        if all(right) or not any(right):
            return self.halves[0] + self.halves[1]
        return self.halves[right.index(False)]


@dataclass(frozen=True)
class Chance:
    """What cosines look like in this job."""

    outlier: float
    agreement: float
    twin: float
    mixed: float


@dataclass(frozen=True)
class Verdict:
    """Why a recording is left out."""

    reason: Reason
    message: str


@dataclass
class Voices:
    """The recordings of a job by speaker, with those that the bank has."""

    candidates: Sequence[Candidate]
    enrolled: Mapping[str, EnrolledVoice] = field(default_factory=dict)

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
        if speaker in self.enrolled:
            total = total + self.enrolled[speaker].mean * max(1, self.enrolled[speaker].count)
        return unit(total) if mine or speaker in self.enrolled else None

    def means(self) -> np.ndarray:
        """(S, D) the normalised mean of each speaker, in the order of `labels`."""
        means = [unit(self.vectors[rows].sum(axis=0)) for rows in self.rows.values()]
        return np.stack(means) if means else self.vectors


def single(one: Candidate, thresholds: Thresholds) -> Verdict | None:
    """What is wrong with a recording by itself."""
    if one.speech < thresholds.clip_speech:
        return Verdict(
            Reason.TOO_LITTLE_SPEECH,
            f"{one.speech:.2f} s of speech in {one.seconds:.2f} s; at least {thresholds.clip_speech:g} s are wanted",
        )
    if one.clipped > thresholds.clipped:
        return Verdict(Reason.CLIPPED, f"{one.clipped:.0%} of it is cut off; at most {thresholds.clipped:.0%} may be")
    if one.snr < thresholds.snr:
        return Verdict(
            Reason.NOISY, f"speech is {one.snr:.0f} dB over the noise; at least {thresholds.snr:g} dB are wanted"
        )
    return None


def chance(voices: Voices, thresholds: Thresholds) -> Chance:
    """What cosines are usual between speakers, and within one, in this job; the settings' where it is small."""
    if len(voices.labels) < ENOUGH_SPEAKERS or len(voices.candidates) < ENOUGH_RECORDINGS:
        return Chance(thresholds.outlier, thresholds.agreement, thresholds.twin, thresholds.mixed)
    random = np.random.default_rng(0)
    rows = random.permutation(len(voices.candidates))[:SAMPLE]
    columns = random.permutation(len(voices.labels))[:SAMPLE]
    cosines = voices.vectors[rows] @ voices.means()[columns].T
    owner = np.array([voices.labels.index(voices.candidates[row].speaker) for row in rows])
    between = cosines[owner[:, None] != columns[None, :]]
    own = [float(voices.vectors[row] @ mean) for row in rows if (mean := voices.others(int(row))) is not None]
    usual, twin, mixed = float(between.mean()), thresholds.twin, thresholds.mixed
    if len(own) >= ENOUGH_RECORDINGS:
        twin, mixed = max(twin, float(np.quantile(own, 0.75))), (usual + float(np.median(own))) / 2
    return Chance(usual, usual - float(between.std()), twin, mixed)


def outliers(voices: Voices, usual: Chance) -> dict[str, Verdict]:
    """Recordings that are unlike the others of their speaker: those of somebody else.

    The worst of a speaker goes first and the rest are looked at again. With two recordings that disagree, nobody can
    tell which is the wrong one, so both stay; `Voices.enrolled` may decide.
    """
    verdicts: dict[str, Verdict] = {}
    means = voices.means()
    for speaker, rows in voices.rows.items():
        left = list(rows)
        own_mean = voices.labels.index(speaker)
        while len(left) + (1 if speaker in voices.enrolled else 0) > 2:
            scores = [_own_score(voices, row, left) for row in left]
            worst = int(np.argmin(scores))
            row, score = left[worst], scores[worst]
            elsewhere = np.delete(means, own_mean, axis=0) @ voices.vectors[row]
            best = float(elsewhere.max()) if len(elsewhere) else -1.0
            if score >= usual.outlier and best < score + MARGIN:
                break
            verdicts[voices.candidates[row].key] = Verdict(
                Reason.OUTLIER, f"unlike the other recordings of {speaker}: cosine {score:.2f}"
            )
            left.pop(worst)
    return verdicts


def mixed(voices: Voices, usual: Chance) -> list[Mixed]:
    """Speakers whose recordings, the bank's counted, are of two voices, or of two that disagree."""
    mixtures = []
    for speaker, rows in voices.rows.items():
        enrolled = (
            voices.enrolled[speaker].clips() if speaker in voices.enrolled else np.zeros((0, voices.vectors.shape[1]))
        )
        vectors = np.concatenate([voices.vectors[rows], enrolled]).astype(np.float64)
        second = _second_half(vectors)
        sizes = np.array([len(vectors) - second.sum(), second.sum()])
        if sizes.min() < min(2, len(vectors) / 2):
            continue  # a single one is an outlier
        means = [unit(vectors[~second].sum(axis=0)), unit(vectors[second].sum(axis=0))]
        cosine = float(means[0] @ means[1])
        gap = min(_alike(vectors[~second]), _alike(vectors[second])) - float(
            np.mean(vectors[~second] @ vectors[second].T)
        )
        if cosine < usual.mixed and gap >= MIXED_GAP * (1 - usual.outlier):
            mine, banks = second[: len(rows)], second[len(rows) :]
            keys = [voices.candidates[row].key for row in rows]
            sides = list(zip(keys, mine.tolist(), strict=True))
            halves = tuple(key for key, side in sides if not side), tuple(key for key, side in sides if side)
            mixtures.append(Mixed(speaker, halves, (int((~banks).sum()), int(banks.sum())), cosine))
    return mixtures


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
    return min(float(unit(parts[a]) @ unit(parts[b])) for a, b in pairs)


def too_little(voices: Voices, thresholds: Thresholds) -> dict[str, Verdict]:
    """All recordings of speakers who do not speak long enough in all, the bank's recordings counted."""
    verdicts = {}
    for speaker, rows in voices.rows.items():
        before = voices.enrolled[speaker].seconds if speaker in voices.enrolled else 0.0
        speech = before + sum(voices.candidates[row].speech for row in rows)
        if speech < thresholds.speaker_speech:
            message = (
                f"{speech:.2f} s of speech of {speaker} in all; at least {thresholds.speaker_speech:g} s are wanted"
            )
            verdict = Verdict(Reason.TOO_LITTLE_SPEECH, message)
            verdicts.update({voices.candidates[row].key: verdict for row in rows})
    return verdicts


def twins(labels: Sequence[str], vectors: np.ndarray, usual: Chance) -> list[tuple[str, str, float]]:
    """Pairs of speakers who are nearly the same vector, most alike first."""
    if not 1 < len(labels) <= MOST_SPEAKERS:
        return []
    rows = unit(vectors)
    pairs = []
    for start in range(0, len(rows), BLOCK):
        cosines = rows[start : start + BLOCK] @ rows.T
        for row, column in zip(*np.nonzero(cosines > usual.twin), strict=True):
            if start + row < column and labels[start + row] != labels[column]:
                pairs.append((labels[start + row], labels[column], float(cosines[row, column])))
    return sorted(pairs, key=lambda pair: -pair[2])


def _second_half(vectors: np.ndarray) -> np.ndarray:
    """(N,) bool: which of the unit vectors (N, D) are with the second of the two that are least alike (2-means)."""
    cosines = vectors @ vectors.T
    centres = vectors[list(np.unravel_index(np.argmin(cosines), cosines.shape))]
    second = np.zeros(len(vectors), bool)
    for _ in range(10):
        nearer = vectors @ centres[1] > vectors @ centres[0]
        if nearer.all() or not nearer.any() or np.array_equal(nearer, second):
            return nearer
        second = nearer
        centres = np.stack([unit(vectors[~second].sum(axis=0)), unit(vectors[second].sum(axis=0))])
    return second


def _alike(vectors: np.ndarray) -> float:
    """The mean cosine between two of the unit vectors; 1 for a single one."""
    count = len(vectors)
    return 1.0 if count < 2 else float((np.sum(vectors @ vectors.T) - count) / (count * (count - 1)))


def _own_score(voices: Voices, row: int, left: Sequence[int]) -> float:
    speaker = voices.candidates[row].speaker
    mine = [one for one in left if one != row]
    total = voices.vectors[mine].sum(axis=0)
    if speaker in voices.enrolled:
        total = total + voices.enrolled[speaker].mean * max(1, voices.enrolled[speaker].count)
    return float(voices.vectors[row] @ unit(total))
