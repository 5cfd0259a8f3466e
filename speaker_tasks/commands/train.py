"""`speaker-tasks train`: make embedding weights from a folder of speech. Needs the training extra."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from speaker_tasks.commands.edge import console
from speaker_tasks.errors import ConfigurationError


def train(
    config: Annotated[Path, typer.Option(help="The recipe, a TOML file of the fields of `training.recipe.Recipe`.")],
    shared: Annotated[
        Path,
        typer.Option(envvar="SPEAKER_SHARED", help="Folder with speech/ (manifest.tsv, train, validation) and noise/."),
    ],
    out: Annotated[Path, typer.Option(help="The run's folder; a run that stopped goes on from it.")],
    cache: Annotated[Path | None, typer.Option(help="Folder of prepared features; default: OUT/cache.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write the best weights here when the run ends.")] = None,
) -> None:
    """Prepare the speech once, train to the end of the recipe (or go on), keep the weights that validate best."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
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
        from speaker_tasks.embedding.training.export import export_best

        card = export_best(out, recipe, speech, export)
        console.print(f"{card.model_id} written to {export}")


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
