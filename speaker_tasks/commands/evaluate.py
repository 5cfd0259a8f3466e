"""`speaker-tasks evaluate`: how well a model tells a folder's people apart, measured in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.progress import track
from rich.table import Table

from enrollment import folder as folders
from speaker_tasks.commands.edge import console, load_settings
from speaker_tasks.errors import Malformed, NotFound, SpeakerTasksError, Unusable

if TYPE_CHECKING:
    from enrollment.manifest import Entry
    from speaker_tasks.embedding.embedder import Embedder
    from speaker_tasks.embedding.evaluation import Report, Trials, Utterances


def evaluate(
    folder: Annotated[Path, typer.Argument(help="One sub-folder for each speaker, as for enroll.")],
    model: Annotated[str | None, typer.Option(help="The model; default: SPEAKER_MODEL.")] = None,
    trials: Annotated[
        Path | None,
        typer.Option(help="Lines of `1|0 CLIP CLIP` (1: one speaker), paths below FOLDER; default: all pairs."),
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for det.png and scores.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """EER, minDCF, top-1, a table of thresholds, who is taken for whom; pictures and JSON if asked."""
    from speaker_tasks.embedding.embedder import Embedder

    settings = load_settings(model=model)
    embedder = Embedder.configured(settings)
    utterances, skipped = _embed(embedder, folder, settings.max_audio_seconds, quiet=as_json)
    report = _measure(embedder.model_id, utterances, _read_trials(trials, utterances) if trials else None)
    if plots:
        _draw(report, plots)
    if as_json:
        console.print_json(json.dumps({**report.to_dict(), "skipped": skipped}, ensure_ascii=False))
    else:
        _show(report, skipped)


def _embed(embedder: Embedder, folder: Path, max_seconds: float, *, quiet: bool) -> tuple[Utterances, dict[str, str]]:
    """All usable clips below the folder, and why the others are not."""
    from speaker_tasks.embedding.evaluation import Utterances
    from speaker_tasks.embedding.speech import measure

    entries = folders.scan(folder).entries
    names, speakers, vectors, seconds = [], [], [], []
    skipped: dict[str, str] = {}
    for entry in entries if quiet else track(entries, description="embedding", console=console):
        try:
            samples = _samples(entry, max_seconds)
            vector = embedder.embed(samples)
        except SpeakerTasksError as error:
            skipped[entry.row] = error.message
            continue
        names.append(entry.row)
        speakers.append(entry.speaker)
        vectors.append(vector)
        seconds.append(measure(samples).speech)
    if not names:
        raise NotFound(f"no usable recording below {folder}")
    return Utterances(names, np.array(speakers), np.stack(vectors), np.array(seconds)), skipped


def _samples(entry: Entry, max_seconds: float) -> np.ndarray:
    """The samples (T,) of a recording, or of the part of one that the entry names."""
    from speaker_tasks.embedding import audio, parts

    path = Path(entry.path)
    if entry.start is None and entry.end is None:
        return audio.decode(path, max_seconds=max_seconds)
    return np.concatenate(list(parts.stream(path, entry.start or 0.0, entry.end, max_seconds=max_seconds)))


def _measure(model_id: str, utterances: Utterances, trials: Trials | None) -> Report:
    from speaker_tasks.embedding.evaluation import Report

    try:
        return Report.of(model_id, utterances, trials)
    except ValueError as error:
        raise Unusable(f"cannot measure: {error}; two speakers with two clips each are the least") from error


def _read_trials(path: Path, utterances: Utterances) -> Trials:
    """Trials of a list. Raises Malformed with the line, NotFound with the clip."""
    from speaker_tasks.embedding.evaluation import Trials

    index = {name: position for position, name in enumerate(utterances.names)}
    rows: list[tuple[bool, int, int]] = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3 or fields[0] not in {"0", "1"}:
            raise Malformed(f"{path}, line {number}: expected `1|0 CLIP CLIP`, got {line!r}")
        if unknown := [name for name in fields[1:] if name not in index]:
            raise NotFound(f"{path}, line {number}: {unknown[0]} is not among the usable clips")
        rows.append((fields[0] == "1", index[fields[1]], index[fields[2]]))
    if not rows:
        raise Malformed(f"{path} holds no trials")
    target, left, right = (np.array(column) for column in zip(*rows, strict=True))
    return Trials.of_pairs(utterances, left, right, target)


def _draw(report: Report, plots: Path) -> None:
    from speaker_tasks.embedding.plots import det_curve, score_histogram

    plots.mkdir(parents=True, exist_ok=True)
    det_curve({report.model: report.curve}, plots / "det.png")
    score_histogram(report.trials, report.curve.eer_threshold(), plots / "scores.png")


def _show(report: Report, skipped: dict[str, str]) -> None:
    data: dict[str, Any] = report.to_dict()
    console.print(
        f"{report.model}: {report.clips} clips of {report.speakers} speakers, {len(report.trials.scores)} trials"
    )
    top1 = "not measured" if data["top1"] is None else f"{100 * data['top1']:.1f} % of {data['top1_trials']}"
    console.print(
        f"EER {100 * data['eer']:.2f} %   minDCF {data['min_dcf']:.3f}   top-1 {top1}   Cllr {data['cllr']:.3f}"
    )
    table = Table("threshold", "false accepts %", "false rejects %", title="What a threshold costs")
    for row in data["thresholds"]:
        table.add_row(f"{row['threshold']:.3f}", f"{100 * row['far']:.2f}", f"{100 * row['frr']:.2f}")
    console.print(table)
    if data["confusions"]:
        confusions = Table("speaker", "taken for", "times", title="Who is taken for whom")
        for row in data["confusions"][:20]:
            confusions.add_row(row["speaker"], row["answered"], str(row["times"]))
        console.print(confusions)
    for name, reason in skipped.items():
        console.print(f"left out: {name}: {reason}")
