"""`speaker-tasks weights`: which models are present, the published `vgg` weights in one command, a run's weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from speaker_tasks.commands.edge import console, load_settings
from speaker_tasks.commands.service import AsJson, show_json
from speaker_tasks.commands.train import Config, Shared
from speaker_tasks.errors import ConfigurationError, NotFound, WeightsRefused

app = typer.Typer(
    help="Weights of the models: list them, fetch the published ones, export trained ones.", no_args_is_help=True
)


@app.command("fetch")
def fetch(
    model: Annotated[str, typer.Argument(help="The model to fetch: vgg.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="The published file, if it is already on this machine.")
    ] = None,
    allow_unverified: Annotated[
        bool, typer.Option("--allow-unverified", help="Accept any file of that layout, not only the published one.")
    ] = False,
) -> None:
    """Download, verify and convert the published weights; SPEAKER_MODEL=vgg uses them."""
    from speaker_tasks.embedding import legacy_weights
    from speaker_tasks.embedding.weights import registry

    if model != legacy_weights.VGG.name:
        raise NotFound(f"no published weights are known for {model!r}; vgg can be fetched")
    data_dir = load_settings().data_dir
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn()
    with Progress(*columns, console=console, transient=True, disable=source is not None) as progress:
        bar = progress.add_task("download", total=None)
        card = legacy_weights.install(
            data_dir,
            source,
            verify=not allow_unverified,
            progress=lambda done, total: progress.update(bar, completed=done, total=total),
        )
    console.print(f"{card.model_id} is in {registry(data_dir)}; SPEAKER_MODEL=vgg uses it")


@app.command("export")
def export(
    run: Annotated[Path, typer.Argument(help="The folder of a training run.")],
    file: Annotated[Path, typer.Argument(help="The weights file to write.")],
    config: Config,
    shared: Shared,
    mean_with: Annotated[
        list[Path] | None,
        typer.Option("--mean-with", help="Earlier runs to average with: the mean of the best weights of each."),
    ] = None,
) -> None:
    """Write the best weights of a training run with their card: recipe, data, error rates, calibration."""
    others = mean_with or []
    try:
        from speaker_tasks.embedding.training.export import export_best
        from speaker_tasks.embedding.training.recipe import Recipe
    except ImportError as error:
        raise ConfigurationError(
            f"{error}; exporting needs what training needs: pip install 'speaker-tasks[training]'"
        ) from error
    for one in (run, *others):
        if not (one / "best.npz").is_file():
            raise NotFound(f"no training run at {one}: it holds no best.npz")
    card = export_best(run, Recipe.load(config), shared / "speech", file, others)
    console.print(f"{card.model_id} written to {file}")


@app.command("fit")
def fit(
    file: Annotated[Path, typer.Argument(help="A weights file; its card gets the thresholds.")],
    shared: Shared,
) -> None:
    """Fit a model's thresholds and calibration on the development speakers of the training speech."""
    try:
        from speaker_tasks.embedding.training import export as exporting
    except ImportError as error:
        raise ConfigurationError(
            f"{error}; fitting needs what training needs: pip install 'speaker-tasks[training]'"
        ) from error
    card = exporting.fit(file, shared / "speech")
    operating = card.details["operating"]
    console.print(
        f"{card.model_id}: thresholds from {operating['target_trials']} + {operating['impostor_trials']} trials"
    )


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the installed models with their ids and licences."""
    from speaker_tasks.embedding.weights import read, registered

    if as_json:
        for name, path in sorted(registered(load_settings().data_dir).items()):
            card = read(path).card
            show_json({"model": name, "id": card.model_id, "file": str(path), "licence": card.details.get("licence")})
        return
    table = Table("model", "id", "licence", "file", box=None)
    for name, path in sorted(registered(load_settings().data_dir).items()):
        try:
            card = read(path).card
            table.add_row(name, card.model_id, str(card.details.get("licence", "")), str(path))
        except WeightsRefused as error:
            table.add_row(name, "damaged", "", error.message)
    console.print(table)
