"""Whether this web process is about to end: then who waits for an answer gets the job's address instead."""

from __future__ import annotations

import threading

_stopping = threading.Event()


def stop() -> None:
    """The process is about to end. Safe in a signal handler."""
    _stopping.set()


def is_stopping() -> bool:
    """Whether it is."""
    return _stopping.is_set()
