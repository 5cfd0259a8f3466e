"""`POST /v1/banks/<name>/enrollments`: recordings into a bank, as a job; and the report on every one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import Field, ValidationError

from banks.names import clean_bank_name
from enrollment.report import Outcome, Report
from enrollment.sources import Options
from speaker_tasks.errors import Malformed, UnsupportedAudio
from speaker_tasks.jobs import JobRecord
from web.http.accesslog import note
from web.http.answers import accepted, responses
from web.http.body import json_object
from web.http.idempotency import Idempotency
from web.http.limits import let_in
from web.http.security import caller, request_id
from web.shared import services
from web.v1.bankschemas import BankPath
from web.v1.jobs import own
from web.v1.schemas import JobAnswer, JobPath, RequestModel

TAG = Tag(name="enrollment", description="Recordings into banks, and what became of each.")
blueprint = APIBlueprint("enrollments", __name__, url_prefix="/v1", abp_tags=[TAG])

ARCHIVE_TYPES = (
    "application/zip",
    "application/x-zip-compressed",
    "application/x-tar",
    "application/gzip",
    "application/x-gzip",
    "application/x-bzip2",
    "application/x-xz",
    "application/octet-stream",
)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
REPORT = {
    "description": "Each recording's outcome, with the reason why it is not enrolled.",
    "content": {"application/json": {"schema": {"type": "array", "items": {"type": "object"}}}, "text/csv": _BINARY},
}


class EnrollmentQuery(RequestModel):
    """How to enroll."""

    mode: Literal["create", "add", "replace"] = Field(
        "add", description="create: the bank has to be new; add to its speakers; replace the clips of those that come."
    )
    dry_run: bool = Field(False, description="Do everything but write the bank.")
    force: bool = Field(False, description="Also enroll recordings that the quality checks would leave out.")


class EnrollmentBody(RequestModel):
    """Recordings that the workers can read."""

    path: str = Field(
        min_length=1,
        max_length=4000,
        description="A folder, workbook, JSON dictionary, CSV table or archive below SPEAKER_DATA_ROOTS, or an fsspec "
        "URL of a folder below SPEAKER_DATA_URLS.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="How to read it: root; qualify (true: RTTM labels such as SPEAKER_00 as `<file> SPEAKER_00`); for "
        "workbooks recording, speaker, skip_sheets, skip_last, pattern.",
    )


class ReportQuery(RequestModel):
    """In which form."""

    format: Literal["json", "csv"] = "json"


BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "minLength": 1, "maxLength": 4000},
                    "options": {"type": "object"},
                },
                "required": ["path"],
                "additionalProperties": False,
            }
        },
        "application/zip": _BINARY,
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "archive": {"type": "string", "format": "binary"},
                    "options": {"type": "string", "description": "As of a path, in JSON."},
                },
                "required": ["archive"],
            }
        },
    },
}
"""What OpenAPI tells of the body."""


@blueprint.post("/banks/<name>/enrollments", responses=responses(409, 413, 415, 422, answer=JobAnswer, job=True))
def enroll(path: BankPath, query: EnrollmentQuery) -> Response:
    """Start an enrollment: a path, or an uploaded zip or tar archive of one folder a speaker."""
    shared = services()
    bank = clean_bank_name(path.name)
    source, options = source_of_request()
    Options.from_dict(options).layout  # raises, before anything is sent  # noqa: B018
    about = {"bank": bank, **query.model_dump(), "key": caller().name, "request_id": request_id()}
    about |= {"source": source["path"]} if "path" in source else {"source": "upload"}

    def make(job_id: str | None) -> JobRecord:
        job_id = let_in(shared.enrollments, job_id)
        given = source if "path" in source else {"archive": shared.client.keep(source["archive"])}
        how = query.model_dump()
        return shared.client.enroll(about, job_id=job_id, bank=bank, source=given, options=options, **how)

    return accepted(_once(make))


class AgainQuery(RequestModel):
    """Where to."""

    to: str | None = Field(None, min_length=1, max_length=200, description="Another bank; default: the same one.")
    model: str | None = Field(
        None, min_length=1, max_length=200, description="The model's id, where the workers run several."
    )


@blueprint.post("/banks/<name>/re-enrollments", responses=responses(404, 409, 422, answer=JobAnswer, job=True))
def enroll_again(path: BankPath, query: AgainQuery) -> Response:
    """Build a bank again from its recordings with the model that the workers run now."""
    shared = services()
    shared.banks.history(path.name)  # raises, before anything is sent
    bank = clean_bank_name(query.to or path.name)
    about = {"bank": bank, "source": f"bank {path.name}", "key": caller().name, "request_id": request_id()}
    mode = "create" if query.to else "rebuild"
    source = {"bank": path.name}
    under = {"model": query.model} if query.model else {}

    def make(job_id: str | None) -> JobRecord:
        job_id = let_in(shared.enrollments, job_id)
        return shared.client.enroll(about, job_id=job_id, bank=bank, source=source, mode=mode, force=True, **under)

    return accepted(_once(make))


@blueprint.get("/jobs/<job_id>/report", responses=responses(404, 410, answer=REPORT))
def report(path: JobPath, query: ReportQuery) -> Response:
    """What became of every recording of an enrollment, as JSON or CSV; also while it runs."""
    job = own(path.job_id)
    outcomes = Report.of(Outcome.from_dict(entry) for entry in services().client.long_jobs.report(job.id))
    csv = query.format == "csv"
    body = (
        outcomes.to_csv().encode("utf-8-sig") if csv else outcomes.to_json()
    )  # with the mark by which Excel knows UTF-8
    response = Response(body, mimetype="text/csv" if csv else "application/json")
    response.headers["Content-Disposition"] = f"attachment; filename=report-{job.id}.{query.format}"
    return response


def _once(make: Callable[[str | None], JobRecord]) -> JobRecord:
    """The request's job, made by the first of equal requests with an `Idempotency-Key`."""
    shared = services()
    keys = Idempotency(shared.client.redis, shared.client.long_jobs, shared.settings.idempotency_ttl)
    job = keys.once(request, caller().name, make)[0]
    note(job=job.id)
    return job


def source_of_request() -> tuple[dict[str, Any], dict[str, Any]]:
    """The path that the request names, or the archive that it carries; and the options.

    Raises `Malformed`, `TooLarge`, `UnsupportedAudio` for a body of another type.
    """
    request.max_content_length = services().settings.max_upload_bytes
    kind = request.mimetype
    if kind == "application/json":
        try:
            body = EnrollmentBody(**json_object(request.get_data(cache=True)))
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise Malformed(f"{where}: {first['msg']}", where=where) from None
        return {"path": body.path}, body.options
    if kind == "multipart/form-data":
        files = request.files.getlist("archive")
        if len(files) != 1:
            raise Malformed(f"the form has {len(files)} files named 'archive'; one is wanted", key="archive")
        text = request.form.get("options", "")
        return {"archive": _filled(files[0].read())}, json_object(text.encode()) if text else {}
    if kind in ARCHIVE_TYPES:
        return {"archive": _filled(request.get_data(cache=True))}, {}
    raise UnsupportedAudio(
        f"a body of type {kind or 'none'!r}; application/json with a path, or a zip or tar archive is taken",
        content_type=kind,
    )


def _filled(data: bytes) -> bytes:
    if not data:
        raise Malformed("the archive is empty (0 bytes)")
    return data
