"""`/v1/jobs`: what became of a question or an enrollment; each key sees its own jobs, `admin` sees all."""

from __future__ import annotations

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag

from speaker_tasks.apikeys import ADMIN
from speaker_tasks.errors import Conflict, NotFound
from speaker_tasks.jobs import JobRecord
from web.answers import told
from web.events import follow
from web.schemas import JobAnswer, JobList, JobPath, JobQuery
from web.security import caller
from web.shared import services

TAG = Tag(name="jobs", description="What goes on, and what came of it.")
blueprint = APIBlueprint("jobs", __name__, url_prefix="/v1", abp_tags=[TAG])

EVENTS = {
    "description": "Server-sent events: `progress` with the job whenever it moved, `end` with the job, then the end.",
    "content": {"text/event-stream": {"schema": {}}},
}


@blueprint.get("/jobs", responses=told(answer=JobList))
def list_jobs(query: JobQuery) -> Response:
    """The newest jobs first."""

    def wanted(job: JobRecord) -> bool:
        return visible(job) and query.kind in (None, job.kind) and query.state in (None, job.state)

    found = services().client.jobs(wanted, limit=query.limit, before=query.before)
    more = found[-1].id if len(found) == query.limit else None
    return jsonify({"jobs": [job.to_dict() for job in found], "next": more})


@blueprint.get("/jobs/<job_id>", responses=told(404, 410, answer=JobAnswer))
def job(path: JobPath) -> Response:
    """One job's state, progress and outcome."""
    return jsonify({"job": own(path.job_id).to_dict()})


@blueprint.delete("/jobs/<job_id>", responses=told(404, 409, 410, answer=JobAnswer))
def cancel(path: JobPath) -> Response:
    """Cancel a job that has not ended."""
    found = own(path.job_id)
    canceled = services().client.cancel(found.id)
    if not canceled.over:
        raise Conflict(f"job {found.id} writes its bank and can be canceled no more", job=found.id)
    if canceled.state != "canceled":
        raise Conflict(f"job {found.id} has ended: {canceled.state}", job=found.id, state=canceled.state)
    return jsonify({"job": canceled.to_dict()})


@blueprint.get("/jobs/<job_id>/events", responses=told(404, 410, answer=EVENTS))
def events(path: JobPath) -> Response:
    """The job's progress as server-sent events."""
    return follow(own(path.job_id))


def own(job_id: str) -> JobRecord:
    """A job that the caller may see. Raises `NotFound`, also for another's job, and `Gone`."""
    found = services().client.job(job_id)
    if not visible(found):
        raise NotFound(f"there is no job {job_id!r}", job=job_id)
    return found


def visible(found: JobRecord) -> bool:
    """Whether the caller may see the job: it is the caller's own, or the caller is `admin`."""
    asking = caller()
    return asking.may(ADMIN) or found.about.get("key") == asking.name
