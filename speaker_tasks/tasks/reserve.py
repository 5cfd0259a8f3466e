"""The threads that do recognitions, and nothing else, so that no bulk work can fill all the threads of a worker."""

from __future__ import annotations

import logging
import threading
import time

import redis

from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.tasks.running import do

logger = logging.getLogger(__name__)

WAIT_SECONDS = 1.0
"""One blocking read of the queue, well under the client's socket timeout."""
AWAY_SECONDS = 1.0
STOP_SECONDS = 10.0


class Reserve:
    """So many threads, from `start` until the intake is closed."""

    def __init__(self, context: WorkerContext, threads: int) -> None:
        self._context = context
        self._threads = [
            threading.Thread(target=self._serve, name=f"reserve-{number}", daemon=True) for number in range(threads)
        ]

    def start(self) -> None:
        """Begin to take recognitions; a second call does nothing."""
        for thread in self._threads:
            if thread.ident is None:
                thread.start()

    def stop(self) -> None:
        """Take no more and wait for what runs; what does not end in time comes back to another worker."""
        self._context.intake.close()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _serve(self) -> None:
        intake, ended = self._context.intake, None
        while ended is not None or not intake.closed:
            try:
                written, ended = ended, None
                taken = intake.take(written) or intake.wait(WAIT_SECONDS)
                if taken is not None:
                    ended = do(self._context, taken)
            except redis.RedisError as error:
                logger.warning("no recognition can be taken: %s", error)
                time.sleep(AWAY_SECONDS)
