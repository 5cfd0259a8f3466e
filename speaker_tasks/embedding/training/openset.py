"""Open-set measures on held-out speakers: probes against people enrolled from several recordings, as in a bank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from banks.vectors import unit
from speaker_tasks.embedding.training.probes import Probes
from speaker_tasks.scoring.calibration import Calibration
from speaker_tasks.scoring.cohort import Cohort
from speaker_tasks.scoring.metrics import ErrorCurve
from speaker_tasks.scoring.thresholds import FALSE_ACCEPT_RATE, OperatingPoints, least_speech

ENROLLED_CLIPS = 3
"""Recordings behind each enrolled vector of the trials."""
HALVES = 100
MOST_HALVES = 0.9
LEAST_PEOPLE = 30
"""See `guarded`."""
OPERATING_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds of speech of the probes that are tried against the enrolled."""


@dataclass(frozen=True)
class ModelTrials:
    """Probes of a length against enrolled speakers of one corpus: `(P, G)` each, a column for each enrolled vector."""

    cosines: np.ndarray
    standing: np.ndarray
    """How far the cosines stand out from those with the cohort: `slope` times the cosine, less an offset."""
    slope: np.ndarray
    target: np.ndarray
    """Whether it is the probe's speaker."""
    fair: np.ndarray
    """Whether the probe shares no recording with those that were enrolled."""
    speech: np.ndarray
    """`(P,)` seconds of speech of the probes."""
    speakers: np.ndarray
    """`(P,)`, of the probes."""
    owners: np.ndarray
    """`(G,)`, of the enrolled vectors."""

    @classmethod
    def of(cls, whole: Probes, probes: Probes, cohort: Cohort | None) -> ModelTrials:
        """Each speaker is enrolled several times, from `ENROLLED_CLIPS` whole recordings at a time.

        Without a cohort a cosine stands for itself.
        """
        groups = _groups(whole.speakers)
        means = unit(np.stack([whole.vectors[group].mean(axis=0) for group in groups]))
        shared = np.stack([probes.made_of[:, group].any(axis=1) for group in groups], axis=1)
        owners = np.array([whole.speakers[group[0]] for group in groups])
        target = probes.speakers[:, None] == owners[None, :]
        cosines = probes.vectors @ means.T
        slope, offset = np.ones(cosines.shape), np.zeros(cosines.shape)
        if cohort is not None:
            rows = cohort.nearest(probes.vectors).at((slice(None), None))
            slope, offset = rows.reading(cohort.nearest(means))
        standing = slope * cosines - offset
        return cls(cosines, standing, slope, target, ~shared, probes.speech, probes.speakers, owners)

    def flat(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Standings, seconds of speech and whether it is the speaker, `(K,)` each, of the fair trials."""
        seconds = np.broadcast_to(self.speech[:, None], self.cosines.shape)
        return self.standing[self.fair], seconds[self.fair], self.target[self.fair]

    def eer(self) -> float:
        """The equal error rate of the fair trials."""
        scores, _, target = self.flat()
        return ErrorCurve.of(scores[target], scores[~target]).eer()

    def leads(self, threshold: float) -> np.ndarray:
        """How far other speakers are ahead of the probe's own, as cosines, `(K,)`: all pairs.

        Who does not stand out by the threshold would not be named: what is missing there counts as a lead below zero.
        """
        margins = [np.zeros(0)]
        rows = zip(self.cosines, self.target, self.fair, (self.standing - threshold) / self.slope, strict=True)
        for cosines, target, fair, over in rows:
            lead = cosines[fair & ~target][:, None] - cosines[fair & target][None, :]
            missing = over[fair & ~target][:, None]
            margins.append(np.where(missing >= 0, lead, np.minimum(lead, missing)).ravel())
        return np.concatenate(margins)


def guarded(points: OperatingPoints, trials: Mapping[float, Sequence[ModelTrials]]) -> OperatingPoints:
    """The points, raised until they hold for banks of people who are alike.

    Trials are not independent, as `for_bank` takes them to be: a rate that holds on average is exceeded in a bank whose
    people, and whose strangers, are all of one kind. So the thresholds are those with which in `MOST_HALVES` of random
    halves of each corpus of `LEAST_PEOPLE` and more, one enrolled and one of strangers, no stranger's probe passes.
    Where a share of `FALSE_ACCEPT_RATE` of them might, the people of a corpus that was left out of the fit exceeded
    that share (1.2 to 1.9 %).
    """
    by = {}
    for seconds, parts in trials.items():
        draw = np.random.default_rng(HALVES)
        large = [part for part in parts if len(np.unique(part.owners)) >= LEAST_PEOPLE]
        by[seconds] = max([0.0, *(_missing(points, part, seconds, draw) for part in large)])
    return points.raised(by)


def _missing(points: OperatingPoints, part: ModelTrials, seconds: float, draw: np.random.Generator) -> float:
    """How much more than the points ask for would have to be asked in banks of a corpus' people."""
    thresholds = []
    for _ in range(HALVES):
        people = draw.permutation(np.unique(part.owners))
        chosen = people[: len(people) // 2]
        columns = [int(draw.choice(np.flatnonzero(part.owners == one))) for one in chosen]
        best = part.standing[np.isin(part.speakers, chosen, invert=True)][:, columns].max(axis=1)
        if len(best):
            thresholds.append(best.max())
    expected = points.for_bank(FALSE_ACCEPT_RATE, seconds, len(np.unique(part.owners)) // 2)
    return float(np.quantile(thresholds, MOST_HALVES)) - expected if thresholds else 0.0


def operating(trials: Mapping[float, Sequence[ModelTrials]]) -> dict[str, Any]:
    """The card's entry `operating`, from trials by seconds of speech, one a corpus.

    All trials weigh the same; the thresholds are `guarded`.

    Thresholds and calibration are of standings. Beside them it holds `margins`, a table of the same kind, of cosines:
    how far another enrolled speaker is ahead of the right one, by rate; and `least_speech`, the seconds from which on
    it is worth deciding.
    """
    strangers = {
        seconds: [np.concatenate([one.standing[one.fair & ~one.target] for one in parts])]
        for seconds, parts in trials.items()
    }
    points = guarded(OperatingPoints.fit(strangers), trials)
    threshold = {seconds: points.threshold(FALSE_ACCEPT_RATE, seconds) for seconds in trials}
    leads = {
        seconds: [np.concatenate([one.leads(threshold[seconds]) for one in parts])] for seconds, parts in trials.items()
    }
    eers = {seconds: float(np.mean([one.eer() for one in parts])) for seconds, parts in trials.items()}
    columns = zip(*(one.flat() for parts in trials.values() for one in parts), strict=True)
    scores, speech, target = (np.concatenate(column) for column in columns)
    return {
        **points.to_dict(),
        "margins": OperatingPoints.fit(leads).to_dict(),
        "least_speech": least_speech(eers),
        "eer": {f"{seconds:g}": round(eer, 4) for seconds, eer in eers.items()},
        "enrolled_clips": ENROLLED_CLIPS,
        "impostor_trials": int((~target).sum()),
        "target_trials": int(target.sum()),
        "calibration": Calibration.fit(scores, speech, target).to_dict(),
    }


def _groups(speakers: np.ndarray) -> list[np.ndarray]:
    """Indices of the recordings of each enrolment."""
    groups: list[np.ndarray] = []
    for speaker in np.unique(speakers):
        own = np.flatnonzero(speakers == speaker)
        starts = range(0, len(own) - ENROLLED_CLIPS + 1, ENROLLED_CLIPS)
        groups.extend(own[start : start + ENROLLED_CLIPS] for start in starts)
    return groups
