"""The ledger of a chunk: what became of its recordings, on its way into the job's record, several in one round trip.

A worker that is killed before that loses a moment's work and nothing else: what the job's record lacks is done again.
"""

from __future__ import annotations

import time
from dataclasses import asdict

from enrollment.manifest import Entry
from enrollment.report import Outcome, Reason, reason_of
from speaker_tasks import metrics
from speaker_tasks.tasks import assemble
from speaker_tasks.tasks import gates as judging
from speaker_tasks.tasks.context import WorkerContext
from speaker_tasks.tasks.plan import Numbered, Plan
from speaker_tasks.tasks.recordings import Embedded

WRITE_SECONDS = 0.2
"""How long an outcome may wait for company."""


class Ledger:
    """Outcomes of one chunk of a job; call `write` at the end."""

    def __init__(self, context: WorkerContext, plan: Plan, job_id: str) -> None:
        self._context, self._plan, self._job_id = context, plan, job_id
        self._pipe = context.redis.pipeline(transaction=False)
        self._written = time.monotonic()

    def note(self, one: Numbered, done: Embedded) -> None:
        """Take down what became of one recording; its measures lie beside the outcome for the end of the job."""
        context, pipe = self._context, self._pipe
        outcome = self._outcome(one.entry, done)
        entry = {**outcome.to_dict(), "clip": done.clip, "measures": asdict(done.measures)}
        if done.vector is not None:  # written before the outcome that speaks of it
            if not done.remembered:
                model = context.embedder.model_id
                context.keeper.cache.put(done.clip, model, done.vector, done.measures, pipeline=pipe)
            if outcome.enrolled:
                self._plan.keep_vector(one.key, done.vector, pipe)
        metrics.RECORDINGS.labels(outcome.reason.value).inc()
        context.jobs.record(self._job_id, one.key, entry, ok=outcome.enrolled, pipeline=pipe)
        if time.monotonic() - self._written > WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what was noted."""
        self._pipe.execute()
        self._written = time.monotonic()

    def _outcome(self, entry: Entry, done: Embedded) -> Outcome:
        path, row, seconds = assemble.shown_path(entry), entry.row, done.measures.seconds
        if done.error is not None:
            return Outcome(entry.speaker, path, reason_of(done.error), done.error.message, row, seconds)
        verdict = judging.alone(done.measures, self._context.settings)
        if verdict is None or self._plan.force:
            message = f"forced: {verdict.message}" if verdict else ""
            return assemble.outcome(entry, Reason.ENROLLED, message, done.measures)
        return assemble.outcome(entry, verdict.reason, verdict.message, done.measures)
