"""Evaluation of a model on people's own recordings: trials, error rates, confusions, calibration.

Vectors in, `Report` out. Trials are all pairs of clips, or a list; identification enrols a speaker's first clips.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from banks.vectors import unit
from speaker_tasks.scoring.calibration import Calibration, cllr
from speaker_tasks.scoring.metrics import ErrorCurve

ENROLLED_CLIPS = 3
FALSE_ACCEPT_RATES = (0.05, 0.02, 0.01, 0.005, 0.001)


@dataclass(frozen=True)
class Utterances:
    """Embedded clips: `names` and `speakers` of length N, `vectors` (N, D) unit rows, `seconds` (N,) of speech."""

    names: Sequence[str]
    speakers: np.ndarray
    vectors: np.ndarray
    seconds: np.ndarray

    @classmethod
    def nameless(cls, speakers: np.ndarray, vectors: np.ndarray, seconds: np.ndarray) -> Utterances:
        """Clips that nobody will list, named by their numbers."""
        return cls(list(map(str, range(len(speakers)))), speakers, vectors, seconds)

    def where(self, chosen: np.ndarray) -> Utterances:
        """The clips of a boolean mask or an array of indices."""
        indices = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        names = [self.names[int(index)] for index in indices]
        return Utterances(names, self.speakers[indices], self.vectors[indices], self.seconds[indices])


@dataclass(frozen=True)
class Trials:
    """Verification trials: `scores`, `seconds` (of the shorter side) and `target` (one speaker), each `(K,)`."""

    scores: np.ndarray
    seconds: np.ndarray
    target: np.ndarray

    @classmethod
    def all_pairs(cls, utterances: Utterances) -> Trials:
        """Every pair of two clips."""
        left, right = np.triu_indices(len(utterances.speakers), 1)
        return cls.of_pairs(utterances, left, right, utterances.speakers[left] == utterances.speakers[right])

    @classmethod
    def of_pairs(cls, utterances: Utterances, left: np.ndarray, right: np.ndarray, target: np.ndarray) -> Trials:
        """Pairs by index, `(K,)` each."""
        scores = np.einsum("kd,kd->k", utterances.vectors[left], utterances.vectors[right])
        return cls(scores, np.minimum(utterances.seconds[left], utterances.seconds[right]), target)

    @classmethod
    def joined(cls, parts: Sequence[Trials]) -> Trials:
        """The trials of several sets as one."""
        columns = zip(*((part.scores, part.seconds, part.target) for part in parts), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def curve(self) -> ErrorCurve:
        """The error curve; raises ValueError when targets or impostors are missing."""
        return ErrorCurve.of(self.scores[self.target], self.scores[~self.target])


@dataclass(frozen=True)
class Identification:
    """Closed-set identification: the share answered right, and how often each speaker was taken for another."""

    trials: int
    top1: float
    confusions: list[dict[str, Any]] = field(default_factory=list)
    """`{"speaker", "answered", "times"}`, most frequent first."""

    @classmethod
    def of(cls, utterances: Utterances, *, enrolled: int = ENROLLED_CLIPS) -> Identification | None:
        """Enrol the mean of each speaker's first clips, try the rest; None when nobody has clips to spare."""
        enrolment = _first_of_each(utterances.speakers, enrolled)
        if enrolment.all():
            return None
        names = np.unique(utterances.speakers)
        bank = np.stack([utterances.vectors[enrolment & (utterances.speakers == name)].mean(axis=0) for name in names])
        answers = names[np.argmax(utterances.vectors[~enrolment] @ bank.T, axis=1)]
        truth = utterances.speakers[~enrolment]
        wrong = Counter((str(t), str(a)) for t, a in zip(truth, answers, strict=True) if t != a)
        confusions = [{"speaker": t, "answered": a, "times": n} for (t, a), n in wrong.most_common()]
        return cls(len(truth), float(np.mean(answers == truth)), confusions)


@dataclass(frozen=True)
class Report:
    """What `speaker-tasks evaluate` prints and writes."""

    model: str
    clips: int
    speakers: int
    trials: Trials
    curve: ErrorCurve
    identification: Identification | None
    calibration: Calibration

    @classmethod
    def of(cls, model: str, utterances: Utterances, trials: Trials | None = None) -> Report:
        """Measure; raises ValueError when there are no trials of one speaker or of two."""
        trials = trials or Trials.all_pairs(utterances)
        return cls(
            model=model,
            clips=len(utterances.speakers),
            speakers=len(np.unique(utterances.speakers)),
            trials=trials,
            curve=trials.curve(),
            identification=Identification.of(utterances),
            calibration=Calibration.fit(trials.scores, trials.seconds, trials.target),
        )

    def thresholds(self) -> list[dict[str, float]]:
        """For each false accept rate its threshold and the false rejects there."""
        rows = []
        for rate in FALSE_ACCEPT_RATES:
            threshold = self.curve.threshold_at(rate)
            accepted, rejected = self.curve.rates_at(threshold)
            rows.append({"target_far": rate, "threshold": threshold, "far": accepted, "frr": rejected})
        return [row for row in rows if np.isfinite(row["threshold"])]

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON: rates in [0, 1]."""
        llr = self.calibration.llr(self.trials.scores, self.trials.seconds)
        identification = self.identification
        return {
            "model": self.model,
            "clips": self.clips,
            "speakers": self.speakers,
            "trials": {"target": int(self.trials.target.sum()), "impostor": int((~self.trials.target).sum())},
            "eer": self.curve.eer(),
            "min_dcf": self.curve.min_dcf(),
            "top1": identification.top1 if identification else None,
            "top1_trials": identification.trials if identification else 0,
            "confusions": identification.confusions if identification else [],
            "thresholds": self.thresholds(),
            "calibration": self.calibration.to_dict(),
            "cllr": cllr(llr, self.trials.target),
        }


def open_set(enrolled: Utterances, probes: Utterances, *, fpir: float = 0.01, splits: int = 20) -> float:
    """TPIR at an FPIR: the share of the enrolled who are named rightly when so many strangers are accepted.

    Half of the speakers, drawn `splits` times, are enrolled from the first clips that `enrolled` has of them; the
    others are strangers. `probes` holds the same clips, perhaps shortened or noisy; those that were enrolled are not
    tried. Speakers without a clip to spare are left out.
    """
    first = _first_of_each(enrolled.speakers, ENROLLED_CLIPS)
    names = np.unique(probes.speakers[~first])
    bank = unit(np.stack([enrolled.vectors[first & (enrolled.speakers == name)].mean(axis=0) for name in names]))
    scores = probes.vectors[~first] @ bank.T
    truth = np.searchsorted(names, probes.speakers[~first])
    draw, rates = np.random.default_rng(0), []
    for _ in range(splits):
        chosen = np.sort(draw.permutation(len(names))[: len(names) // 2])
        is_enrolled = np.isin(truth, chosen)
        best, answers = scores[:, chosen].max(axis=1), chosen[scores[:, chosen].argmax(axis=1)]
        threshold = np.quantile(best[~is_enrolled], 1 - fpir)
        rates.append(np.mean((answers == truth)[is_enrolled] & (best[is_enrolled] > threshold)))
    return float(np.mean(rates))


def _first_of_each(speakers: np.ndarray, count: int) -> np.ndarray:
    """A mask of the first `count` clips of each speaker, in the given order."""
    mask = np.zeros(len(speakers), bool)
    for speaker in np.unique(speakers):
        mask[np.flatnonzero(speakers == speaker)[:count]] = True
    return mask
