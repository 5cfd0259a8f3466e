"""Places: workers that can do the same work, with one model and the same folders, share queues of their own.

A worker passes on a message that it cannot do (the bank is of another model, the folder is missing) to a place that
can. In a service of equal workers there is one place, and no message is passed on.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from speaker_tasks.jobs.heartbeat import WorkerRecord


def place_of(model: str, roots: Sequence[str]) -> str:
    """The name of the place of workers with this model that see these folders."""
    return hashlib.sha256("\n".join((model, *sorted(roots))).encode()).hexdigest()[:12]


def queue_at(queue: str, place: str) -> str:
    """The name of a place's own queue."""
    return f"{queue}.{place}" if place else queue


def visible(roots: Iterable[Path]) -> tuple[str, ...]:
    """The folders that exist and are not empty: an empty one may be a disk that is not mounted."""
    return tuple(str(root) for root in roots if _holds_something(root))


def sees(path: str, roots: Iterable[str]) -> bool:
    """Whether a path lies below one of the folders."""
    return any(Path(path).is_relative_to(root) for root in roots)


class Places:
    """Where the living workers are."""

    def __init__(self, alive: Callable[[], Sequence[WorkerRecord]], own: str) -> None:
        self._alive, self._own = alive, own

    def other(self, queue: str, *, model: str | None = None, path: str | None = None) -> str | None:
        """The place, other than one's own, with most workers that serve the queue, run the model and see the path."""
        places = Counter(
            worker.place
            for worker in self._alive()
            if worker.place not in ("", self._own)
            and queue in worker.queues
            and (model is None or worker.model == model)
            and (path is None or sees(path, worker.roots))
        )
        return places.most_common(1)[0][0] if places else None

    def models(self) -> list[str]:
        """The models of the living workers."""
        return sorted({worker.model for worker in self._alive()})


def _holds_something(folder: Path) -> bool:
    try:
        return next(folder.iterdir(), None) is not None
    except OSError:
        return False
