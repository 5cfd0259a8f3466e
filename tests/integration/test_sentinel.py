"""Failovers under questions: whoever is the master, recognitions go on within seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest
import requests

from tests.integration.sounds import voice
from tests.integration.stack import Stack, Web, wait_for
from tests.integration.watched import Watched

RESUMED_SECONDS = 10.0


class Questions:
    """Asks all the time; notes when each question that was answered had been asked, and what else came."""

    def __init__(self, web: Web) -> None:
        self.answered: list[float] = []
        self.refused: list[int] = []
        self._web, self._stop = web, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Questions:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def longest_gap(self, since: float) -> float:
        moments = [since, *(one for one in self.answered if one > since)]
        return max(after - before for before, after in pairwise(moments)) if len(moments) > 1 else float("inf")

    def _run(self) -> None:
        body = {"speaker": voice(1).tolist()}
        while not self._stop.wait(0.05):
            asked = time.monotonic()
            try:
                status = self._web.post("/SpeakerFeats", json=body).status_code
            except requests.ConnectionError:
                status = 0
            if status == 200:
                self.answered.append(asked)
            else:
                self.refused.append(status)


@pytest.fixture
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    found = Watched(tmp_path_factory.mktemp("watched"), password="p/w#1", sentinel_password="another")
    yield found
    found.stop()


def test_questions_go_on_after_a_planned_failover_and_after_the_masters_death(watched: Watched) -> None:
    stack = Stack(watched.folder, watched.url)
    given = {"SPEAKER_SENTINEL_PASSWORD": "another"}
    try:
        worker = stack.start_worker(**given)
        web = stack.web(SPEAKER_WAIT_SECONDS="5", **given)
        with Questions(web) as questions:
            deadline = time.monotonic() + 60
            while not questions.answered and time.monotonic() < deadline:
                time.sleep(0.1)
            assert questions.answered, worker.log.read_text()
            for kill in (True, False):
                watched.settle()
                began = time.monotonic()
                promoted = watched.fail_over(kill=kill)
                wait_for("a question of afterwards", lambda promoted=promoted: questions.answered[-1] > promoted, 60)
                time.sleep(4)
                gap = questions.longest_gap(began)
                assert gap < RESUMED_SECONDS, f"killed: {kill}; {worker.log.read_text()[-3000:]}"
        assert set(questions.refused) <= {503, 202}
        assert web.get("/readyz").status_code == 200
        assert worker.popen.poll() is None, "nobody ends"
    finally:
        stack.stop()
