"""One thread for each call that the model takes at a time; requests that wait at the same moment share a call.

Spectrograms are computed by whoever submits, outside of those threads. Where calls are not shared (on a CPU), whoever
waits for an answer runs the network in a thread of its own when its turn has come, and the threads here do bulk work
alone: to hand each request over and back costs more than it brings. A long recording is submitted a few windows at a
time, so that it never stands in the way of a short one for longer than those take. Bulk work comes after everything
that someone waits for, and where calls are not shared it gives way between any two windows.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np

from speaker_tasks.embedding.batchfigures import Metrics
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.errors import Busy

ASKED_SECONDS = 1.0
"""For so long after someone asked, bulk work leaves one call's place free."""
RETRY_AFTER = 1.0
"""`Retry-After` of the answer, in seconds, when the queue is full."""

_logger = logging.getLogger(__name__)


@dataclass
class _Work:
    spectrograms: Sequence[np.ndarray]
    deadline: float
    bulk: bool = False
    submitted: float = field(default_factory=time.monotonic)
    future: Future[np.ndarray] = field(default_factory=Future)
    done: list[np.ndarray] = field(default_factory=list)
    """Vectors of its first spectrograms, when it gave way."""


@dataclass
class _Turn:
    """Of a thread that waits for a place in the network, to run its call by itself."""

    thread: int = field(default_factory=threading.get_ident)
    submitted: float = field(default_factory=time.monotonic)
    come: threading.Event = field(default_factory=threading.Event)


class Batcher:
    """Runs an `Embedder` for many threads. `stop` it when done; what still waits then fails as Busy."""

    def __init__(
        self, embedder: Embedder, *, max_batch: int = 16, max_wait_ms: float = 0.0, max_queue: int = 64
    ) -> None:
        """At most `max_batch` requests share a call; the first waits `max_wait_ms` for company (0: takes who waits).

        Where a call is no quicker for being shared (OpenVINO on a CPU), requests run one by one, in order: in a batch
        the first would wait for the last.
        """
        self.embedder = embedder
        self._shares = embedder.mixes_lengths
        if not self._shares:
            max_batch, max_wait_ms = 1, 0.0
        self._max_batch, self._max_wait, self._max_queue = max_batch, max_wait_ms / 1000, max_queue
        self._queue: deque[_Work] = deque()
        self._bulk: deque[_Work] = deque()
        self._turns: deque[_Turn] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._metrics = Metrics()
        self._asked = float("-inf")
        self._bulk_running = 0
        self._running: dict[int, float] = {}
        """When each thread's call began."""
        names = [f"batcher-{number}" for number in range(embedder.streams)]
        self._threads = [threading.Thread(target=self._serve, name=name, daemon=True) for name in names]
        for thread in self._threads:
            thread.start()

    def run(self, spectrograms: Sequence[np.ndarray], *, timeout: float = 60.0) -> np.ndarray:
        """The unit vectors `(N, 512)` of spectrograms `(bins, T)`, for someone who waits.

        Raises Busy when the queue is full or `timeout` seconds have passed.
        """
        if self._shares:
            return self._wait(self.submit(spectrograms, timeout=timeout), timeout)
        waited = self._enter(timeout)
        failed = 1
        try:
            vectors = self.embedder.run(spectrograms)
            failed = 0
            return vectors
        finally:
            self._leave(requests=1, failed=failed, waited=waited)

    def submit(
        self, spectrograms: Sequence[np.ndarray], *, timeout: float = 60.0, bulk: bool = False
    ) -> Future[np.ndarray]:
        """Queue spectrograms `(bins, T)`; the future gives their unit vectors, `(N, 512)`.

        `bulk` is for what nobody waits for. Cancel the future to drop the work; it is dropped by itself `timeout`
        seconds from now. Raises Busy when full.
        """
        work = _Work(spectrograms, time.monotonic() + timeout, bulk)
        queue = self._bulk if bulk else self._queue
        with self._changed:
            self._check_room(len(queue))
            if not bulk:
                self._asked = time.monotonic()
            queue.append(work)
            self._changed.notify()
        return work.future

    def metrics(self) -> Metrics:
        """A consistent copy of the figures."""
        with self._changed:
            since = min(self._running.values(), default=None)
            running = time.monotonic() - since if since is not None else 0.0
            waiting = len(self._queue) + len(self._turns) + len(self._bulk)
            return replace(self._metrics, sizes=self._metrics.sizes.copy(), waiting=waiting, running_for=running)

    def stop(self, timeout: float = 10.0) -> None:
        """Finish the batch that runs, fail what waits, end the thread."""
        with self._changed:
            self._stopping = True
            while self._turns:
                self._turns.popleft().come.set()
            self._changed.notify_all()
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _serve(self) -> None:
        while batch := self._take():
            started = time.monotonic()
            failed = self._run(batch)
            ended = [work for work in batch if work.future.done()]  # others gave way
            waited = sum(started - work.submitted for work in ended)
            self._leave(requests=len(ended), failed=failed, waited=waited, bulk=batch[-1].bulk)

    def _enter(self, timeout: float) -> float:
        """Take a place in the network, in order: the seconds until it was free. Raises Busy."""
        with self._changed:
            self._check_room(len(self._turns))
            self._asked = now = time.monotonic()
            if not self._turns and self._has_place(self.embedder.ahead):
                self._running[threading.get_ident()] = now
                return 0.0
            turn = _Turn()
            self._turns.append(turn)
        turn.come.wait(timeout)
        with self._changed:
            if turn.thread in self._running:
                return self._running[turn.thread] - turn.submitted
            self._count(expired=1)
            if turn in self._turns:
                self._turns.remove(turn)
                raise Busy(f"the model did not answer within {timeout:g} s", retry_after=RETRY_AFTER)
            raise Busy("the worker is stopping", retry_after=RETRY_AFTER)

    def _give_places(self) -> None:
        """Let run by themselves whose turn has come."""
        while self._turns and self._has_place(self.embedder.ahead):
            turn = self._turns.popleft()
            self._running[turn.thread] = time.monotonic()
            turn.come.set()

    def _check_room(self, waiting: int) -> None:
        if self._stopping or waiting >= self._max_queue:
            self._count(rejected=1)
            raise Busy(f"{waiting} requests wait for the model already", retry_after=RETRY_AFTER)

    def _leave(self, *, requests: int, failed: int, waited: float = 0.0, bulk: bool = False) -> None:
        """Give the place back, and count."""
        with self._changed:
            started = self._running.pop(threading.get_ident())
            self._bulk_running -= bulk
            self._give_places()
            if self._queue or self._bulk:
                self._changed.notify()
            took = time.monotonic() - started
            self._count(batches=1, requests=requests, failed=failed, wait_seconds=waited, run_seconds=took)
            self._metrics.sizes[requests] += 1
            self._metrics.largest_batch = max(self._metrics.largest_batch, requests)

    def _has_place(self, ahead: int = 0) -> bool:
        return len(self._running) < len(self._threads) + ahead

    def _take(self) -> list[_Work]:
        """Wait for work and take what is there; empty once stopped."""
        with self._changed:
            while not self._stopping:
                self._changed.wait_for(
                    lambda: self._stopping or (self._has_place() and (self._queue or self._next_bulk()))
                )
                if self._max_wait and self._queue:
                    until = self._queue[0].submitted + self._max_wait - time.monotonic()
                    self._changed.wait_for(lambda: len(self._queue) >= self._max_batch or self._stopping, until)
                batch: list[_Work] = []
                while len(batch) < self._max_batch and (queue := self._queue or self._next_bulk()):
                    if self._claim(work := queue.popleft()):
                        batch.append(work)
                if batch:
                    self._bulk_running += batch[-1].bulk
                    self._running[threading.get_ident()] = time.monotonic()
                    return batch
            for queue in (self._queue, self._bulk):
                while queue:
                    _fail(queue.popleft(), Busy("the worker is stopping", retry_after=RETRY_AFTER))
            return []

    def _next_bulk(self) -> deque[_Work] | None:
        """The bulk work that may run now, if there is any."""
        places = len(self._threads)
        if places > 1 and time.monotonic() - self._asked < ASKED_SECONDS:
            places -= 1
        return self._bulk if self._bulk and self._bulk_running < places else None

    def _claim(self, work: _Work) -> bool:
        """Whether the work is still wanted; otherwise it is counted and dropped."""
        if work.done:  # it runs already, and only gave way
            return True
        if time.monotonic() < work.deadline and work.future.set_running_or_notify_cancel():
            return True
        self._count(expired=1)
        _fail(work, Busy("the request waited too long for the model", retry_after=RETRY_AFTER))
        return False

    def _run(self, batch: list[_Work]) -> int:
        """One call for all; when it fails, one for each, so that no request fails for its neighbour. Gives failures."""
        try:
            if batch[0].bulk and not self._shares:
                return self._run_giving_way(batch[0])
            vectors = self.embedder.run([part for work in batch for part in work.spectrograms])
        except Exception as error:
            if len(batch) > 1:
                _logger.warning("a batch of %d failed and is run one by one: %s", len(batch), error)
                return sum(self._run([work]) for work in batch)
            batch[0].future.set_exception(error)
            return 1
        start = 0
        for work in batch:
            work.future.set_result(vectors[start : start + len(work.spectrograms)])
            start += len(work.spectrograms)
        return 0

    def _run_giving_way(self, work: _Work) -> int:
        """A call for each spectrogram, until someone waits: the rest is first in line after them."""
        for part in work.spectrograms[len(work.done) :]:
            work.done.append(self.embedder.run([part])[0])
            with self._changed:
                if (self._queue or self._turns) and len(work.done) < len(work.spectrograms) and not self._stopping:
                    self._bulk.appendleft(work)
                    self._changed.notify()
                    return 0
        work.future.set_result(np.stack(work.done))
        return 0

    def _count(self, **more: float) -> None:
        for name, value in more.items():
            setattr(self._metrics, name, getattr(self._metrics, name) + value)

    @staticmethod
    def _wait(future: Future[np.ndarray], timeout: float) -> np.ndarray:
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise Busy(f"the model did not answer within {timeout:g} s", retry_after=RETRY_AFTER) from None


def _fail(work: _Work, error: Exception) -> None:
    with suppress(InvalidStateError):  # cancelled at this very moment
        work.future.set_exception(error)
