"""The `/v1` endpoints."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, url_for

from speaker_tasks.jobs import JobRecord
from web.shared import services

blueprint = Blueprint("api", __name__, url_prefix="/v1")

POLL_SECONDS = 1
"""What `Retry-After` advises for a job that still runs."""


@blueprint.get("/jobs/<job_id>")
def job(job_id: str) -> Response:
    """A job's state, progress and outcome; 404 for an unknown id."""
    return jsonify({"job": services().client.job(job_id).to_dict()})


def accepted(record: JobRecord) -> Response:
    """202 for a job that goes on: its record, and where to ask for it."""
    response = jsonify({"job": record.to_dict()})
    response.status_code = 202
    response.headers["Location"] = url_for("api.job", job_id=record.id)
    response.headers["Retry-After"] = str(POLL_SECONDS)
    return response
