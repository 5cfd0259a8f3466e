"""`speaker-tasks worker`: serve recognition and enrollment until a signal ends it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from speaker_tasks.commands.edge import connected_settings


def worker(
    gpu: Annotated[int | None, typer.Option(help="Number of the GPU to use, among the visible ones.")] = None,
    gpus: Annotated[
        str | None, typer.Option(envvar="SPEAKER_GPUS", help="A worker on each GPU: `all`, or numbers such as 0,1.")
    ] = None,
    queues: Annotated[str, typer.Option(help="Queues to take jobs from, separated by commas.")] = "recognize,enroll",
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Run a worker: load the model and take jobs from the queues. It does not start without trained weights."""
    from speaker_tasks.worker import pin_gpu, run_worker

    settings = connected_settings()
    if gpus and gpu is None:
        from speaker_tasks.launcher.up import run_workers

        run_workers(settings, gpus, ["--queues", queues, "--log-level", log_level])
        return
    pin_gpu(os.environ, gpu, settings.device)
    if gpu is not None:
        settings = settings.model_copy(update={"device": "gpu"})
    names = [name.strip() for name in queues.split(",") if name.strip()]
    raise typer.Exit(run_worker(settings, queues=names, log_level=log_level.upper()))
