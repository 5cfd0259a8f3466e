"""Answers that several views give: a job that goes on, and the errors that OpenAPI tells of."""

from __future__ import annotations

import time
from typing import Any

from flask import Response, jsonify, request
from pydantic import BaseModel

from speaker_tasks import errors
from speaker_tasks.jobs import JobRecord
from web.v1.schemas import ErrorAnswer, JobAnswer

POLL_SECONDS = 1
"""What `Retry-After` advises for a job that still runs."""

EXAMPLES: dict[int, errors.SpeakerTasksError] = {
    400: errors.Malformed("top_k: Input should be less than or equal to 100", where="top_k"),
    401: errors.Unauthorized("a key is wanted: `Authorization: Bearer KEY` or `X-API-Key`"),
    403: errors.Forbidden("the key 'phone' has not the scope 'admin'", scope="admin"),
    404: errors.NotFound("there is no bank 'sales'; there is demo", known=["demo"]),
    409: errors.EmptyBank("nobody is enrolled in 'all'; enroll speakers or ask another bank", bank="all"),
    410: errors.Gone("job '019a…' has ended long ago and is forgotten"),
    413: errors.TooLarge("the recording is longer than 300 s", max_seconds=300.0),
    415: errors.UnsupportedAudio("not a recording that can be read (wav, flac, ogg, opus, mp3, m4a, webm and others)"),
    422: errors.UnusableAudio("0.12 s of sound; at least 0.4 s are needed", seconds=0.12),
    429: errors.TooManyRequests("more than 600/minute; wait 12 s", retry_after=12),
    503: errors.NoWorker("no worker with a warm model is alive", retry_after=5),
}
EVERYWHERE = (400, 401, 403, 429, 503)


def left_of(wait: float, job: JobRecord) -> float:
    """What is left of the seconds that a request waits for the job that it has just made."""
    return max(0.0, wait - (time.time() - job.created))


def accepted(record: JobRecord) -> Response:
    """202 for a job that goes on: its record, and where to ask for it."""
    response = jsonify({"job": record.to_dict()})
    response.status_code = 202
    response.headers["Location"] = f"{request.script_root}/v1/jobs/{record.id}"
    response.headers["Retry-After"] = str(POLL_SECONDS)
    return response


def responses(*statuses: int, answer: type[BaseModel] | dict[str, Any], job: bool = False) -> dict[Any, Any]:
    """The `responses` of a view: its answer, and its errors beside those that every view may give, with examples.

    `job` is for views that may answer 202.
    """
    described: dict[Any, Any] = {"200": answer} | ({"202": JobAnswer} if job else {})
    for status in sorted({*EVERYWHERE, *statuses}):
        described[str(status)] = {
            "description": type(EXAMPLES[status]).__doc__,
            "content": {
                "application/json": {
                    "schema": {"$ref": f"#/components/schemas/{ErrorAnswer.__name__}"},
                    "example": {"error": EXAMPLES[status].to_dict()},
                }
            },
        }
    return described
