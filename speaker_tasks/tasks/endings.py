"""A job's end: its line in the log, and its counts."""

from __future__ import annotations

import logging
from typing import Any

from speaker_tasks import logs, metrics, tracing
from speaker_tasks.jobs.record import State
from speaker_tasks.tasks.timings import Timings

logger = logging.getLogger(__name__)


def note(
    kind: str, state: State, outcome: dict[str, dict[str, Any]], timings: Timings | None, *, bank: str | None
) -> None:
    """Write and count how a job ended: with its `result`, or its `error`. Without timings the whole is not measured."""
    result, error = outcome.get("result", {}), outcome.get("error", {})
    decision = result.get("decision")
    whole = None if timings is None else timings.whole
    metrics.JOBS.labels(kind, state).inc()
    if error:
        metrics.JOB_ERRORS.labels(kind, error["code"]).inc()
    if decision is not None:
        metrics.DECISIONS.labels(kind, decision, result.get("reason") or "").inc()
    if timings is not None and whole is not None:
        metrics.JOB_SECONDS.labels(kind).observe(whole / 1000)
        for step, took in timings.ms.items():
            metrics.STEP_SECONDS.labels(step).observe(took / 1000)
    steps = {} if timings is None else {f"speaker.ms.{step}": took for step, took in timings.ms.items()}
    attributes = {"speaker.kind": kind, "speaker.decision": decision, "speaker.error": error.get("code")}
    tracing.note(attributes | steps, failed=state == "failed")
    logs.event(
        logger,
        "job",
        kind=kind,
        state=state,
        ms=None if whole is None else round(whole, 1),
        bank=_bank(result) or bank,
        decision=decision,
        reason=result.get("reason"),
        error=error.get("code"),
        recordings=result.get("enrolled"),
        left_out=result.get("left_out"),
    )


def _bank(result: dict[str, Any]) -> str | None:
    """The bank that was asked or written; the first server's answers call it the mode."""
    bank = result.get("bank", result.get("feats_mode"))
    return bank.get("name") if isinstance(bank, dict) else bank
