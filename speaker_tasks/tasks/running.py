"""How a task runs for its job: once, its outcome in the job's record, its audio deleted, its webhook called.

A task may be called twice (delivery is at least once); the job's record lets only the first outcome in. What a user can
mend ends the job as a typed failure. A Redis server that is away, or refuses to write, is waited for: the work is done,
and what came of it is not lost. Whoever calls a task by Celery gets a job too, and its answer from the result backend.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar

import orjson
import redis
from celery import Task, shared_task
from celery.exceptions import Ignore
from celery.utils.log import get_task_logger
from kombu.exceptions import OperationalError

from speaker_tasks import logs, metrics
from speaker_tasks.celery_app import ENROLL_QUEUE, RECOGNIZE_QUEUE
from speaker_tasks.errors import GivenUp, Malformed, PayloadGone, SpeakerTasksError, Unavailable, storage_full
from speaker_tasks.jobs import JobStore
from speaker_tasks.jobs.audio import PAYLOAD_PREFIX, Audio
from speaker_tasks.jobs.delivery import JOB_HEADER, Message
from speaker_tasks.jobs.record import State, outcome
from speaker_tasks.redis_server import is_refusal, refusal
from speaker_tasks.tasks import arguments, endings
from speaker_tasks.tasks.context import WorkerContext, current
from speaker_tasks.tasks.handing import place_for
from speaker_tasks.tasks.timings import Timings

logger = get_task_logger(__name__)

WEBHOOK_TASK = "speaker_tasks.webhook"
QUESTIONS = ("identify", "verify", "embed", "compare", "check", "speaker", "feats")
PUBLIC = {f"speaker_tasks.{name}" for name in (*QUESTIONS, "enroll", "timeline")}
"""What others may call."""
JOB_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
ATTEMPTS = 3
"""How often work is begun before its job is given up: what kills a worker each time would kill the last one too."""
PAUSE_SECONDS = 1.0
FULL_SECONDS = 0.5
"""How long bulk work waits before it asks again for a place in a worker that has none free."""
PASSING = ("UNBLOCKED ", "MASTERDOWN ", "BUSY ", "LOADING ")
"""What stands in answers by which Redis puts off what it is asked for; and see `redis_server.REFUSALS`."""

Options = TypeVar("Options", bound=arguments.Question)
Done = TypeVar("Done")


@dataclass(frozen=True)
class Question(Generic[Options]):
    """One call, ready to be answered."""

    options: Options
    recordings: tuple[Audio | str, ...]
    """Each a payload, or a path or URL."""
    token: bytes
    """The banks' token (`ActiveMode.token`) when the task began."""
    timings: Timings
    """What its steps took, the wait in the queue first."""


Work = Callable[[WorkerContext, Question[Any]], dict[str, Any]]


def question(name: str, kind: str, model: type[arguments.Question]) -> Callable[[Work], Work]:
    """Register a function that answers a question as the task `speaker_tasks.<name>`, whose jobs are of that kind."""

    def declare(work: Work) -> Work:
        @shared_task(bind=True, name=f"speaker_tasks.{name}", throws=(SpeakerTasksError,), ignore_result=False)
        def run(self: Task, *positional: Any, **named: Any) -> dict[str, Any]:
            return _run(Call(self, current(), kind), work, model, positional, named)

        return work

    return declare


def with_redis_retries(context: WorkerContext, work: Callable[[], Done]) -> Done:
    """What `work` gives, again and again while Redis is away or refuses; not when the worker is leaving."""
    while True:
        try:
            return work()
        except (redis.RedisError, OperationalError) as error:
            if not is_passing(error) or context.leaving.wait(PAUSE_SECONDS):
                raise
            metrics.RETRIES.inc()
            logger.warning("Redis is asked again: %s (%s)", refusal(error), error)


def is_passing(error: Exception) -> bool:
    """Whether Redis may take later what it refuses now."""
    if isinstance(error, (redis.ConnectionError, redis.TimeoutError, OperationalError)):
        return True
    return is_refusal(error) or any(one in f"{error} " for one in PASSING)


def is_wanted(task: Task) -> bool:
    """Whether somebody asks the result backend for what the task returns."""
    request = task.request
    return not request.ignore_result or bool(request.callbacks or request.chain or request.chord)


def reply_options(task: Task) -> dict[str, Any]:
    """Where the answer goes to, for a message that does the same work again, or ends it."""
    request = task.request
    names = {"link": "callbacks", "link_error": "errbacks", "group_id": "group"}
    names |= {one: one for one in ("chain", "chord", "group_index", "root_id", "parent_id")}
    options = {name: getattr(request, attribute, None) for name, attribute in names.items()}
    kept = {name: value for name, value in options.items() if value is not None}
    return kept | {"ignore_result": bool(request.ignore_result)}


@dataclass(frozen=True)
class Begun:
    """What Redis gave when an attempt began."""

    attempt: int
    waited: float
    """Seconds since the job was made, by Redis' clock."""
    token: bytes
    """The banks' token."""
    payloads: Sequence[bytes | None]


class Call:
    """One call of a task, and its job."""

    def __init__(self, task: Task, context: WorkerContext, kind: str, queue: str = RECOGNIZE_QUEUE) -> None:
        self.task, self.context, self.kind, self.queue = task, context, kind, queue
        self.id = str(task.request.id)
        self.job: str = task.request.get(JOB_HEADER) or self.id
        self.is_ours = task.request.get(JOB_HEADER) is not None
        self.request_id = ""
        """Of the HTTP request that made the job, once it has begun."""
        self.bank: str | None = None
        """The bank that the job names, once it has begun."""

    def begin(self, jobs: JobStore, kwargs: Mapping[str, Any], keys: Sequence[str], *, ended: bool = False) -> Begun:
        """Begin the attempt, with the payloads of `keys`.

        Raises `Ignore` for what another worker does, `Over` for what is done. Who called by Celery gets a job. `ended`
        is for what is done when its job has ended.
        """

        call = secrets.token_hex(8)

        def attempt() -> list[Any]:
            pipe = self.context.redis.pipeline(transaction=False)
            job_key, worker = jobs.key(self.job), self.context.worker
            self.context.deliveries.begin(self.id, job_key, worker, pipe, ended=ended, call=call)
            pipe.time()
            pipe.hmget(jobs.key(self.job), "created", "about")
            pipe.get(self.context.banks.token_key)
            for key in keys:
                pipe.get(key)
            return pipe.execute()

        begun = with_redis_retries(self.context, attempt)
        if begun[0] == b"unknown" and not self.is_ours:
            self._check_callable()
            with_redis_retries(self.context, lambda: self._adopt(jobs, kwargs))
            begun = with_redis_retries(self.context, attempt)
        if begun[0] == b"held":
            raise Ignore("another worker does it")
        if isinstance(begun[0], bytes):
            raise Over
        attempt_number, (seconds, micros), (created, about), token, *payloads = begun
        waited = max(0.0, seconds + micros / 1e6 - float(created)) if created else 0.0
        described = orjson.loads(about) if about else {}
        self.request_id, self.bank = str(described.get("request_id") or ""), described.get("bank")
        return Begun(attempt_number, waited, token or b"0", payloads)

    def hand_on(self, kwargs: Mapping[str, Any], place: str) -> NoReturn:
        """Let a worker of that place do what has begun here. Raises `Ignore`."""
        put_off(self, kwargs, 0.0, place=place)

    def _check_callable(self) -> None:
        """Raise `Malformed` for a task that only its job may send, or an id that cannot be a job's."""
        if self.task.name not in PUBLIC:
            raise Malformed(f"{self.task.name} is a step of a job; call {', '.join(sorted(PUBLIC))}")
        if not JOB_ID.fullmatch(self.id):
            raise Malformed(f"a task's id has 1 to 64 letters, digits and -_.; got {self.id[:80]!r}")

    def _adopt(self, jobs: JobStore, kwargs: Mapping[str, Any]) -> None:
        about = {name: value for name, value in kwargs.items() if name not in ("audio", "source", "webhook")}
        job, fields = jobs.described(self.kind, about={**about, "asked_by": "celery"}, job_id=self.job)
        message = Message(self.id, self.job, self.task.name, self.queue, dict(kwargs), reply_options(self.task))
        jobs.submit(job, fields, message)


class Over(Exception):
    """The work is done, or nobody wants it any more."""


def attempted(
    context: WorkerContext, attempt: int, work: Callable[[], Done], *, through: tuple[type[Exception], ...] = ()
) -> Done | SpeakerTasksError:
    """What the work gives, or the error that it ends with. Redis is waited for; what is `through` is raised."""

    def once() -> Done | SpeakerTasksError:
        try:
            if attempt > ATTEMPTS:
                return GivenUp(f"given up: its worker died at each of {ATTEMPTS} attempts", attempts=ATTEMPTS)
            return work()
        except through:
            raise
        except SpeakerTasksError as error:
            return error
        except redis.RedisError as error:
            if is_passing(error):
                raise
            return _logged()
        except Exception as error:
            return storage_full(error, "worker") or _logged()

    return with_redis_retries(context, once)


def attempted_in_bulk(
    call: Call, kwargs: dict[str, Any], attempt: int, work: Callable[[], Done]
) -> Done | SpeakerTasksError:
    """`attempted` in one of the worker's places for bulk work. The call is put off, by `Ignore`, while all are taken or
    something that the work needs is unavailable. Raises `Over`.
    """
    context = call.context
    if not context.bulk.acquire(blocking=False):
        put_off(call, kwargs, FULL_SECONDS)
    try:
        return attempted(context, attempt, work, through=(Over, Unavailable))
    except Unavailable as away:
        logger.warning("%s is put off: %s", call.id, away)
        put_off(call, kwargs, 0.0 if context.leaving.is_set() else FULL_SECONDS)
    finally:
        context.bulk.release()


def _run(
    call: Call, work: Work, kind: type[arguments.Question], positional: Sequence[Any], named: Mapping[str, Any]
) -> dict[str, Any]:
    context, jobs = call.context, call.context.questions
    options: arguments.Question | SpeakerTasksError
    try:
        options = arguments.read(kind, positional, named)
        options = options.model_copy(update={"audio": [kept(context, one) for one in options.audio]})
    except SpeakerTasksError as error:
        options = error
    refused = isinstance(options, SpeakerTasksError)
    kwargs = {} if refused else options.model_dump(exclude_none=True, exclude_unset=True)  # type: ignore[union-attr]
    keys = [one for one in kwargs.get("audio", ()) if one.startswith(PAYLOAD_PREFIX)]
    try:
        begun = call.begin(jobs, kwargs, keys)
    except Over:
        if keys:
            with_redis_retries(context, lambda: context.audio.delete(*keys))
        return as_it_ended(call, jobs)
    timings = Timings()
    timings.add("queue", 1000 * begun.waited)

    def answer() -> dict[str, Any]:
        if isinstance(options, SpeakerTasksError):
            raise options
        recordings = _recordings(options.audio, dict(zip(keys, begun.payloads, strict=True)))
        return work(context, Question(options, recordings, begun.token, timings))

    with logs.bound(job=call.job, request_id=call.request_id):
        answered = attempted(context, begun.attempt, answer)
        if isinstance(answered, SpeakerTasksError) and (
            place := place_for(context, call.queue, answered, kwargs.get("audio", ()))
        ):
            call.hand_on(kwargs, place)
        failed = isinstance(answered, SpeakerTasksError)
        outcome = {"error": answered.to_dict()} if isinstance(answered, SpeakerTasksError) else {"result": answered}
        state: State = "failed" if failed else "succeeded"
        message = webhook_message(call, kwargs.get("webhook"))
        finish(call, jobs, state, outcome, drop=keys, message=message, timings=timings)
    if isinstance(answered, SpeakerTasksError):
        raise answered
    return plain(answered) if is_wanted(call.task) else _summary(call.job, answered)


def finish(
    call: Call,
    jobs: JobStore,
    state: State,
    outcome: dict[str, dict[str, Any]],
    *,
    drop: Sequence[str] = (),
    message: Message | None = None,
    timings: Timings | None = None,
) -> None:
    """Write how the job ended: its `result` or its `error`; and send `message`, which is written down before that."""
    context = call.context

    def write() -> bool:
        if message is not None:
            pipe = context.redis.pipeline()
            context.deliveries.expect(message, pipe)
            pipe.execute()
        return jobs.finish(call.job, state, drop=drop, message_id=call.id, **outcome)

    if with_redis_retries(context, write):
        endings.note(call.kind, state, outcome, timings, bank=call.bank)
    if message is not None:
        with suppress(redis.RedisError, OperationalError):  # the sweep sends it
            context.deliveries.send(message)


def webhook_message(call: Call, url: str | None) -> Message | None:
    """The message that tells a URL how the call's job ended."""
    return Message(f"{call.job}-webhook", call.job, WEBHOOK_TASK, ENROLL_QUEUE, {"url": url}) if url else None


def put_off(call: Call, kwargs: Mapping[str, Any], seconds: float, *, place: str = "") -> NoReturn:
    """Do the call's work later, here or elsewhere; at that place, if one is named."""
    message = Message(call.id, call.job, call.task.name, call.queue, dict(kwargs), reply_options(call.task))
    with_redis_retries(call.context, lambda: call.context.deliveries.put_off(message, seconds, place=place))
    raise Ignore("a worker that can do it does it" if place else "it is put off")


def internal() -> SpeakerTasksError:
    """The error of what is our fault."""
    return SpeakerTasksError("internal error; the worker's log has the reason")


def _logged() -> SpeakerTasksError:
    """`internal`; the exception that is being handled goes into the log."""
    logger.exception("a task failed for a reason that is ours")
    return internal()


def kept(context: WorkerContext, source: str) -> str:
    """A source as it is, or the key of the payload that a recording in base64 becomes. Raises `Malformed`."""
    if source.startswith(PAYLOAD_PREFIX) or "://" in source or (source.startswith("/") and source[1:2] != "/"):
        return source
    text = source.partition(",")[2] if source.startswith("data:") else source
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"audio: neither a path or URL, nor base64: {error}", where="audio") from None
    if not data:
        raise Malformed("audio: the recording is empty (0 bytes)", where="audio")
    return with_redis_retries(context, lambda: context.audio.put(Audio.of_file(data).pack()))


def _recordings(sources: Sequence[str], payloads: Mapping[str, bytes | None]) -> tuple[Audio | str, ...]:
    recordings: list[Audio | str] = []
    for source in sources:
        if source not in payloads:
            recordings.append(source)
            continue
        payload = payloads[source]
        if payload is None:
            raise PayloadGone("the recording expired before a worker took it; send it again", key=source)
        recordings.append(Audio.unpack(payload))
    return tuple(recordings)


def as_it_ended(call: Call, jobs: JobStore) -> dict[str, Any]:
    """The answer again for a message that came twice, or too late. Raises what the job ended with."""
    try:
        job = with_redis_retries(call.context, lambda: jobs.get(call.job))
    except SpeakerTasksError:
        raise Ignore("the job is forgotten") from None
    return outcome(job) if job.over and is_wanted(call.task) else {"job": job.id, "state": job.state}


def plain(result: dict[str, Any]) -> dict[str, Any]:
    """The answer in numbers and lists of Python's own."""
    plain: dict[str, Any] = orjson.loads(orjson.dumps(result, option=orjson.OPT_SERIALIZE_NUMPY))
    return plain


def _summary(job_id: str, result: dict[str, Any]) -> dict[str, Any]:
    """What Flower shows of an answer that its caller takes from the job's record."""
    short = {name: value for name, value in result.items() if isinstance(value, (str, int, float, bool))}
    return {"job": job_id} | short
