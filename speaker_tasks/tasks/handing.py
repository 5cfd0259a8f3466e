"""Passing on work that fails here for a reason that another worker may not have."""

from __future__ import annotations

from collections.abc import Iterable

from speaker_tasks.errors import ModelMismatch, NotFound, OutsideRoots, SpeakerTasksError
from speaker_tasks.jobs.places import sees, visible
from speaker_tasks.tasks.context import WorkerContext


def place_for(
    context: WorkerContext, queue: str, error: SpeakerTasksError, paths: Iterable[str], model: str | None = None
) -> str | None:
    """Where work that failed here may succeed; None if it would fail everywhere.

    `paths` are what the work reads, of which those count that this worker does not see.
    """
    if isinstance(error, ModelMismatch):
        return context.places.other(queue, model=error.details.get("bank_model"))
    if isinstance(error, (OutsideRoots, NotFound)):
        return place_that_sees(context, queue, paths, model)
    return None


def place_that_sees(context: WorkerContext, queue: str, paths: Iterable[str], model: str | None = None) -> str | None:
    """Another place, of the model, that sees the first of the files which this worker does not see."""
    hidden = [path for path in paths if is_file(path) and not sees(path, context.roots)]
    if hidden and sees(hidden[0], visible(context.settings.data_roots)):  # it came after this worker's start
        return None
    return context.places.other(queue, path=hidden[0], model=model) if hidden else None


def is_file(path: str) -> bool:
    """Whether it is a path on a worker's disk, and not a URL or a payload."""
    return path.startswith("/")
