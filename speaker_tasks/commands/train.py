"""`speaker-tasks train`: make embedding weights from a folder of speech. Needs the training extra."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from speaker_tasks.commands.edge import console
from speaker_tasks.embedding.machine import settle
from speaker_tasks.errors import ConfigurationError

Config = Annotated[Path, typer.Option(help="The recipe, a TOML file of the fields of `training.recipe.Recipe`.")]
Shared = Annotated[
    Path,
    typer.Option(envvar="SPEAKER_SHARED", help="Folder with speech/ (manifest.tsv, train, validation) and noise/."),
]


def train(
    config: Config,
    shared: Shared,
    out: Annotated[Path, typer.Option(help="The run's folder; a run that stopped goes on from it.")],
    cache: Annotated[Path | None, typer.Option(help="Folder of prepared features; default: OUT/cache.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write the best weights here when the run ends.")] = None,
) -> None:
    """Prepare the speech once, train to the end of the recipe (or go on), keep the weights that validate best."""
    os.environ.setdefault("KERAS_BACKEND", "torch")  # 1.4 times as fast as TensorFlow on a CPU
    settle()
    recipe_type, corpus_module, training_module = _import_training()
    if not (shared / "speech" / "manifest.tsv").is_file():
        raise ConfigurationError(
            f"no speech at {shared / 'speech'}: --shared (or SPEAKER_SHARED) names its parent folder"
        )
    recipe = recipe_type.load(config)
    speech, cache = shared / "speech", cache or out / "cache"
    corpus_module.prepare(speech, shared / "noise", cache, recipe, console.print)
    corpus = corpus_module.open_corpus(speech, cache, recipe)
    validation = training_module.Validation(speech)
    training = training_module.Training(recipe, corpus, validation, out, console.print)
    training.run()
    if export:
        # In a process of its own: Keras has one backend a process, and here it is not OpenVINO's.
        command = ["weights", "export", str(out), str(export), "--config", str(config), "--shared", str(shared)]
        environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
        done = subprocess.run([sys.executable, "-m", "speaker_tasks", *command], env=environment, check=False)
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
