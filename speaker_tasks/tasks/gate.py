"""The gate before bulk work: how many recordings of it are decoded at once, so that it never takes every core."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """So many threads inside at once. Who waits for the network steps aside and lets another one in."""

    def __init__(self, places: int) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._thread = threading.local()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Work here: decode, measure, compute features."""
        self._enter()
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Wait here for others; does nothing in a thread that is not inside."""
        if not getattr(self._thread, "inside", False):
            yield
            return
        self._leave()
        try:
            yield
        finally:
            self._enter()

    def _enter(self) -> None:
        self._places.acquire()
        self._thread.inside = True

    def _leave(self) -> None:
        self._thread.inside = False
        self._places.release()
