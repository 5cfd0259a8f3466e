"""Requests that wait at the same moment share a call; none waits for ever, and none fails for its neighbour."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest

from speaker_tasks.embedding.batcher import Batcher
from speaker_tasks.errors import Busy
from tests.integration.stack import wait_for


class SlowEmbedder:
    """Gives each spectrogram's first value, in every place of the vector, when it is let go."""

    mixes_lengths = True
    streams, ahead = 1, 0

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.calls: list[int] = []
        self.threads: set[int] = set()

    def run(self, spectrograms: Sequence[np.ndarray]) -> np.ndarray:
        self.entered.set()
        assert self.gate.wait(10)
        self.calls.append(len(spectrograms))
        self.threads.add(threading.get_ident())
        values = np.array([spectrogram[0, 0] for spectrogram in spectrograms], np.float32)
        if np.isnan(values).any():
            raise FloatingPointError("this one is broken")
        return np.repeat(values[:, None], 4, axis=1)


@pytest.fixture
def embedder() -> SlowEmbedder:
    return SlowEmbedder()


@pytest.fixture
def start(embedder: SlowEmbedder) -> Iterator[Callable[..., Batcher]]:
    """Makes batchers, and stops them when the test ends."""
    made: list[Batcher] = []

    def make(**options: float) -> Batcher:
        made.append(Batcher(embedder, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    embedder.gate.set()
    for batcher in made:
        batcher.stop()


def part(value: float) -> list[np.ndarray]:
    return [np.full((1, 1), value, np.float32)]


def test_what_waits_together_shares_a_call_and_each_gets_its_own(embedder: SlowEmbedder, start) -> None:
    batcher = start(max_batch=4)
    first = batcher.submit(part(0))
    assert embedder.entered.wait(10)
    others = [batcher.submit(part(number)) for number in range(1, 7)]
    embedder.gate.set()
    for number, future in enumerate([first, *others]):
        assert future.result(10)[0, 0] == number
    assert embedder.calls == [1, 4, 2]
    assert len(embedder.threads) == 1
    assert threading.get_ident() not in embedder.threads
    wait_for("calls to be counted, after their answers", lambda: batcher.metrics().batches == 3, 10)
    figures = batcher.metrics()
    assert (figures.batches, figures.requests, figures.largest_batch, figures.waiting) == (3, 7, 4, 0)
    assert figures.wait_seconds > 0
    assert figures.run_seconds > 0


def test_where_sharing_gains_nothing_each_runs_in_its_turn(embedder: SlowEmbedder, start) -> None:
    embedder.mixes_lengths = False
    batcher = start(max_batch=4, max_wait_ms=60_000)
    futures = [batcher.submit(part(number)) for number in range(4)]
    embedder.gate.set()
    assert [future.result(30)[0, 0] for future in futures] == [0, 1, 2, 3]
    assert embedder.calls == [1, 1, 1, 1]


def test_the_first_may_wait_a_little_for_company(embedder: SlowEmbedder, start) -> None:
    embedder.gate.set()
    batcher = start(max_batch=2, max_wait_ms=60_000)
    futures = [batcher.submit(part(number)) for number in (1, 2)]
    assert [future.result(30)[0, 0] for future in futures] == [1, 2], "the second need not wait any longer"
    assert embedder.calls == [2]
    lonely = start(max_batch=2, max_wait_ms=20)
    assert lonely.submit(part(3)).result(10)[0, 0] == 3


def test_a_full_queue_turns_away_at_once(embedder: SlowEmbedder, start) -> None:
    batcher = start(max_queue=2)
    running = batcher.submit(part(0))
    assert embedder.entered.wait(10)
    waiting = [batcher.submit(part(1)), batcher.submit(part(2))]
    with pytest.raises(Busy) as caught:
        batcher.submit(part(3))
    assert caught.value.details["retry_after"] > 0
    assert batcher.metrics().rejected == 1
    embedder.gate.set()
    assert [future.result(10)[0, 0] for future in [running, *waiting]] == [0, 1, 2]
    assert batcher.submit(part(4)).result(10)[0, 0] == 4


def test_expired_and_cancelled_work_is_never_run(embedder: SlowEmbedder, start) -> None:
    batcher = start()
    running = batcher.submit(part(0))
    assert embedder.entered.wait(10)
    late = batcher.submit(part(1), timeout=0.01)
    cancelled = batcher.submit(part(2))
    wanted = batcher.submit(part(3))
    assert cancelled.cancel()
    time.sleep(0.02)
    embedder.gate.set()
    assert wanted.result(10)[0, 0] == 3
    with pytest.raises(Busy, match="waited too long"):
        late.result(10)
    with pytest.raises(CancelledError):
        cancelled.result(10)
    assert running.result(10)[0, 0] == 0
    assert embedder.calls == [1, 1]
    assert batcher.metrics().expired == 2


def test_a_request_does_not_fail_for_its_neighbour(embedder: SlowEmbedder, start) -> None:
    batcher = start()
    batcher.submit(part(0))
    assert embedder.entered.wait(10)
    good, bad, other = (batcher.submit(part(value)) for value in (1, np.nan, 2))
    embedder.gate.set()
    with pytest.raises(FloatingPointError, match="broken"):
        bad.result(10)
    assert (good.result(10)[0, 0], other.result(10)[0, 0]) == (1, 2)
    wait_for("the failure to be counted", lambda: batcher.metrics().failed == 1, 10)
    assert batcher.submit(part(5)).result(10)[0, 0] == 5


def test_a_caller_who_waits_too_long_gets_an_error(embedder: SlowEmbedder, start) -> None:
    batcher = start()
    with pytest.raises(Busy, match="within 1 s"):
        batcher.run(part(1), timeout=1)
    assert batcher.metrics().running_for > 0
    embedder.gate.set()
    wait_for("the end of the call", lambda: batcher.metrics().running_for == 0, 10)


def test_a_long_recording_lets_others_in_between(embedder: SlowEmbedder, start) -> None:
    batcher = start(max_batch=1)
    windows = [window for number in range(1, 11) for window in part(number)]
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(lambda: [batcher.run(windows[at : at + 4]) for at in (0, 4, 8)])
        assert embedder.entered.wait(10)
        short = batcher.submit(part(99))
        embedder.gate.set()
        assert short.result(10)[0, 0] == 99
        assert np.concatenate(long.result(10))[:, 0].tolist() == list(range(1, 11))
    assert embedder.calls == [4, 1, 4, 2]


def test_stopping_finishes_what_runs_and_fails_what_waits(embedder: SlowEmbedder, start) -> None:
    batcher = start()
    running = batcher.submit(part(0))
    assert embedder.entered.wait(10)
    waiting = batcher.submit(part(1))
    stopper = threading.Thread(target=batcher.stop)
    stopper.start()
    wait_for("the stop to begin", lambda: batcher._stopping, 10)
    embedder.gate.set()
    stopper.join(10)
    assert running.result(10)[0, 0] == 0
    with pytest.raises(Busy, match="stopping"):
        waiting.result(10)
    with pytest.raises(Busy):
        batcher.submit(part(2))


class TestTurns:
    """Where calls are not shared, whoever waits runs the network in a thread of its own, in order."""

    @pytest.fixture
    def batcher(self, embedder: SlowEmbedder, start: Callable[..., Batcher]) -> Batcher:
        embedder.mixes_lengths = False
        return start(max_queue=2)

    def test_each_runs_by_itself_in_the_order_of_asking(self, embedder: SlowEmbedder, batcher: Batcher) -> None:
        with ThreadPoolExecutor(3) as pool:
            asked = []
            for number in range(3):
                asked.append(pool.submit(batcher.run, part(number)))
                wait_for(
                    "the others to wait",
                    lambda: embedder.entered.is_set() and batcher.metrics().waiting == len(asked) - 1,
                    10,
                )
            bulk = batcher.submit(part(9), bulk=True)
            embedder.gate.set()
            assert [one.result(10)[0, 0] for one in asked] == [0, 1, 2]
            assert bulk.result(10)[0, 0] == 9
        assert embedder.calls == [1, 1, 1, 1]
        assert len(embedder.threads) == 4
        assert batcher.metrics().wait_seconds > 0

    def test_too_many_are_turned_away_and_who_waits_too_long_gives_up(
        self, embedder: SlowEmbedder, batcher: Batcher
    ) -> None:
        with ThreadPoolExecutor(2) as pool:
            running = pool.submit(batcher.run, part(0))
            assert embedder.entered.wait(10)
            with pytest.raises(Busy, match=r"within 0\.05 s"):
                batcher.run(part(1), timeout=0.05)
            assert (batcher.metrics().expired, batcher.metrics().waiting) == (1, 0)
            waiting = [pool.submit(batcher.run, part(2)), batcher.submit(part(3), bulk=True)]
            wait_for("two to wait", lambda: batcher.metrics().waiting == 2, 10)
            batcher._turns.extend([batcher._turns[0]])
            with pytest.raises(Busy, match="2 requests wait"):
                batcher.run(part(4))
            batcher._turns.pop()
            embedder.gate.set()
            assert [one.result(10)[0, 0] for one in (running, *waiting)] == [0, 2, 3]

    def test_a_free_network_is_run_by_who_asks(self, embedder: SlowEmbedder, batcher: Batcher) -> None:
        embedder.gate.set()
        assert batcher.run(part(5)).tolist() == [[5.0] * 4]
        assert embedder.threads == {threading.get_ident()}
        assert batcher.metrics().requests == batcher.metrics().batches == 1
        assert batcher.metrics().running_for == 0

    def test_one_that_fails_gives_its_place_back(self, embedder: SlowEmbedder, batcher: Batcher) -> None:
        embedder.gate.set()
        with pytest.raises(FloatingPointError, match="broken"):
            batcher.run(part(np.nan))
        assert batcher.metrics().failed == 1
        assert batcher.run(part(5))[0, 0] == 5

    def test_stopping_tells_those_who_wait(self, embedder: SlowEmbedder, batcher: Batcher) -> None:
        with ThreadPoolExecutor(2) as pool:
            running = pool.submit(batcher.run, part(0))
            assert embedder.entered.wait(10)
            waiting = pool.submit(batcher.run, part(1))
            wait_for("one to wait", lambda: batcher.metrics().waiting == 1, 10)
            batcher.stop()
            with pytest.raises(Busy, match="stopping"):
                waiting.result(10)
            embedder.gate.set()
            assert running.result(10)[0, 0] == 0
            with pytest.raises(Busy):
                batcher.run(part(2))


class TestBulk:
    @pytest.fixture
    def order(self, embedder: SlowEmbedder, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        """The values of the spectrograms in the order in which the network saw them; calls are not shared."""
        seen: list[float] = []
        run = embedder.run

        def watched(spectrograms: Sequence[np.ndarray]) -> np.ndarray:
            seen.extend(float(spectrogram[0, 0]) for spectrogram in spectrograms)
            return run(spectrograms)

        monkeypatch.setattr(embedder, "run", watched)
        embedder.mixes_lengths = False
        return seen

    def test_it_waits_for_those_who_wait(
        self, embedder: SlowEmbedder, start: Callable[..., Batcher], order: list[float]
    ) -> None:
        batcher = start()
        first = batcher.submit([np.full((1, 1), 1.0)])
        embedder.entered.wait(10)
        bulk = batcher.submit([np.full((1, 1), 2.0)], bulk=True)
        urgent = batcher.submit([np.full((1, 1), 3.0)])
        embedder.gate.set()
        for future in (first, bulk, urgent):
            future.result(10)
        assert order == [1, 3, 2]

    def test_it_gives_way_between_its_windows(
        self, embedder: SlowEmbedder, start: Callable[..., Batcher], order: list[float]
    ) -> None:
        batcher = start()
        bulk = batcher.submit([np.full((1, 1), value) for value in (1.0, 2.0, 3.0)], bulk=True)
        embedder.entered.wait(10)
        urgent = batcher.submit([np.full((1, 1), 9.0)])
        embedder.gate.set()
        assert urgent.result(10)[0, 0] == 9
        assert bulk.result(10)[:, 0].tolist() == [1, 2, 3]
        assert order == [1, 9, 2, 3]
        wait_for("the requests to be counted", lambda: batcher.metrics().requests == 2, 10)

    def test_one_that_fails_after_it_gave_way_says_so(
        self, embedder: SlowEmbedder, start: Callable[..., Batcher], order: list[float]
    ) -> None:
        batcher = start()
        bulk = batcher.submit([np.full((1, 1), 1.0), np.full((1, 1), np.nan)], bulk=True)
        embedder.entered.wait(10)
        batcher.submit([np.full((1, 1), 9.0)])
        embedder.gate.set()
        with pytest.raises(FloatingPointError):
            bulk.result(10)


def test_as_many_calls_run_together_as_the_model_takes(embedder: SlowEmbedder, start: Callable[..., Batcher]) -> None:
    embedder.streams, embedder.mixes_lengths = 2, False
    barrier = threading.Barrier(2, timeout=10)
    embedder.run = lambda spectrograms: (barrier.wait(), np.zeros((len(spectrograms), 4), np.float32))[1]  # type: ignore[method-assign]
    batcher = start()
    futures = [batcher.submit([np.full((1, 1), 1.0)]) for _ in range(4)]
    for future in futures:
        assert future.result(10).shape == (1, 4), "a call alone would wait at the barrier for ever"
