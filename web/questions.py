"""`POST /v1/identify`, `/v1/verify`, `/v1/embed`, `/v1/compare`: a recording in, an honest answer out, or a job."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Response, jsonify, request
from flask_openapi3 import APIBlueprint, Tag

from speaker_tasks.client import COMPARE, IDENTIFY, VECTOR, VERIFY, outcome
from speaker_tasks.errors import NotFound, Unusable
from speaker_tasks.jobs import JobRecord
from web.answers import accepted, left_of, told
from web.idempotency import HEADER, Idempotency
from web.recordings import ONE, TWO, recordings, request_body
from web.schemas import (
    CompareAnswer,
    CompareQuery,
    IdentifyAnswer,
    IdentifyQuery,
    QuestionQuery,
    VectorAnswer,
    VerifyAnswer,
    VerifyQuery,
)
from web.security import caller, request_id
from web.shared import services
from web.stopping import is_stopping

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
    """A webhook to a host that is not on the list."""

    code = "webhook_refused"


@blueprint.post("/identify", responses=told(*ERRORS, answer=IdentifyAnswer, job=True))
def identify(query: IdentifyQuery) -> Response:
    """Who of a bank speaks: a match, nobody who is enrolled, or inconclusive and why."""
    return _ask(IDENTIFY, ONE, query)


@blueprint.post("/verify", responses=told(*ERRORS, answer=VerifyAnswer, job=True))
def verify(query: VerifyQuery) -> Response:
    """Whether it is the claimed speaker who speaks."""
    return _ask(VERIFY, ONE, query)


@blueprint.post("/embed", responses=told(*ERRORS, answer=VectorAnswer, job=True))
def embed(query: QuestionQuery) -> Response:
    """The recording's unit vector of 512 numbers."""
    return _ask(VECTOR, ONE, query)


@blueprint.post("/compare", responses=told(*ERRORS, answer=CompareAnswer, job=True))
def compare(query: CompareQuery) -> Response:
    """Whether two recordings are of one voice."""
    return _ask(COMPARE, TWO, query)


BODIES: dict[str, dict[str, Any]] = {
    "/v1/identify": request_body(ONE),
    "/v1/verify": request_body(ONE),
    "/v1/embed": request_body(ONE),
    "/v1/compare": request_body(TWO),
}
"""The request bodies, which are too many kinds for a model, by path."""


def _ask(kind: str, names: tuple[str, ...], query: QuestionQuery) -> Response:
    shared = services()
    asked = query.model_dump(exclude_none=True)
    wait, webhook = asked.pop("wait", shared.settings.wait_seconds), asked.pop("webhook", None)
    if webhook is not None:
        _check_webhook(webhook)
    if wait:
        shared.check_workers()
    _check_bank(asked.get("bank"))
    sources = recordings(request, names, shared.settings.max_audio_seconds)
    about = {**asked, "key": caller().name, "request_id": request_id()}

    def make(job_id: str | None) -> JobRecord:
        at_once = wait if webhook is None and job_id is None else 0.0
        return shared.client.ask(kind, sources, asked, about=about, webhook=webhook, job_id=job_id, wait=at_once)

    once = Idempotency(shared.client.redis, shared.client.short_jobs, shared.settings.idempotency_ttl)
    job, first = once.once(request, caller().name, make)
    if not first:
        job = shared.client.short_jobs.follow(job.id, wait)
        result = outcome(job) if job.over else None
    else:
        result = shared.client.wait(job, left_of(wait, job), give_up=is_stopping) if wait else None
    if result is None:
        return accepted(job)
    response = jsonify(result)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return response


def _check_bank(name: str | None) -> None:
    """Say that there is no such bank before anything is sent. Raises `NotFound`."""
    shared = services()
    if name is None or name in shared.banks.names() or shared.active.is_mode(name):
        return
    known = shared.banks.names()
    raise NotFound(f"there is no bank {name!r}; there is {', '.join(known) or 'none yet'}", known=known)


def _check_webhook(url: str) -> None:
    """Raise `WebhookRefused` for a host that is not on the list."""
    try:
        parts = urlsplit(url)
        allowed = parts.scheme in {"http", "https"} and parts.hostname in services().settings.webhook_hosts
    except ValueError:
        allowed = False
    if not allowed:
        raise WebhookRefused("webhooks go to the hosts of SPEAKER_WEBHOOK_HOSTS only, by http or https", url=url)
