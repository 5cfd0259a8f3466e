"""`speaker-tasks calibrate BANK`: a bank's own thresholds, from its own clips, leave-one-out.

Each kept clip is tried against its speaker without it, and against all others; where the model has a crowd, by how far
the cosines stand out from those with it (`embedding/crowd.py`). Where the two kinds of scores overlap too much, or
there is too little of them, no number is given, and that is said.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from speaker_tasks.commands.edge import connected_settings, console, who
from speaker_tasks.commands.service import AsJson, show_json
from speaker_tasks.errors import SpeakerTasksError, Unusable

if TYPE_CHECKING:
    from banks.bank import Bank
    from speaker_tasks.embedding.crowd import Crowd
    from speaker_tasks.settings import Settings

MIN_SPEAKERS, MIN_TARGETS, MIN_IMPOSTORS = 5, 20, 200
MAX_EER = 0.15
"""With more overlap than this a threshold would turn away too many who are enrolled."""
NOTHING = 1e-6
SPEECH_SHARE = 0.75
"""How much of a clip is speech, usually: a bank keeps its clips' lengths, and questions are judged by their speech."""


def calibrate(
    bank: Annotated[str, typer.Argument(help="The bank.")],
    dry_run: Annotated[bool, typer.Option(help="Measure, but keep nothing.")] = False,
    forget: Annotated[bool, typer.Option(help="Back to the model's own thresholds.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fit a bank's own thresholds from its own clips (leave-one-out), and keep them for its questions."""
    from speaker_tasks.bankkeeper import BankKeeper
    from speaker_tasks.celery_app import redis_client

    settings = connected_settings()
    keeper = BankKeeper(redis_client(settings), settings, who=who())
    if forget:
        gone = keeper.forget_calibration(bank)
        told = "the model's own thresholds are used again" if gone else "the bank had none of its own"
        show_json({"bank": bank, "forgotten": gone}) if as_json else console.print(f"{bank}: {told}")
        return
    kept = keeper.store.get(bank, clips=True)
    found = fit(kept, crowd_of(kept.model, settings))
    if not dry_run:
        keeper.calibrate(bank, found)
    if as_json:
        show_json({**found, "kept": not dry_run})
        return
    threshold, about = found["threshold"], " (the usual one: it differs by voice)" if found["standings"] else ""
    console.print(
        f"{bank}: {found['targets']} trials of one speaker, {found['impostors']} of two; "
        f"EER {100 * found['eer']:.1f} %\n"
        f"threshold {threshold:.3f}{about} for {found['speakers']} speakers at 1 % of strangers accepted; "
        f"{100 * found['rejects']:.1f} % of those enrolled would be turned away\n"
        + ("nothing kept (--dry-run)" if dry_run else "kept: identify and verify use it from now on"),
        soft_wrap=True,
    )


def crowd_of(model: str | None, settings: Settings) -> Crowd | None:
    """The crowd of a model's weights; None if it has none, or other weights than the bank's are set up here."""
    from speaker_tasks.embedding import weights
    from speaker_tasks.embedding.crowd import Crowd

    with suppress(SpeakerTasksError):
        card = weights.load(settings.model, path=settings.weights, data_dir=settings.data_dir).card
        if card.model_id == model:
            return Crowd.of_card(card.details)
    return None


def fit(bank: Bank, crowd: Crowd | None = None) -> dict[str, Any]:
    """The bank's operating points and what they were measured on. Raises `Unusable` if they cannot be told."""
    from speaker_tasks.embedding.calibration import Calibration
    from speaker_tasks.embedding.metrics import ErrorCurve
    from speaker_tasks.embedding.operating import FALSE_ACCEPT_RATE, OperatingPoints

    trials = leave_one_out(bank, crowd)
    scores, target, seconds = trials.scores, trials.target, trials.seconds
    _check_amount(bank, target)
    curve = ErrorCurve.of(scores[target], scores[~target])
    eer = curve.eer()
    if eer > MAX_EER:
        raise Unusable(
            f"bank {bank.name!r}: speakers and strangers overlap too much for a threshold: EER {100 * eer:.1f} %, at "
            f"most {100 * MAX_EER:.0f} % is wanted; look for wrong labels, noise, or clips that are too short",
            eer=round(eer, 4),
        )
    points = OperatingPoints.fit({float(np.median(seconds)): [scores[~target]]})
    people = len(set(bank.labels))
    asked = points.for_bank(FALSE_ACCEPT_RATE, float(np.median(seconds)), people)
    operating: dict[str, Any] = {**points.to_dict(), "standings": crowd is not None}
    if np.ptp(seconds) > 1.0:
        operating["calibration"] = Calibration.fit(scores, seconds, target).to_dict()
    return {
        "model": bank.model,
        "version": bank.version,
        "fitted": datetime.now(UTC).isoformat(timespec="seconds"),
        "speakers": people,
        "targets": int(target.sum()),
        "impostors": int((~target).sum()),
        "eer": round(eer, 4),
        "threshold": round(float(np.median(trials.cosine(asked)[target])), 4),
        "rejects": round(float(np.mean(scores[target] < asked)), 4),
        "standings": crowd is not None,
        "operating": operating,
    }


@dataclass(frozen=True)
class LeftOut:
    """Each clip against each speaker, its own without it; `(K,)` each."""

    scores: np.ndarray
    """Cosines, or how far these stand out from those with a crowd: `slope` times the cosine, less `offset`."""
    target: np.ndarray
    """Whether it is the clip's own speaker."""
    seconds: np.ndarray
    """Of speech."""
    slope: np.ndarray
    offset: np.ndarray

    def cosine(self, score: float) -> np.ndarray:
        """The cosines that give a score, one for each trial."""
        return (score + self.offset) / self.slope


def leave_one_out(bank: Bank, crowd: Crowd | None = None) -> LeftOut:
    """The bank's trials. Raises `Unusable` if it keeps no clips."""
    if bank.clips is None or not len(bank.clips):
        raise Unusable(f"bank {bank.name!r} keeps no clips: it came from a file that has none; enroll it again")
    clips = bank.clips
    sums = np.zeros((len(bank), clips.vectors.shape[1]))
    np.add.at(sums, clips.owners, clips.vectors * clips.weights[:, None])
    own = np.arange(len(clips)), clips.owners
    without = sums[clips.owners] - clips.vectors
    usable = np.ones((len(clips), len(bank)), bool)
    usable[own] = (np.linalg.norm(without, axis=1) > NOTHING) & (clips.weights == 1)
    clean, without = _unit(sums), _unit(without)
    cosines = clips.vectors @ clean.T
    cosines[own] = np.einsum("kd,kd->k", clips.vectors, without)
    slope, offset = np.ones(cosines.shape), np.zeros(cosines.shape)
    if crowd is not None:
        heard = crowd.nearest(clips.vectors)
        slope, offset = heard.at((slice(None), None)).reading(crowd.nearest(clean))
        slope[own], offset[own] = heard.reading(crowd.nearest(without))
    labels = np.array(bank.labels)
    target = _mask(cosines.shape, own)
    usable &= (labels[clips.owners][:, None] != labels[None, :]) | target
    seconds = np.maximum(np.broadcast_to(SPEECH_SHARE * clips.seconds[:, None], cosines.shape), 0.1)
    columns = (slope * cosines - offset, target, seconds, slope, offset)
    return LeftOut(*(column[usable] for column in columns))


def _check_amount(bank: Bank, target: np.ndarray) -> None:
    people, targets, impostors = len(set(bank.labels)), int(target.sum()), int((~target).sum())
    if people < MIN_SPEAKERS or targets < MIN_TARGETS or impostors < MIN_IMPOSTORS:
        raise Unusable(
            f"bank {bank.name!r} is too small to calibrate: {people} speakers, {targets} clips that can be left out, "
            f"{impostors} trials of two speakers; {MIN_SPEAKERS}, {MIN_TARGETS} and {MIN_IMPOSTORS} are the least",
            speakers=people,
            targets=targets,
            impostors=impostors,
        )


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), NOTHING)


def _mask(shape: tuple[int, ...], where: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[where] = True
    return mask
