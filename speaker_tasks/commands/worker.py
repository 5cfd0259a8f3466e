"""`speaker-tasks worker`: serve recognition and enrollment until a signal ends it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from speaker_tasks.commands.edge import connected_settings


def worker(
    gpu: Annotated[int | None, typer.Option(help="The GPU to use, counted among those that are visible.")] = None,
    queues: Annotated[str, typer.Option(help="The queues to serve, separated by commas.")] = "recognize,enroll",
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Load the model and serve the queues. Without trained weights it refuses to start."""
    from speaker_tasks.worker import pin_gpu, run_worker

    settings = connected_settings()
    pin_gpu(os.environ, gpu, settings.device)
    if gpu is not None:
        settings = settings.model_copy(update={"device": "gpu"})
    names = [name.strip() for name in queues.split(",") if name.strip()]
    raise typer.Exit(run_worker(settings, queues=names, log_level=log_level.upper()))
