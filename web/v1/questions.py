"""`POST /v1/identify`, `/v1/verify`, `/v1/embed`, `/v1/compare`: a recording in, an honest answer out, or a job."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint, Tag

from speaker_tasks.client import CHECK, COMPARE, IDENTIFY, VECTOR, VERIFY, outcome
from speaker_tasks.errors import NotFound, Unusable
from speaker_tasks.jobs import JobRecord
from speaker_tasks.jobs.webhooks import is_allowed
from web.http.accesslog import note, note_answer
from web.http.answers import accepted, left_of, responses
from web.http.idempotency import HEADER, Idempotency
from web.http.limits import let_in
from web.http.security import caller, request_id
from web.shared import services
from web.stopping import is_stopping
from web.v1.bankschemas import BankPath, CheckAnswer, CheckQuery
from web.v1.recordings import ONE, TWO, recordings, request_body
from web.v1.schemas import (
    CompareAnswer,
    CompareQuery,
    IdentifyAnswer,
    IdentifyQuery,
    QuestionQuery,
    VectorAnswer,
    VerifyAnswer,
    VerifyQuery,
)

TAG = Tag(name="questions", description="Who speaks, how sure, or nobody.")
blueprint = APIBlueprint("questions", __name__, url_prefix="/v1", abp_tags=[TAG])

ERRORS = (404, 409, 410, 413, 415, 422)
IDEMPOTENCY_PARAMETER = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "description": "The same request sent again under the same key gets the same job.",
}


class WebhookRefused(Unusable):
    """A webhook to a host or port that is not on the list."""

    code = "webhook_refused"


@blueprint.post("/identify", responses=responses(*ERRORS, answer=IdentifyAnswer, job=True))
def identify(query: IdentifyQuery) -> Response:
    """Who of a bank speaks: a match, nobody who is enrolled, or inconclusive and why."""
    return _ask(IDENTIFY, ONE, query)


@blueprint.post("/verify", responses=responses(*ERRORS, answer=VerifyAnswer, job=True))
def verify(query: VerifyQuery) -> Response:
    """Whether it is the claimed speaker who speaks."""
    return _ask(VERIFY, ONE, query)


@blueprint.post("/embed", responses=responses(*ERRORS, answer=VectorAnswer, job=True))
def embed(query: QuestionQuery) -> Response:
    """The recording's unit vector of 512 numbers."""
    return _ask(VECTOR, ONE, query)


@blueprint.post("/compare", responses=responses(*ERRORS, answer=CompareAnswer, job=True))
def compare(query: CompareQuery) -> Response:
    """Whether two recordings are of one voice."""
    return _ask(COMPARE, TWO, query)


@blueprint.get("/banks/<name>/check", responses=responses(404, 409, 413, 422, answer=CheckAnswer, job=True))
def check(path: BankPath, query: CheckQuery) -> Response:
    """Who of a bank would be recognised: each recording is asked of the bank without it."""
    shared = services()
    shared.banks.version(path.name)  # raises, before anything is sent
    options = {"bank": path.name} | ({"speaker": query.speaker} if query.speaker else {})
    wait = shared.settings.wait_seconds if query.wait is None else query.wait
    if wait:
        shared.check_workers()
    about = {**options, "key": caller().name, "request_id": request_id()}
    job_id = let_in(shared.questions)
    job = shared.client.ask(CHECK, [], options, about=about, job_id=job_id, brief=bool(wait))
    result = shared.client.wait(job, left_of(wait, job), give_up=is_stopping) if wait else None
    return accepted(job) if result is None else jsonify(result)


BODIES: dict[str, dict[str, Any]] = {
    "/v1/identify": request_body(ONE),
    "/v1/verify": request_body(ONE),
    "/v1/embed": request_body(ONE),
    "/v1/compare": request_body(TWO),
}
"""The request bodies, which are too many kinds for a model, by path."""


def _ask(kind: str, names: tuple[str, ...], query: QuestionQuery) -> Response:
    shared = services()
    options = query.model_dump(exclude_none=True)
    wait, webhook = options.pop("wait", shared.settings.wait_seconds), options.pop("webhook", None)
    if webhook is not None:
        check_webhook(webhook)
    if wait:
        shared.check_workers()
    check_bank(options.get("bank"))
    sources = recordings(request, names, shared.settings.max_audio_seconds, "SPEAKER_MAX_AUDIO_SECONDS")
    about = {**options, "key": caller().name, "request_id": request_id()}

    def make(job_id: str | None) -> JobRecord:
        brief = bool(wait) and webhook is None and job_id is None
        job_id = let_in(shared.questions, job_id)
        return shared.client.ask(kind, sources, options, about=about, webhook=webhook, job_id=job_id, brief=brief)

    note(bank=options.get("bank"))
    once = Idempotency(shared.client.redis, shared.client.short_jobs, shared.settings.idempotency_ttl)
    job, first = once.once(request, caller().name, make)
    if not first:
        job = shared.client.short_jobs.follow(job.id, wait)
        result = outcome(job) if job.over else None
    else:
        result = shared.client.wait(job, left_of(wait, job), give_up=is_stopping) if wait else None
    note_answer(job.id, result or {})
    if result is None:
        return accepted(job)
    response = jsonify(result)
    response.headers["Location"] = f"{request.script_root}/v1/jobs/{job.id}"
    return response


def check_bank(name: str | None) -> None:
    """Say that there is no such bank before anything is sent. Raises `NotFound`."""
    shared = services()
    if name is None or name in shared.banks.names() or shared.active.is_mode(name):
        return
    names = shared.banks.names()
    raise NotFound(f"there is no bank {name!r}; there is {', '.join(names) or 'none yet'}", known=names)


def check_webhook(url: str) -> None:
    """Raise `WebhookRefused` for a host or port that is not on the list."""
    if not is_allowed(url, services().settings.webhook_hosts):
        raise WebhookRefused(
            "webhooks go to the hosts and ports of SPEAKER_WEBHOOK_HOSTS only, by http or https, without a password"
        )
