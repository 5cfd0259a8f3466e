"""Rounds of a fault campaign: some faults under load, and then the end of everything that was accepted meanwhile."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from benchmarks.failing.clients import Clients, Clips, Seen, settle
from benchmarks.failing.kinds import Fault
from benchmarks.failing.stack import Stack

RECOVERED_SECONDS = 120.0
"""How long it is waited for the next answer before the next fault comes."""
ENDED = re.compile(r" job job=(\w+) .*state=")
"""A line that a job's end leaves in the log."""


@dataclass(frozen=True)
class Happened:
    """One fault, in seconds."""

    name: str
    gap: float
    """The longest time without a question that was answered, by the times at which they were sent."""
    ready: float
    """From its end until `/readyz` was 200 to stay; 0 if it always was."""
    resumed: float
    """From its end to the first answer after it."""
    unready: float
    """That `/readyz` was not 200, in all."""
    claimed: float
    """That `/readyz` was 200 within the gap, though nobody was answered."""
    workers_stayed: bool
    """Or were not expected to."""


@dataclass
class Round:
    """Figures of a round, as they are kept in a file."""

    stack: str
    faults: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    by_fault: dict[str, dict[str, int]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    accepted: dict[str, int] = field(default_factory=dict)
    """Jobs that nobody waited for, by their kind."""
    bad: dict[str, list[str]] = field(default_factory=dict)
    """Of these jobs, those that did not end as they should."""
    duplicated: list[str] = field(default_factory=list)
    """Jobs whose end stands more than once in the log."""
    up_ended: bool = False


class Campaign:
    """A stack with its clients, and what has happened there."""

    def __init__(self, kind: str, stack: Stack, clips: Clips, named: dict[str, Fault], seed: int) -> None:
        self._kind, self._stack, self._clips, self._named = kind, stack, clips, named
        self._chance, self._ends = random.Random(seed), Counter[str]()
        self._bag = self._endless_bag()
        self.clients = Clients(stack.url, clips)

    def run(self, number: int, every: float, show: Callable[[Happened], None]) -> Round:
        """So many faults, one every so many seconds at least; then wait for the jobs that were accepted."""
        figures = Round(self._kind)
        for _ in range(number):
            happened = self._let_happen(next(self._bag), every)
            figures.faults.append(asdict(happened))
            show(happened)
            if self._stack.up.poll() is not None:
                figures.up_ended = True
                break
        self.clients.fault = "none"
        seen = self.clients.turn()
        figures.bad = settle(self._stack, seen, self._clips.present)
        return self._count(figures, seen)

    def _endless_bag(self) -> Iterator[str]:
        """Faults at random; of as many as a bag holds, each kind as often as its share is."""
        bag = [name for name, fault in self._named.items() for _ in range(fault.times)]
        while True:
            yield from self._chance.sample(bag, len(bag))

    def _let_happen(self, name: str, every: float) -> Happened:
        fault, clients, before = self._named[name], self.clients, self._stack.workers()
        clients.fault, began = name, time.monotonic()
        over = fault.cause(self._chance)
        while time.monotonic() < over + RECOVERED_SECONDS and self._stack.up.poll() is None:
            time.sleep(0.1)
            if time.monotonic() > began + every and self._is_well(over):
                break
        stayed = not fault.workers_stay or self._stack.workers() == before
        return measured(name, began, over, clients.answered, clients.ready, stayed=stayed)

    def _is_well(self, since: float) -> bool:
        asked, is_ready = self.clients.ready[-1]
        answered = any(received > since for _, received in self.clients.answered[-20:])
        return answered and is_ready and asked > since

    def _count(self, figures: Round, seen: Seen) -> Round:
        self._ends.update(found[1] for line in self._stack.new_lines() if (found := ENDED.search(line)))
        figures.duplicated = [job for job, times in self._ends.items() if times > 1]
        for job in figures.duplicated:
            del self._ends[job]
        figures.answers, figures.wrong = dict(seen.statuses), seen.wrong
        figures.by_fault = {name: dict(counts) for name, counts in seen.by_fault.items()}
        kinds = {"questions": seen.accepted, "enrollments": seen.enrollments, "timelines": seen.timelines}
        figures.accepted = {name: len(jobs) for name, jobs in kinds.items()}
        return figures


def measured(
    name: str,
    began: float,
    over: float,
    answered: list[tuple[float, float]],
    ready: list[tuple[float, bool]],
    *,
    stayed: bool,
) -> Happened:
    """The figures of a fault, from when it began and was over, and what clients saw."""
    now = time.monotonic()
    moments = [began, *(sent for sent, _ in answered if sent > began), now]
    gap, gap_began = max((later - earlier, earlier) for earlier, later in pairwise(moments))
    samples = [(asked, is_ready) for asked, is_ready in ready if asked > began]
    spans = [(earlier, later - earlier, is_ready) for (earlier, is_ready), (later, _) in pairwise(samples)]
    unready = [asked for asked, is_ready in samples if not is_ready]
    received = [moment for _, moment in answered if moment > over]
    return Happened(
        name=name,
        gap=round(gap, 2),
        ready=round(max(0.0, next((at for at, _ in samples if unready and at > unready[-1]), now) - over), 2)
        if unready
        else 0.0,
        resumed=round((min(received) if received else now) - over, 2),
        unready=round(sum(span for _, span, is_ready in spans if not is_ready), 2),
        claimed=round(sum(span for at, span, is_ready in spans if is_ready and gap_began < at < gap_began + gap), 2),
        workers_stayed=stayed,
    )
