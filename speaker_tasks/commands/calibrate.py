"""`speaker-tasks calibrate BANK`: a bank's own thresholds, from its own clips, leave-one-out.

Each kept clip is tried against its speaker without it, and against all others; where the model has a cohort, by how far
the cosines stand out from those with it (`scoring/cohort.py`). Where the two kinds of scores overlap too much, or
there is too little of them, no number is given, and that is said.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from banks.vectors import unit
from speaker_tasks.commands.edge import connected_settings, console, grid, who
from speaker_tasks.commands.service import AsJson, show_json
from speaker_tasks.errors import Conflict, SpeakerTasksError, Unusable

if TYPE_CHECKING:
    from banks.bank import Bank
    from speaker_tasks.operations.banks import BankKeeper
    from speaker_tasks.scoring.cohort import Cohort
    from speaker_tasks.settings import Settings

MIN_SPEAKERS, MIN_TARGETS, MIN_IMPOSTORS = 5, 20, 200
MAX_EER = 0.15
"""With more overlap than this a threshold would turn away too many who are enrolled."""
NOTHING = 1e-6
SPEECH_SHARE = 0.75
"""How much of a clip is speech, usually: a bank keeps its clips' lengths, and questions are judged by their speech."""


def calibrate(
    bank: Annotated[str, typer.Argument(help="The bank.")],
    dry_run: Annotated[bool, typer.Option(help="Measure only; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Use the thresholds without asking.")] = False,
    forget: Annotated[bool, typer.Option(help="Go back to the model's own thresholds.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fit a bank's thresholds to its own clips (leave-one-out) and use them for this bank from then on.

    First shows how many of its recordings would be named before and after, and asks.
    """
    from speaker_tasks.celery_app import redis_client
    from speaker_tasks.operations.banks import BankKeeper

    settings = connected_settings()
    keeper = BankKeeper(redis_client(settings), settings, who=who())
    if forget:
        gone = keeper.forget_calibration(bank)
        message = "the model's own thresholds are used again" if gone else "the bank had none of its own"
        show_json({"bank": bank, "forgotten": gone}) if as_json else console.print(f"{bank}: {message}")
        return
    kept = keeper.store.get(bank, clips=True)
    fitted = fit(kept, model_cohort(kept.model, settings))
    changes = _changes(keeper, kept, fitted)
    if as_json:
        if yes and not dry_run:
            keeper.calibrate(bank, fitted)
        show_json({**fitted, **changes, "kept": yes and not dry_run})
        if not yes and not dry_run:
            raise Conflict("nothing was kept: --yes keeps the thresholds")
        return
    threshold, about = fitted["threshold"], " (the usual one: it differs by voice)" if fitted["standings"] else ""
    console.print(
        f"{bank}: {fitted['targets']} trials of one speaker, {fitted['impostors']} of two; "
        f"EER {100 * fitted['eer']:.1f} %\n"
        f"threshold {threshold:.3f}{about} for {fitted['speakers']} speakers at 1 % of strangers accepted; "
        f"{100 * fitted['rejects']:.1f} % of those enrolled would be turned away",
        soft_wrap=True,
    )
    _show_changes(changes)
    if dry_run:
        console.print("nothing kept (--dry-run)")
        return
    if not yes and not typer.confirm("Keep these thresholds?"):
        raise Conflict("nothing was kept")
    keeper.calibrate(bank, fitted)
    console.print("kept: identify and verify use it from now on")


def _changes(keeper: BankKeeper, bank: Bank, fitted: dict[str, Any]) -> dict[str, Any]:
    """How many of each speaker's own clips would be named, now and by the new thresholds, where that changes."""
    from speaker_tasks.commands import bankcheck

    with suppress(SpeakerTasksError):  # other weights are set up here: nothing can be compared
        pairs = bankcheck.compare(keeper, bank, fitted)
        changed = [
            {"speaker": before.speaker, "clips": before.clips, "before": before.named, "after": after.named}
            for before, after in pairs
            if before.named != after.named
        ]
        return {
            "clips": sum(before.clips for before, _ in pairs),
            "named_before": sum(before.named for before, _ in pairs),
            "named_after": sum(after.named for _, after in pairs),
            "changes": sorted(changed, key=lambda one: one["after"] - one["before"]),
        }
    return {}


def _show_changes(changes: dict[str, Any]) -> None:
    if not changes:
        console.print("this machine has other weights, so it cannot show whom the new thresholds would name")
        return
    table = grid("speaker", "clips", "named now", "named then")
    for one in changes["changes"]:
        worse = one["after"] < one["before"]
        shown = (escape(one["speaker"]), str(one["clips"]), str(one["before"]), str(one["after"]))
        table.add_row(*(f"[red]{cell}[/]" if worse else cell for cell in shown))
    if changes["changes"]:
        console.print(table)
    worse = changes["named_after"] < changes["named_before"]
    summary = f"named rightly: {changes['named_before']} of {changes['clips']} clips now, {changes['named_after']} then"
    console.print(f"[red]{summary}: this makes the bank worse[/]" if worse else summary, soft_wrap=True)


def model_cohort(model: str | None, settings: Settings) -> Cohort | None:
    """The cohort of a model's weights; None if it has none, or other weights than the bank's are set up here."""
    from speaker_tasks.embedding import weights
    from speaker_tasks.scoring.cohort import Cohort

    with suppress(SpeakerTasksError):
        card = weights.load(settings.model, path=settings.weights, data_dir=settings.data_dir).card
        if card.model_id == model:
            return Cohort.of_card(card.details)
    return None


def fit(bank: Bank, cohort: Cohort | None = None) -> dict[str, Any]:
    """The bank's operating points and what they were measured on. Raises `Unusable` for too few clips."""
    from speaker_tasks.scoring.calibration import Calibration
    from speaker_tasks.scoring.metrics import ErrorCurve
    from speaker_tasks.scoring.thresholds import FALSE_ACCEPT_RATE, OperatingPoints

    trials = leave_one_out(bank, cohort)
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
    threshold = points.for_bank(FALSE_ACCEPT_RATE, float(np.median(seconds)), people)
    operating: dict[str, Any] = {**points.to_dict(), "standings": cohort is not None}
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
        "threshold": round(float(np.median(trials.cosine(threshold)[target])), 4),
        "rejects": round(float(np.mean(scores[target] < threshold)), 4),
        "standings": cohort is not None,
        "operating": operating,
    }


@dataclass(frozen=True)
class LeftOut:
    """Each clip against each speaker, its own without it; `(K,)` each."""

    scores: np.ndarray
    """Cosines, or how far these stand out from those with a cohort: `slope` times the cosine, less `offset`."""
    target: np.ndarray
    """Whether it is the clip's own speaker."""
    seconds: np.ndarray
    """Of speech."""
    slope: np.ndarray
    offset: np.ndarray

    def cosine(self, score: float) -> np.ndarray:
        """The cosines that give a score, one for each trial."""
        return (score + self.offset) / self.slope


def leave_one_out(bank: Bank, cohort: Cohort | None = None) -> LeftOut:
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
    clean, without = unit(sums), unit(without)
    cosines = clips.vectors @ clean.T
    cosines[own] = np.einsum("kd,kd->k", clips.vectors, without)
    slope, offset = np.ones(cosines.shape), np.zeros(cosines.shape)
    if cohort is not None:
        heard = cohort.nearest(clips.vectors)
        slope, offset = heard.at((slice(None), None)).reading(cohort.nearest(clean))
        slope[own], offset[own] = heard.reading(cohort.nearest(without))
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


def _mask(shape: tuple[int, ...], where: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[where] = True
    return mask
