"""`/v1/jobs`: what became of a question or an enrollment; each key sees its own jobs, `admin` sees all."""

from __future__ import annotations

from dataclasses import replace

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag

from speaker_tasks.apikeys import ADMIN
from speaker_tasks.errors import Conflict, NotFound
from speaker_tasks.jobs import JobRecord
from web.http.answers import responses
from web.http.events import follow
from web.http.security import caller
from web.shared import services
from web.v1.schemas import JobAnswer, JobList, JobPath, JobQuery

TAG = Tag(name="jobs", description="Running and ended jobs.")
blueprint = APIBlueprint("jobs", __name__, url_prefix="/v1", abp_tags=[TAG])

EVENTS = {
    "description": "Server-sent events: `progress` with the job whenever it moved, `end` with the job, then the end.",
    "content": {"text/event-stream": {"schema": {}}},
}


@blueprint.get("/jobs", responses=responses(404, answer=JobList))
def list_jobs(query: JobQuery) -> Response:
    """List jobs, the newest first."""

    def wanted(job: JobRecord) -> bool:
        return visible(job) and query.kind in (None, job.kind) and query.state in (None, job.state)

    jobs, more = services().client.jobs(wanted, limit=query.limit, before=query.before)
    shown = [replace(job, result=None) if query.brief else job for job in jobs]
    return jsonify({"jobs": [job.to_dict() for job in shown], "next": more})


@blueprint.get("/jobs/<job_id>", responses=responses(404, 410, answer=JobAnswer))
def job(path: JobPath) -> Response:
    """One job's state, progress and outcome."""
    return jsonify({"job": own(path.job_id).to_dict()})


@blueprint.delete("/jobs/<job_id>", responses=responses(404, 409, 410, answer=JobAnswer))
def cancel(path: JobPath) -> Response:
    """Cancel a job that has not ended."""
    job = own(path.job_id)
    canceled = services().client.cancel(job.id)
    if not canceled.over:
        raise Conflict(f"job {job.id} writes its bank and can be canceled no more", job=job.id)
    if canceled.state != "canceled":
        raise Conflict(f"job {job.id} has ended: {canceled.state}", job=job.id, state=canceled.state)
    return jsonify({"job": canceled.to_dict()})


@blueprint.get("/jobs/<job_id>/events", responses=responses(404, 410, answer=EVENTS))
def events(path: JobPath) -> Response:
    """The job's progress as server-sent events."""
    return follow(own(path.job_id))


def own(job_id: str) -> JobRecord:
    """A job that the caller may see. Raises `NotFound`, also for another's job, and `Gone`."""
    job = services().client.job(job_id)
    if not visible(job):
        raise NotFound(f"there is no job {job_id!r}", job=job_id)
    return job


def visible(job: JobRecord) -> bool:
    """Whether the caller may see the job: it is the caller's own, or the caller is `admin`."""
    asking = caller()
    return asking.may(ADMIN) or job.about.get("key") == asking.name
