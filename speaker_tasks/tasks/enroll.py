"""Enrollment tasks: a source is cut into chunks, chunks embed their recordings, the last one's end assembles the bank.

Each task may run twice (delivery is at least once): a recording's outcome is counted once, by its number in the job;
the bank's new version is written once, by the job's id. A crash at any point leaves the old version serving. A few
chunks of a job are on their way at a time, each sends the one that comes so many after it, and each worker does so
much bulk work at once as leaves threads for whoever waits for a recognition.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Task, shared_task
from celery.exceptions import Ignore
from celery.utils.log import get_task_logger

from banks.names import clean_bank_name
from enrollment.gates import Verdict
from enrollment.manifest import Entry
from enrollment.report import Outcome, Reason
from enrollment.sources import Options
from speaker_tasks import logs
from speaker_tasks.celery_app import ENROLL_QUEUE
from speaker_tasks.errors import Conflict, ModelMismatch, PayloadGone, SpeakerTasksError, Unavailable, Unusable
from speaker_tasks.jobs.delivery import Message
from speaker_tasks.jobs.heartbeat import WorkerRegistry
from speaker_tasks.jobs.vectors import Measures
from speaker_tasks.tasks import arguments, assemble, identity
from speaker_tasks.tasks import gates as judging
from speaker_tasks.tasks.context import WorkerContext, current
from speaker_tasks.tasks.handing import place_for, place_that_sees
from speaker_tasks.tasks.ledger import Ledger
from speaker_tasks.tasks.plan import Numbered, Plan, Request
from speaker_tasks.tasks.reading import read_manifest, read_source
from speaker_tasks.tasks.recordings import PAYLOAD, Run
from speaker_tasks.tasks.running import (
    Call,
    Over,
    as_it_ended,
    attempted_in_bulk,
    finish,
    is_wanted,
    put_off,
    reply_options,
    with_redis_retries,
)

logger = get_task_logger(__name__)

START_TASK = "speaker_tasks.enroll"
CHUNK_TASK = "speaker_tasks.enroll_chunk"
FINISH_TASK = "speaker_tasks.enroll_finish"
MOST_MISSING = 0.2
"""An enrollment of which a larger share of recordings is missing writes nothing."""
ABSENT_SECONDS = 5.0
"""How long a step waits before it looks again for a worker of its model."""
LOOK_SECONDS = 0.2
"""How often a chunk looks whether its job was canceled."""


@dataclass(frozen=True)
class Step:
    """One message of an enrollment, as its task sees it."""

    job: str
    kwargs: dict[str, Any]
    named: dict[str, Any]
    """Its message's arguments as they came."""
    reply: dict[str, Any] | None = None
    """Where the answer goes to, if somebody called the enrollment by Celery."""

    def following(self, task: str, suffix: str = "", **kwargs: Any) -> Message:
        """A message that goes on with the job; what ends the job has its id, and answers."""
        options = (self.reply or {}) if task == FINISH_TASK else {}
        carried = {"reply": self.reply} if self.reply and task != FINISH_TASK else {}
        return Message(self.job + suffix, self.job, task, ENROLL_QUEUE, kwargs | carried, options)


Following = Sequence[Message] | dict[str, Any]
"""The messages that go on with the job, or what the job ended with."""
Work = Callable[[WorkerContext, Step], Following]


def step(name: str) -> Callable[[Work], Work]:
    """Register a step of an enrollment as the task of that name: an error of our tree ends the job.

    A Redis server that is away is waited for; a network that does not answer puts the step off.
    """

    def declare(work: Work) -> Work:
        @shared_task(bind=True, name=name, throws=(SpeakerTasksError,), ignore_result=False)
        def run(self: Task, *positional: Any, **named: Any) -> dict[str, Any]:
            return _run(Call(self, current(), "enroll", ENROLL_QUEUE), work, positional, named)

        return work

    return declare


@step(START_TASK)
def enroll(context: WorkerContext, step: Step) -> Following:
    """Read the source, cut it into chunks, send the first of them."""
    request = _request(step.kwargs)
    plan, model = _plan(context, step.job), context.embedder.model_id
    _check_model(context, request)
    assemble.check(context.banks, request, model)
    head = plan.head() or plan.write(request, read_source(context, request), model)
    context.jobs.amend(step.job, {f"~{number:07d}": outcome for number, outcome in enumerate(head.skipped)})
    if not head.recordings:
        why = f": {head.skipped[0]['message']}" if head.skipped else ""
        raise Unusable(f"the source holds no recording{why}", skipped=len(head.skipped))
    context.jobs.set_total(step.job, head.recordings)
    workers = WorkerRegistry(context.redis, context.settings.heartbeat_seconds).alive()
    many = context.settings.concurrency * max(1, sum(ENROLL_QUEUE in one.queues for one in workers))
    return [_chunk(step, number, many) for number in range(min(many, head.chunks))]


@step(CHUNK_TASK)
def enroll_chunk(context: WorkerContext, step: Step) -> Following:
    """Embed the recordings of one chunk that were not embedded before."""
    number, stride = step.kwargs["chunk"], step.kwargs["stride"]
    plan = _plan(context, step.job)
    chunk = plan.chunk(number)
    done = context.jobs.entries(step.job, [one.key for one in chunk])
    todo = {one.key: one for one in chunk if one.key not in done}
    head = plan.head()
    if head is None:
        return []  # the job has ended meanwhile
    entries = [(one.key, one.entry) for one in todo.values()]
    ledger, stop = Ledger(context, plan, step.job), _Stop(context, step.job)
    for embedded in Run(context).over(entries, stop):
        ledger.note(todo.pop(embedded.key), embedded)
    ledger.write()
    if context.jobs.get(step.job).over:
        _clean(context, step.job, {})  # whoever cleaned before did not know of what this chunk has just written
        raise Over
    if todo:
        raise Unavailable("the worker ends; another one goes on")
    if number + stride < head.chunks:
        return [_chunk(step, number + stride, stride)]
    return [step.following(FINISH_TASK)] if _all_recorded(context, step.job) else []


@step(FINISH_TASK)
def enroll_finish(context: WorkerContext, step: Step) -> Following:
    """Look at all recordings together, write the bank's new version and end the job."""
    job_id, plan = step.job, _plan(context, step.job)
    head = plan.head()
    if head is None:
        raise Over
    request, model = head.request, context.embedder.model_id
    outcomes, clips = _gather(context, plan, job_id, plan.all(head))
    _check_missing(outcomes.values(), request)
    before = context.banks.get(request.bank, clips=True) if request.bank in context.banks.names() else None
    alike = context.settings.gate_outlier
    checked = identity.check(before, clips, request.mode, force=request.force, alike=alike)
    clips, amended = checked.clips, checked.outcomes
    warnings = checked.warnings + judging.mixed_warnings(context, request, clips)
    if clips and not request.force:
        verdicts = judging.together(context, request, clips)
        amended |= {clip.one.key: _judged(clip, verdicts[clip.one.key]) for clip in clips if clip.one.key in verdicts}
        clips = [clip for clip in clips if clip.one.key not in verdicts]
    outcomes |= amended
    context.jobs.amend(job_id, {key: outcome.to_dict() for key, outcome in amended.items()})
    if not clips:
        reasons = dict(Counter(outcome.reason.value for outcome in outcomes.values()))
        names = ", ".join(head.speakers)
        raise Unusable(f"no usable recording of {names}", speakers=list(head.speakers), reasons=reasons)
    if not request.dry_run and not context.jobs.begin_writing(job_id):
        raise Over
    version = None if request.dry_run else assemble.write(context.banks, head, clips, model, job_id)
    result = assemble.result(head, list(outcomes.values()), version, model)
    result["warnings"] = warnings + judging.warnings(context, request, clips, version)
    if version is not None:
        result["warnings"] += judging.advice_on(context, request.bank, version, job_id, clips)
        context.keeper.cache.keep([clip.key for clip in clips])
        result["warnings"] += context.keeper.saved(request.bank)
        _note(context, job_id, result)
    return result


def _run(call: Call, work: Work, positional: Sequence[Any], named: dict[str, Any]) -> dict[str, Any]:
    context = call.context
    step = _step(call, named)
    try:
        begun = call.begin(context.jobs, step.kwargs, [])
    except Over:
        return _over(call, step)
    with logs.bound(job=call.job, request_id=call.request_id):
        return _go_on(call, work, step, begun.attempt, positional=positional, named=named)


def _go_on(
    call: Call, work: Work, step: Step, attempt: int, *, positional: Sequence[Any], named: dict[str, Any]
) -> dict[str, Any]:
    """Do the step that has begun, and send what follows or write how the job ended."""
    context = call.context

    def checked() -> Following:
        if call.task.name == START_TASK:
            arguments.read(arguments.Enroll, positional, step.kwargs)
        return work(context, step)

    if place := _elsewhere(call, step):
        call.hand_on(named, place)
    try:
        result = attempted_in_bulk(call, named, attempt, checked)
    except Over:
        return _over(call, step)
    if isinstance(result, SpeakerTasksError):
        if place := place_for(context, ENROLL_QUEUE, result, _source_path(step)):
            call.hand_on(named, place)
        finish(call, context.jobs, "failed", {"error": result.to_dict()})
        _over(call, step)
        raise result
    if isinstance(result, dict):
        finish(call, context.jobs, "partial" if result["speakers_without"] else "succeeded", {"result": result})
        return _over(call, step)
    following = result
    with_redis_retries(context, lambda: context.deliveries.hand_on(call.id, following))
    if call.task.name == START_TASK and step.reply is not None:
        raise Ignore("the job's end answers")
    return {"job": call.job, "sent": len(following)}


def _elsewhere(call: Call, step: Step) -> str | None:
    """Where a later step of an enrollment is done, if it is not here: its vectors are of one model.

    Raises `Ignore` if no worker of that model lives: the step waits for one.
    """
    context = call.context
    if call.task.name == START_TASK:
        return None
    plan = _plan(context, step.job)
    head = with_redis_retries(context, plan.head)
    if head is None:
        return None
    model = head.model or context.embedder.model_id
    if model != context.embedder.model_id:
        place = context.places.other(ENROLL_QUEUE, model=model)
        if place is None:
            logger.warning("%s waits for a worker with the model %s", call.id, model)
            put_off(call, step.named, ABSENT_SECONDS)
        return place
    paths = [one.entry.path for one in plan.chunk(step.kwargs["chunk"])] if "chunk" in step.kwargs else []
    return place_that_sees(context, ENROLL_QUEUE, paths, model)


def _check_model(context: WorkerContext, request: Request) -> None:
    """Raise `ModelMismatch` for another worker's work, and `Conflict` for what does not say which model it means."""
    own = context.embedder.model_id
    if request.model is not None and request.model != own:
        message = f"no worker runs the model {request.model!r}; this one runs {own!r}"
        raise ModelMismatch(message, bank_model=request.model, model=own)
    if request.mode == "rebuild" and request.model is None and len(models := context.places.models()) > 1:
        raise Conflict(f"the workers run several models; name the one to enroll under: {', '.join(models)}")


def _check_missing(outcomes: Iterable[Outcome], request: Request) -> None:
    """Raise `Unusable` if so many recordings are missing that something else is wrong: a disk, a path."""
    reasons = [outcome.reason for outcome in outcomes]
    missing = reasons.count(Reason.MISSING)
    if missing > MOST_MISSING * len(reasons) and not request.force:
        raise Unusable(
            f"{missing} of {len(reasons)} recordings are not there: nothing is written. Look whether the workers see "
            "their folder; `force` enrolls the others all the same",
            missing=missing,
            recordings=len(reasons),
        )


def _source_path(step: Step) -> list[str]:
    """The path that a start names."""
    source = step.kwargs.get("source") or {}
    path = step.kwargs.get("path") or source.get("path") or source.get("folder")
    return [path] if isinstance(path, str) else []


def _step(call: Call, named: dict[str, Any]) -> Step:
    kwargs = dict(named)
    if call.task.name == START_TASK:
        return Step(call.job, kwargs, named, reply_options(call.task) if is_wanted(call.task) else None)
    reply = kwargs.pop("reply", None)
    return Step(call.job, kwargs, named, reply)


def _over(call: Call, step: Step) -> dict[str, Any]:
    """The job has ended, or this step of it was done before: clean, and answer who called by Celery."""
    context = call.context
    job = with_redis_retries(context, lambda: context.jobs.get(call.job))
    if not job.over:
        raise Ignore("it was done before")
    with_redis_retries(context, lambda: _clean(context, call.job, step.kwargs))
    if call.task.name == CHUNK_TASK and step.reply is not None:
        with_redis_retries(context, lambda: context.deliveries.send(step.following(FINISH_TASK)))
        raise Ignore("the job has ended")
    return as_it_ended(call, context.jobs)


def _chunk(step: Step, number: int, stride: int) -> Message:
    return step.following(CHUNK_TASK, f".{number}", chunk=number, stride=stride)


def _note(context: WorkerContext, job_id: str, result: dict[str, Any]) -> None:
    """Write the job's change into the audit log; twice if the worker dies between this and the job's end."""
    about = context.jobs.get(job_id).about
    what = (
        f"{result['mode']}: {result['enrolled']} recordings of {result['speakers']} speakers, version "
        f"{result['version']}, asked by {about.get('key') or about.get('who') or 'a program'}"
    )
    context.keeper.audit.note(f"job:{job_id}", what, result["bank"], request_id=about.get("request_id", ""))


def _request(kwargs: dict[str, Any]) -> Request:
    """What an enrollment is asked to do. Raises `Malformed`, and `Unusable` for a bank's name."""
    given = dict(kwargs)
    if (path := given.pop("path", None)) is not None:
        given["source"] = {"path": path}
    request = Request(**{"source": {}, **given})
    Options.from_dict(request.options)
    clean_bank_name(request.bank)
    return request


def _judged(clip: assemble.Clip, verdict: Verdict) -> Outcome:
    return assemble.outcome(clip.entry, verdict.reason, verdict.message, clip.measures)


def _gather(
    context: WorkerContext, plan: Plan, job_id: str, everything: list[Numbered]
) -> tuple[dict[str, Outcome], list[assemble.Clip]]:
    """All outcomes, and the recordings that were embedded."""
    entries = context.jobs.entries(job_id, [one.key for one in everything])
    outcomes = {key: Outcome.from_dict(entry) for key, entry in entries.items()}
    enrolled = [one for one in everything if one.key in outcomes and outcomes[one.key].enrolled]
    vectors = plan.vectors([one.key for one in enrolled])
    clips = [
        assemble.Clip(one, str(entries[one.key]["clip"]), Measures(**entries[one.key]["measures"]), vector)
        for one, vector in zip(enrolled, vectors, strict=True)
        if vector is not None
    ]
    return outcomes, clips


class _Stop:
    """Whether a chunk should stop here: the worker is leaving, or the job was canceled."""

    def __init__(self, context: WorkerContext, job_id: str) -> None:
        self._context, self._job_id = context, job_id
        self._looked = time.monotonic()

    def __call__(self) -> bool:
        if self._context.leaving.is_set():
            return True
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        return self._context.jobs.state(self._job_id) not in ("queued", "running")


def _all_recorded(context: WorkerContext, job_id: str) -> bool:
    job = context.jobs.get(job_id)
    return job.done + job.failed >= job.total


def _clean(context: WorkerContext, job_id: str, arguments: dict[str, Any]) -> None:
    """Delete what only a running enrollment needs: its plan, and bytes that were uploaded for it."""
    plan = _plan(context, job_id)
    head = plan.head()
    source = head.request.source if head is not None else arguments.get("source", {})
    entries = [one.entry for one in plan.all(head)] if head is not None else _unplanned(context, source)
    given = [source[kind] for kind in ("manifest", "archive") if kind in source]
    uploaded = {entry.path.removeprefix(PAYLOAD) for entry in entries if entry.path.startswith(PAYLOAD)}
    context.audio.delete(*uploaded, *given)
    plan.forget()


def _unplanned(context: WorkerContext, source: dict[str, Any]) -> Sequence[Entry]:
    """The recordings of an enrollment that ended before it was planned, if they were uploaded."""
    try:
        return read_manifest(context, source["manifest"]).entries if "manifest" in source else ()
    except PayloadGone:
        return ()


def _plan(context: WorkerContext, job_id: str) -> Plan:
    return Plan(context.redis, job_id, context.settings.job_ttl)
