"""`POST /v1/enrollments/preview`: what an enrollment would read, by speaker and sheet, before anything runs."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint
from pydantic import BaseModel, Field

from enrollment import archive, sources
from enrollment.archive import Limits
from enrollment.manifest import Manifest
from enrollment.places import is_url
from enrollment.report import Outcome, Reason
from enrollment.roots import inside
from enrollment.sources import Options
from speaker_tasks.errors import Unusable
from web.http.answers import responses
from web.shared import services
from web.v1.enrollments import TAG, source_of_request

blueprint = APIBlueprint("previews", __name__, url_prefix="/v1", abp_tags=[TAG])

MOST_SKIPPED = 500
"""Outcomes of what would be left out that are listed; `left_out` counts all."""
_SHEET = re.compile(r"sheet '(.*)', row \d+")


class PreviewSpeaker(BaseModel):
    """A speaker that the source names."""

    speaker: str
    recordings: int
    sheets: dict[str, int] = Field(description="Recordings by sheet, of a workbook.")


class PreviewAnswer(BaseModel):
    """What would be enrolled, and what would be left out before a recording is listened to."""

    recordings: int
    speakers: list[PreviewSpeaker]
    left_out: int
    skipped: list[dict[str, Any]] = Field(description="As in the report: speaker, path, row, outcome, message.")


@blueprint.post("/enrollments/preview", responses=responses(404, 413, 415, 422, answer=PreviewAnswer))
def preview() -> Response:
    """Read a source as an enrollment would, without listening to it: speakers, recordings, what is left out and why.

    Of the recordings in an archive the first bytes are enough.
    """
    source, options = source_of_request()
    manifest = _manifest(source, Options.from_dict(options))
    speakers: dict[str, PreviewSpeaker] = {
        name: PreviewSpeaker(speaker=name, recordings=0, sheets={}) for name in manifest.speakers
    }
    for entry in manifest.entries:
        one = speakers[entry.speaker]
        one.recordings += 1
        if sheet := _SHEET.fullmatch(entry.row):
            one.sheets[sheet[1]] = one.sheets.get(sheet[1], 0) + 1
    answer = PreviewAnswer(
        recordings=len(manifest.entries),
        speakers=list(speakers.values()),
        left_out=sum(one.reason is not Reason.HEADER for one in manifest.skipped),
        skipped=[outcome.to_dict() for outcome in manifest.skipped[:MOST_SKIPPED]],
    )
    return jsonify(answer.model_dump())


def _manifest(source: dict[str, Any], options: Options) -> Manifest:
    settings = services().settings
    if "archive" in source:
        with tempfile.TemporaryDirectory(prefix="preview-") as temporary:
            top = archive.unpack(source["archive"], Path(temporary), Limits(total_bytes=settings.max_upload_bytes))
            return _relative(sources.read_unpacked(top, options))
    path = source["path"]
    if is_url(path) or (options.root is not None and is_url(options.root)):
        raise Unusable(
            f"{path} is read by the workers alone: there is no preview; a dry run says what would come of it"
        )
    roots = settings.data_roots
    if options.root is not None:
        options = replace(options, root=str(inside(options.root, roots)))
    return sources.read(str(inside(path, roots)), options, inside=partial(inside, roots=roots))


def _relative(manifest: Manifest) -> Manifest:
    """Without the folder that is gone by now."""

    def shorter(one: Outcome) -> Outcome:
        return replace(one, path=one.row if one.path.startswith("/") else one.path)

    return replace(manifest, skipped=tuple(shorter(one) for one in manifest.skipped))
