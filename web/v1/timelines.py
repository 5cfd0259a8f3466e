"""`POST /v1/timeline`: who spoke when, by name; `/v1/timelines/<job>`: showing, correcting, enrolling."""

from __future__ import annotations

from typing import Any, Literal

from flask import Response, g, jsonify, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from speaker_tasks.client import outcome
from speaker_tasks.errors import Malformed
from speaker_tasks.jobs import JobRecord
from speaker_tasks.timelines.forms import FORMS
from web.http.answers import accepted, left_of, responses
from web.http.idempotency import Idempotency
from web.http.limits import let_in
from web.http.security import caller, request_id
from web.shared import services
from web.v1.bankschemas import Change
from web.v1.jobs import own
from web.v1.questions import check_bank, check_webhook
from web.v1.recordings import ONE, recordings, request_body
from web.v1.schemas import MAX_NAME, BankUsed, Candidate, JobPath, QuestionQuery, RequestModel

TAG = Tag(name="timelines", description="Who spoke when, by name.")
blueprint = APIBlueprint("timelines", __name__, url_prefix="/v1", abp_tags=[TAG])

ERRORS = (404, 409, 410, 413, 415, 422)
MAX_SPEAKERS, MAX_ROSTER = 50, 1000
BODY: dict[str, Any] = request_body(ONE)
TEXT = {"schema": {"type": "string"}}
FORMATS = {
    "description": "The timeline in the wanted format.",
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/TimelineAnswer"}},
        "image/png": {"schema": {"type": "string", "format": "binary"}},
        **{kind: TEXT for _, kind in FORMS.values()},
    },
}


class TimelineQuery(QuestionQuery):
    """The options of a timeline."""

    bank: str | None = Field(None, min_length=1, max_length=MAX_NAME, description="The bank; default: the active one.")
    roster: list[str] | None = Field(
        None,
        min_length=1,
        max_length=MAX_ROSTER,
        description="Names of the bank who may be present; nobody else is named.",
    )
    speakers: int | None = Field(None, ge=1, le=MAX_SPEAKERS, description="How many people speak, if that is known.")
    min_speakers: int | None = Field(None, ge=1, le=MAX_SPEAKERS)
    max_speakers: int | None = Field(None, ge=1, le=MAX_SPEAKERS)
    overlap: bool = Field(True, description="Two may speak at once; false: one at a time.")


class TimelineFormat(RequestModel):
    """The form of the answer."""

    format: Literal["json", "rttm", "srt", "vtt", "png"] = "json"
    exclusive: bool = Field(False, description="One speaker at a time, for transcripts; of rttm, srt and vtt.")


class Correction(RequestModel):
    """One correction: name a speaker, reassign a turn, merge two speakers, or undo the last correction."""

    action: Literal["name", "reassign", "merge", "undo"]
    speaker: str | None = Field(
        None, min_length=1, max_length=MAX_NAME, description="Of name and merge; the new one of reassign."
    )
    name: str | None = Field(None, min_length=1, max_length=MAX_NAME, description="The new name.")
    turn: int | None = Field(None, ge=1, le=2**31, description="The id of the turn to reassign.")
    into: str | None = Field(
        None, min_length=1, max_length=MAX_NAME, description="Whose the merged speaker's turns are."
    )
    revision: int | None = Field(
        None, ge=0, le=2**31, description="409 if the timeline is not at this revision any more."
    )


class EnrollFrom(RequestModel):
    """A speaker of the timeline to enrol."""

    speaker: str = Field(min_length=1, max_length=MAX_NAME)
    name: str | None = Field(None, min_length=1, max_length=MAX_NAME, description="Default: the speaker's own.")
    bank: str = Field(min_length=1, max_length=MAX_NAME)
    force: bool = Field(False, description="Pass over the quality gates.")


class TurnShown(BaseModel):
    """Somebody speaks, in seconds from the beginning."""

    id: int
    start: float
    end: float
    speaker: str
    cluster: int
    overlap: bool = Field(description="Whether somebody else speaks in a part of it.")
    score: float | None = Field(
        description="Cosine between the voice of this turn and its speaker's; null if too short."
    )
    probability: float | None = Field(description="That the speaker's name is right; null for who is unknown.")
    reason: str


class PartShown(BaseModel):
    """A part of a turn, without overlap."""

    start: float
    end: float
    turn: int
    speaker: str


class SpeakerShown(BaseModel):
    """One person of the timeline."""

    speaker: str = Field(description="A name, or unknown-1, unknown-2 and so on.")
    cluster: int
    enrolled: bool = Field(description="Whether the voice was recognised as that of the bank.")
    seconds: float
    turns: int
    clean_seconds: float = Field(description="In which they speak alone.")
    score: float | None
    probability: float | None
    threshold: float | None
    margin: float | None
    decision: str
    reason: str
    message: str
    candidates: list[Candidate]
    vector: list[float]


class TimelineAnswer(BaseModel):
    """Who spoke when."""

    seconds: float
    speech_seconds: float
    overlap_seconds: float
    revision: int = Field(description="How many corrections were made.")
    turns: list[TurnShown]
    exclusive: list[PartShown]
    speakers: list[SpeakerShown]
    too_short: list[dict[str, float]] = Field(description="Speech that is in no turn: too short for a voice.")
    bank: BankUsed
    roster: list[str] | None
    overlap: bool
    model: str
    segmentation: str
    quality: dict[str, float]
    warnings: list[str]
    damaged: bool
    seconds_lost: float
    timings_ms: dict[str, float]


class CorrectedAnswer(BaseModel):
    """The timeline after a correction."""

    timeline: TimelineAnswer


class EnrolledAnswer(Change):
    """Somebody who was enrolled from a timeline."""

    speaker: str
    clips: int
    seconds: float
    left_out: dict[str, int] = Field(description="Clips that a quality gate left out, by its reason.")


@blueprint.post("/timeline", responses=responses(*ERRORS, answer=TimelineAnswer, job=True))
def timeline(query: TimelineQuery) -> Response:
    """Who of a bank speaks when in a long recording: a job, or the timeline if it is ready within `wait` seconds."""
    shared = services()
    options = query.model_dump(exclude_none=True)
    wait, webhook = options.pop("wait", 0.0), options.pop("webhook", None)
    _check_counts(query)
    if webhook is not None:
        check_webhook(webhook)
    if wait:
        shared.check_workers()
    check_bank(options.get("bank"))
    longest = shared.settings.max_recording_seconds
    (source,) = recordings(request, ONE, longest, "SPEAKER_MAX_RECORDING_SECONDS")
    about = {**options, "key": caller().name, "request_id": request_id()}
    about |= {"source": source} if isinstance(source, str) else {"source": "upload"}

    def make(job_id: str | None) -> JobRecord:
        job_id = let_in(shared.enrollments, job_id)
        return shared.client.timeline(source, options, about=about, webhook=webhook, job_id=job_id)

    once = Idempotency(shared.client.redis, shared.client.long_jobs, shared.settings.idempotency_ttl)
    job, _ = once.once(request, caller().name, make)
    if wait:
        job = shared.client.long_jobs.follow(job.id, left_of(wait, job))
    if not job.over:
        return accepted(job)
    response = jsonify(outcome(job))
    response.headers["Location"] = f"{request.script_root}/v1/timelines/{job.id}"
    return response


@blueprint.get("/timelines/<job_id>", responses=responses(404, 410, answer=FORMATS))
def show(path: JobPath, query: TimelineFormat) -> Response:
    """The timeline with its corrections so far, as JSON, RTTM, SRT, WebVTT or a picture."""
    job = own(path.job_id)
    timeline = services().timelines.get(job.id)
    if query.format == "json":
        return jsonify(timeline.to_dict())
    if query.format == "png":
        from speaker_tasks.timelines.picture import png

        return Response(png(timeline), mimetype="image/png")
    write, kind = FORMS[query.format]
    response = Response(write(timeline, job.id, exclusive=query.exclusive), content_type=f"{kind}; charset=utf-8")
    response.headers["Content-Disposition"] = f"attachment; filename=timeline-{job.id}.{query.format}"
    return response


@blueprint.post("/timelines/<job_id>/corrections", responses=responses(404, 409, 410, 422, answer=CorrectedAnswer))
def correct(path: JobPath, body: Correction) -> Response:
    """Correct the timeline: name, reassign, merge, or undo. No bank learns from it."""
    job = own(path.job_id)
    timeline = services().timelines.correct(job.id, body.model_dump(exclude_none=True))
    return jsonify({"timeline": timeline.to_dict()})


@blueprint.post("/timelines/<job_id>/enrollments", responses=responses(404, 409, 410, 422, answer=EnrolledAnswer))
def enroll(path: JobPath, body: EnrollFrom) -> Response:
    """Enrol a speaker of the timeline from the turns in which they speak alone; a rollback of the bank undoes it."""
    job = own(path.job_id)
    g.changed_bank = body.bank  # for the audit log
    done = services().timelines.enroll(job.id, body.speaker, body.bank, name=body.name, force=body.force)
    return jsonify(done.to_dict())


def _check_counts(query: TimelineQuery) -> None:
    """Raise `Malformed` for numbers of speakers that contradict each other."""
    if query.speakers is not None and (query.min_speakers or query.max_speakers):
        raise Malformed("speakers: give speakers, or min_speakers and max_speakers", where="speakers")
    if (query.min_speakers or 1) > (query.max_speakers or MAX_SPEAKERS):
        raise Malformed("min_speakers: more than max_speakers", where="min_speakers")
