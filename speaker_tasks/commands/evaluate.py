"""`speaker-tasks evaluate`: how well a model tells a folder's people apart, measured in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.progress import track
from rich.table import Table

from enrollment import folder as folders
from speaker_tasks.commands.edge import console, load_settings
from speaker_tasks.errors import NotFound, SpeakerTasksError, Unusable

if TYPE_CHECKING:
    from enrollment.manifest import Entry
    from speaker_tasks.embedding.embedder import Embedder
    from speaker_tasks.scoring.evaluation import Report, Trials, Utterances


def evaluate(
    folder: Annotated[
        Path, typer.Argument(help="Folder with one sub-folder for each speaker; with --trials, any folder.")
    ],
    model: Annotated[str | None, typer.Option(help="The model; default: SPEAKER_MODEL.")] = None,
    trials: Annotated[
        Path | None,
        typer.Option(help="Lines of `1|0 CLIP CLIP` or `CLIP CLIP 1|0`, paths below FOLDER; default: all pairs."),
    ] = None,
    enrolment: Annotated[
        Path | None,
        typer.Option(help="Lines of `MODEL CLIP [CLIP ...]`: the enrolment clips of each model that --trials names."),
    ] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for det.png and scores.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure a model on labelled recordings: EER, minDCF, top-1, thresholds, and who is confused with whom."""
    from speaker_tasks.embedding.embedder import Embedder

    settings = load_settings(model=model)
    embedder = Embedder.configured(settings)
    skipped: dict[str, str] = {}
    if trials is None:
        utterances, skipped = _embed(embedder, folder, settings.max_audio_seconds, quiet=as_json)
        report = _measure(embedder.model_id, utterances, None)
    else:
        report = _on_lists(embedder, folder, (trials, enrolment), settings.max_audio_seconds, quiet=as_json)
    if plots:
        _draw(report, plots)
    if as_json:
        console.print_json(json.dumps({**report.to_dict(), "skipped": skipped}, ensure_ascii=False))
    else:
        _show(report, skipped)


def _embed(embedder: Embedder, folder: Path, max_seconds: float, *, quiet: bool) -> tuple[Utterances, dict[str, str]]:
    """All usable clips below the folder, and why the others are not."""
    from speaker_tasks.scoring.evaluation import Utterances

    embedded, skipped = _embed_entries(embedder, folders.scan(folder).entries, max_seconds, quiet=quiet)
    if not embedded:
        raise NotFound(f"no usable recording below {folder}")
    entries, vectors, seconds = zip(*embedded, strict=True)
    names, speakers = [entry.row for entry in entries], np.array([entry.speaker for entry in entries])
    return Utterances(names, speakers, np.stack(vectors), np.array(seconds)), skipped


def _on_lists(
    embedder: Embedder, folder: Path, lists: tuple[Path, Path | None], max_seconds: float, *, quiet: bool
) -> Report:
    """Measure on a list of trials, with models enrolled as a second list says; every clip of them must be usable.

    Raises Malformed with the line, NotFound with the clip.
    """
    from enrollment.manifest import Entry
    from speaker_tasks.scoring.evaluation import Trials, Utterances
    from speaker_tasks.scoring.trials import read_enrolment, read_trials

    listed, models = read_trials(lists[0]), read_enrolment(lists[1]) if lists[1] else {}
    clips = list(dict.fromkeys(clip for name in listed.names for clip in models.get(name, [name])))
    entries = [Entry(speaker=clip, path=str(folder / clip), row=clip) for clip in clips]
    embedded, skipped = _embed_entries(embedder, entries, max_seconds, quiet=quiet)
    if skipped:
        clip, reason = next(iter(skipped.items()))
        raise NotFound(
            f"{lists[0]}: {len(skipped)} of {len(clips)} clips cannot be used, the first is {clip}: {reason}"
        )
    vectors = {entry.row: vector for entry, vector, _ in embedded}
    seconds = {entry.row: speech for entry, _, speech in embedded}
    for model, enrolled in models.items():
        if model in listed.names:
            mean = np.mean([vectors[clip] for clip in enrolled], axis=0)
            vectors[model], seconds[model] = mean / np.linalg.norm(mean), sum(seconds[clip] for clip in enrolled)
    names = listed.names
    utterances = Utterances(
        names, np.array(names), np.stack([vectors[one] for one in names]), np.array([seconds[one] for one in names])
    )
    index = {name: place for place, name in enumerate(names)}
    left, right = (np.array([index[name] for name in side]) for side in (listed.left, listed.right))
    return _measure(embedder.model_id, utterances, Trials.of_pairs(utterances, left, right, np.array(listed.target)))


def _embed_entries(
    embedder: Embedder, entries: Sequence[Entry], max_seconds: float, *, quiet: bool
) -> tuple[list[tuple[Entry, np.ndarray, float]], dict[str, str]]:
    """Each usable recording with its vector and seconds of speech, and why the others are not."""
    from speaker_tasks.embedding.speech import measure

    embedded, skipped = [], {}
    for entry in entries if quiet else track(entries, description="embedding", console=console):
        try:
            samples = _samples(entry, max_seconds)
            embedded.append((entry, embedder.embed(samples), measure(samples).speech))
        except SpeakerTasksError as error:
            skipped[entry.row] = error.message
    return embedded, skipped


def _samples(entry: Entry, max_seconds: float) -> np.ndarray:
    """The samples (T,) of a recording, or of the part of one that the entry names."""
    from speaker_tasks.embedding import audio, parts

    path = Path(entry.path)
    if entry.start is None and entry.end is None:
        return audio.decode(path, max_seconds=max_seconds)
    return np.concatenate(list(parts.stream(path, entry.start or 0.0, entry.end, max_seconds=max_seconds)))


def _measure(model_id: str, utterances: Utterances, trials: Trials | None) -> Report:
    from speaker_tasks.scoring.evaluation import Report

    try:
        return Report.of(model_id, utterances, trials)
    except ValueError as error:
        raise Unusable(f"cannot measure: {error}; two speakers with two clips each are the least") from error


def _draw(report: Report, plots: Path) -> None:
    from speaker_tasks.scoring.plots import det_curve, score_histogram

    plots.mkdir(parents=True, exist_ok=True)
    det_curve({report.model: report.curve}, plots / "det.png")
    score_histogram(report.trials, report.curve.eer_threshold(), plots / "scores.png")


def _show(report: Report, skipped: dict[str, str]) -> None:
    data: dict[str, Any] = report.to_dict()
    of_whom = f" of {report.speakers} speakers" if report.identification else ""
    console.print(f"{report.model}: {report.clips} clips{of_whom}, {len(report.trials.scores)} trials")
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
