"""`speaker-tasks train`: make embedding weights from a folder of speech. Needs the training extra."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated

import typer

from speaker_tasks.commands.edge import console
from speaker_tasks.embedding.machine import settle
from speaker_tasks.embedding.members import CAMPPLUS
from speaker_tasks.embedding.weights import find
from speaker_tasks.errors import ConfigurationError

Config = Annotated[Path, typer.Option(help="The recipe, a TOML file of the fields of `training.recipe.Recipe`.")]
Shared = Annotated[
    Path,
    typer.Option(envvar="SPEAKER_SHARED", help="Folder with speech/ (manifest.tsv, train, validation) and noise/."),
]


def train(
    config: Config,
    shared: Shared,
    out: Annotated[Path, typer.Option(help="Folder of the run; a stopped run is continued from it.")],
    cache: Annotated[Path | None, typer.Option(help="Folder of prepared features; default: OUT/cache.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write the best weights here when the run ends.")] = None,
    start: Annotated[
        Path | None, typer.Option(help="Weights that campplus starts from; default: the installed ones.")
    ] = None,
) -> None:
    """Train a model by a recipe. A run that was stopped goes on where it was; the best weights are kept."""
    os.environ.setdefault("KERAS_BACKEND", "torch")  # 1.4 times as fast as TensorFlow on a CPU
    settle()
    recipe_type, corpus_module, training_module = _import_training()
    if not (shared / "speech" / "manifest.tsv").is_file():
        raise ConfigurationError(
            f"no speech at {shared / 'speech'}: --shared (or SPEAKER_SHARED) names its parent folder"
        )
    speech, cache = shared / "speech", cache or out / "cache"
    if tomllib.loads(config.read_text("utf-8")).get("network") == CAMPPLUS.name:
        _adapt(config, shared, out, cache, start or find(CAMPPLUS.name), export)
        return
    recipe = recipe_type.load(config)
    corpus_module.prepare(speech, shared / "noise", cache, recipe, console.print)
    corpus = corpus_module.open_corpus(speech, cache, recipe)
    validation = training_module.Validation(speech)
    training = training_module.Training(recipe, corpus, validation, out, console.print)
    training.run()
    if export:
        command = ["weights", "export", str(out), str(export), "--config", str(config), "--shared", str(shared)]
        _by_itself("speaker_tasks", *command)


def _adapt(config: Path, shared: Path, out: Path, cache: Path, start: Path, export: Path | None) -> None:
    """The frames, the training, and the thresholds of campplus."""
    from speaker_tasks.embedding.training import adapt

    recipe = adapt.Recipe.load(config)
    out.mkdir(parents=True, exist_ok=True)
    prepared = [
        str(start),
        str(shared),
        str(cache),
        str(recipe.views),
        *(["--last-block"] if recipe.last_block else []),
    ]
    _by_itself("speaker_tasks.embedding.training.frames", *prepared)
    made = export or out / f"{recipe.network}.safetensors"
    adapt.adapt(start, shared, cache, made, recipe=recipe, say=console.print)
    _by_itself("speaker_tasks", "weights", "fit", str(made), "--shared", str(shared))


def _by_itself(module: str, *arguments: str) -> None:
    """Run a module in a process of its own: Keras has one backend a process, and here it is not OpenVINO's."""
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = subprocess.run([sys.executable, "-m", module, *arguments], env=environment, check=False)
    if done.returncode:
        raise typer.Exit(done.returncode)


def _import_training():
    """The modules of the training extra, or one line that says how to get it."""
    try:
        from speaker_tasks.embedding.training import corpus, loop
        from speaker_tasks.embedding.training.recipe import Recipe
    except ImportError as error:
        raise ConfigurationError(
            f"{error}; training needs more packages: pip install 'speaker-tasks[training]'"
        ) from error
    return Recipe, corpus, loop
