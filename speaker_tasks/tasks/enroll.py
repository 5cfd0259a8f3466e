"""Enrollment tasks: a source is cut into chunks, chunks embed their recordings, the last one's end assembles the bank.

Each task may run twice (delivery is at least once): a recording's outcome is counted once, by its number in the job;
the bank's new version is written once, by the job's id. A crash at any point leaves the old version serving. Between
two recordings a chunk stands back for whoever waits for a recognition: it sends itself again and returns.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import redis
from celery import shared_task
from celery.exceptions import Reject
from celery.utils.log import get_task_logger

from banks.names import clean_bank_name
from enrollment.gates import Verdict
from enrollment.manifest import Entry
from enrollment.report import Outcome
from enrollment.sources import Options
from speaker_tasks.celery_app import ENROLL_QUEUE, RECOGNIZE_QUEUE
from speaker_tasks.errors import Malformed, PayloadGone, SpeakerTasksError, Unavailable, Unusable
from speaker_tasks.outbox import Message
from speaker_tasks.tasks import assemble, judging
from speaker_tasks.tasks.context import WorkerContext, current
from speaker_tasks.tasks.ledger import Ledger
from speaker_tasks.tasks.plan import Numbered, Plan, Request
from speaker_tasks.tasks.reading import read_manifest, read_source
from speaker_tasks.tasks.recordings import PAYLOAD, Run
from speaker_tasks.vectorcache import Measures

logger = get_task_logger(__name__)

CHUNK_TASK = "speaker_tasks.enroll_chunk"
FINISH_TASK = "speaker_tasks.enroll_finish"
LOOK_SECONDS = 0.1
"""How often a chunk looks whether it should stand back."""
STAND_BACK_SECONDS = 0.1
"""How long it does so."""

Step = Callable[[WorkerContext, str, Any], None]


def step(work: Step) -> Callable[..., dict[str, Any]]:
    """Make a step of an enrollment a task's body: an error of our tree ends the job.

    A Redis server that is away, or a network that does not answer, sends the message back.
    """

    @wraps(work)
    def run(job_id: str, **arguments: Any) -> dict[str, Any]:
        context = current()
        try:
            if not context.jobs.start(job_id):
                _clean(context, job_id, arguments)
                return {"ok": True, "skipped": "the job had ended"}
            error = _attempt(work, context, job_id, arguments)
            if error is not None:
                context.jobs.finish(job_id, "failed", error=error)
                _clean(context, job_id, arguments)
        except (redis.ConnectionError, redis.TimeoutError, Unavailable) as away:
            time.sleep(1)
            raise Reject(f"cannot be done now: {away}", requeue=True) from away
        return {"ok": False, "error": error} if error else {"ok": True}

    return run


@shared_task(name="speaker_tasks.enroll_start")
@step
def enroll_start(context: WorkerContext, job_id: str, arguments: dict[str, Any]) -> None:
    """Read the source, cut it into chunks, send them."""
    request = _request(arguments)
    plan = _plan(context, job_id)
    assemble.check(context.banks, request, context.embedder.model_id)
    head = plan.head() or plan.write(request, read_source(context, request))
    context.jobs.amend(job_id, {f"~{number:07d}": outcome for number, outcome in enumerate(head.skipped)})
    if not head.recordings:
        why = f": {head.skipped[0]['message']}" if head.skipped else ""
        raise Unusable(f"the source holds no recording{why}", skipped=len(head.skipped))
    context.jobs.set_total(job_id, head.recordings)
    for chunk in range(head.chunks):
        _send(context, job_id, CHUNK_TASK, chunk=chunk)


@shared_task(name=CHUNK_TASK)
@step
def enroll_chunk(context: WorkerContext, job_id: str, arguments: dict[str, Any]) -> None:
    """Embed the recordings of one chunk that were not embedded before."""
    plan = _plan(context, job_id)
    chunk = plan.chunk(arguments["chunk"])
    done = context.jobs.entries(job_id, [one.key for one in chunk])
    todo = {one.key: one for one in chunk if one.key not in done}
    head = plan.head()
    if head is None:
        return  # the job has ended meanwhile
    entries = [(one.key, one.entry) for one in todo.values()]
    ledger = Ledger(context, plan, job_id)
    for embedded in Run(context).over(entries, _StandBack(context, job_id)):
        ledger.note(todo.pop(embedded.key), embedded)
    ledger.write()
    if context.jobs.get(job_id).over:
        _clean(context, job_id, {})  # whoever cleaned before did not know of what this chunk has just written
        return
    if todo:
        time.sleep(STAND_BACK_SECONDS)
        _send(context, job_id, CHUNK_TASK, chunk=arguments["chunk"])
    elif _all_recorded(context, job_id):
        _send(context, job_id, FINISH_TASK)


@shared_task(name=FINISH_TASK)
@step
def enroll_finish(context: WorkerContext, job_id: str, _arguments: dict[str, Any]) -> None:
    """Look at all recordings together, write the bank's new version and end the job."""
    plan = _plan(context, job_id)
    head = plan.head()
    if head is None:
        return  # the job has ended meanwhile
    request, model = head.request, context.embedder.model_id
    outcomes, clips = _gather(context, plan, job_id, plan.all(head))
    clips, amended = assemble.each_once(clips, force=request.force)
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
        _clean(context, job_id, {})
        return
    version = None if request.dry_run else assemble.write(context.banks, head, clips, model, job_id)
    result = assemble.result(head, list(outcomes.values()), version, model)
    result["warnings"] = judging.warnings(context, request, clips, version)
    if version is not None:
        context.keeper.cache.keep([clip.key for clip in clips])
        result["warnings"] += context.keeper.saved(request.bank)
        _note(context, job_id, result)
    context.jobs.finish(job_id, "partial" if result["speakers_without"] else "succeeded", result=result)
    _clean(context, job_id, {})


def _note(context: WorkerContext, job_id: str, result: dict[str, Any]) -> None:
    """Write the job's change into the audit log; twice if the worker dies between this and the job's end."""
    asked = context.jobs.get(job_id).about
    what = (
        f"{result['mode']}: {result['enrolled']} recordings of {result['speakers']} speakers, version "
        f"{result['version']}, asked by {asked.get('key') or asked.get('who') or 'a program'}"
    )
    context.keeper.audit.note(f"job:{job_id}", what, result["bank"], request_id=asked.get("request_id", ""))


def _attempt(work: Step, context: WorkerContext, job_id: str, arguments: Any) -> dict[str, Any] | None:
    try:
        work(context, job_id, arguments)
    except (redis.ConnectionError, redis.TimeoutError, Unavailable):
        raise
    except SpeakerTasksError as error:
        return error.to_dict()
    except Exception:
        logger.exception("an enrollment failed for a reason that is ours")
        return SpeakerTasksError("internal error; the worker's log has the reason").to_dict()
    return None


def _request(arguments: dict[str, Any]) -> Request:
    try:
        request = Request(**arguments)
        Options.from_dict(request.options)
    except TypeError as error:
        raise Malformed(f"not an enrollment: {error}") from None
    if request.mode not in assemble.MODES:
        raise Malformed(f"there is no mode {request.mode!r}; there is {', '.join(assemble.MODES)}")
    clean_bank_name(request.bank)
    return request


def _judged(clip: assemble.Clip, verdict: Verdict) -> Outcome:
    entry = clip.entry
    path, seconds = assemble.shown_path(entry), clip.measures.seconds
    return Outcome(entry.speaker, path, verdict.reason, verdict.message, entry.row, seconds)


def _gather(
    context: WorkerContext, plan: Plan, job_id: str, everything: list[Numbered]
) -> tuple[dict[str, Outcome], list[assemble.Clip]]:
    """All outcomes, and the recordings that were embedded."""
    told = context.jobs.entries(job_id, [one.key for one in everything])
    outcomes = {key: Outcome.from_dict(entry) for key, entry in told.items()}
    enrolled = [one for one in everything if one.key in outcomes and outcomes[one.key].enrolled]
    vectors = plan.vectors([one.key for one in enrolled])
    clips = [
        assemble.Clip(one, str(told[one.key]["clip"]), Measures(**told[one.key]["measures"]), vector)
        for one, vector in zip(enrolled, vectors, strict=True)
        if vector is not None
    ]
    return outcomes, clips


class _StandBack:
    """Whether a chunk should stop here: someone waits for a recognition, or the job was canceled."""

    def __init__(self, context: WorkerContext, job_id: str) -> None:
        self._context, self._job_id = context, job_id
        self._looked = time.monotonic()  # each turn does something, however many wait

    def __call__(self) -> bool:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return False
        self._looked = now
        pipe = self._context.redis.pipeline(transaction=False)
        pipe.llen(RECOGNIZE_QUEUE)
        self._context.jobs.look(self._job_id, pipe)
        waiting, state = pipe.execute()
        return bool(waiting) or state not in (b"queued", b"running")


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


def _send(context: WorkerContext, job_id: str, task: str, **arguments: Any) -> None:
    message_id = f"{job_id}.{secrets.token_hex(6)}"
    context.outbox.send(Message(message_id, task, ENROLL_QUEUE, {"job_id": job_id, **arguments}))
