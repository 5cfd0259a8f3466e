"""Recordings that take long to decode take turns: many of them at once would leave nothing for everyone else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator

import numpy as np

from speaker_tasks.errors import Busy

LONG_SECONDS = 1.0
"""Of a processor; an hour of MP3 takes less. What takes more has many channels at a high rate, or is made to hurt."""


class Turns:
    """One long decoding at a time; a few wait for their turn, more are refused."""

    def __init__(self, waiting: int) -> None:
        self._turn = threading.Lock()
        self._line = threading.BoundedSemaphore(waiting + 1)

    def through(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The blocks, each decoded when it is asked for; from `LONG_SECONDS` on in this recording's turn.

        Raises `Busy` if too many wait.
        """
        spent, has_turn = 0.0, False
        source = iter(blocks)
        try:
            while True:
                began = time.thread_time()
                block = next(source, None)
                spent += time.thread_time() - began
                if block is None:
                    return
                if spent > LONG_SECONDS and not has_turn:
                    self._take()
                    has_turn = True
                yield block
        finally:
            if has_turn:
                self._turn.release()
                self._line.release()

    def _take(self) -> None:
        if not self._line.acquire(blocking=False):
            raise Busy("too many recordings that take long to decode at once; try again later", retry_after=10)
        self._turn.acquire()
