"""`/v1/banks`: look at banks and change them; each change is a new version that can be rolled back."""

from __future__ import annotations

import io
import mimetypes
import tempfile
import zipfile
from pathlib import Path

from flask import Response, jsonify, request, send_file
from flask_openapi3 import APIBlueprint, Tag

from enrollment.soundfiles import is_recording
from speaker_tasks.errors import TooLarge, UnsupportedAudio, Unusable
from speaker_tasks.operations.banks import Change
from web.http.answers import responses
from web.shared import services
from web.v1.bankschemas import (
    Active,
    AuditList,
    AuditQuery,
    BankAnswer,
    BankList,
    BankPath,
    ClipList,
    ClipPath,
    ClipQuery,
    CohortOf,
    Deleted,
    DiffAnswer,
    DiffQuery,
    ImportQuery,
    Merge,
    MoveClip,
    NewBank,
    RemoveQuery,
    Rename,
    Rollback,
    Snapshot,
    SpeakerList,
    SpeakerPath,
    VersionList,
    VersionQuery,
)
from web.v1.bankschemas import Change as ChangeAnswer

TAG = Tag(name="banks", description="The enrolled speakers.")
blueprint = APIBlueprint("banks", __name__, url_prefix="/v1", abp_tags=[TAG])

MAX_UNPACKED_BYTES = 1 << 30
"""What an uploaded bank file may take unpacked."""
FILE = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
SOUND = {"description": "The file.", "content": {"audio/*": {"schema": {"type": "string", "format": "binary"}}}}


@blueprint.get("/banks", responses=responses(answer=BankList))
def list_banks() -> Response:
    """All banks, and which one is active."""
    shared = services()
    warnings = list(shared.keeper.left_out().values())
    return jsonify({"active": shared.active.mode(), "warnings": warnings, "banks": shared.keeper.overview()})


@blueprint.post("/banks", responses=responses(404, 409, 422, answer=ChangeAnswer))
def create(body: NewBank) -> Response:
    """Make a bank: empty, a copy of one, or the union of several."""
    keeper = services().keeper
    if body.copy_of is not None:
        return _done(keeper.copy(body.copy_of, body.name))
    if body.union_of is not None:
        return _done(keeper.unite(body.union_of, body.name))
    return _done(keeper.create(body.name, body.model or services().client.model()))


@blueprint.get("/banks/<name>", responses=responses(404, answer=BankAnswer))
def show(path: BankPath) -> Response:
    """What is known of a bank."""
    return jsonify({"bank": services().keeper.about(path.name)})


@blueprint.delete("/banks/<name>", responses=responses(404, answer=Deleted))
def delete(path: BankPath) -> Response:
    """Remove a bank with all its versions."""
    warnings = services().keeper.delete(path.name)
    return jsonify({"bank": path.name, "warnings": warnings})


@blueprint.get("/banks/<name>/speakers", responses=responses(404, answer=SpeakerList))
def speakers(path: BankPath, query: VersionQuery) -> Response:
    """The speakers of a bank, with their recordings and seconds."""
    return jsonify({"speakers": services().keeper.speakers(path.name, query.version)})


@blueprint.patch("/banks/<name>/speakers/<path:speaker>", responses=responses(404, 409, 422, answer=ChangeAnswer))
def rename(path: SpeakerPath, body: Rename) -> Response:
    """Give a speaker another name."""
    return _done(services().keeper.rename(path.name, path.speaker, body.name))


@blueprint.delete("/banks/<name>/speakers/<path:speaker>", responses=responses(404, answer=ChangeAnswer))
def remove(path: SpeakerPath, query: RemoveQuery) -> Response:
    """Remove a speaker; with `purge` from every version, snapshot and cache."""
    keeper = services().keeper
    return _done((keeper.purge if query.purge else keeper.remove)(path.name, path.speaker))


@blueprint.post("/banks/<name>/merge", responses=responses(404, 409, answer=ChangeAnswer))
def merge(path: BankPath, body: Merge) -> Response:
    """Give all clips of one speaker to another."""
    return _done(services().keeper.merge(path.name, body.speaker, body.into))


@blueprint.post("/banks/<name>/rollback", responses=responses(404, 409, answer=ChangeAnswer))
def rollback(path: BankPath, body: Rollback) -> Response:
    """An earlier version again, under a new number."""
    return _done(services().keeper.rollback(path.name, body.version))


@blueprint.post("/banks/<name>/redo", responses=responses(404, 409, answer=ChangeAnswer))
def redo(path: BankPath) -> Response:
    """The version that was rolled back last again, under a new number."""
    return _done(services().keeper.redo(path.name))


@blueprint.get("/banks/<name>/clips", responses=responses(404, answer=ClipList))
def clips(path: BankPath, query: ClipQuery) -> Response:
    """The recordings of a speaker, each with how it sounds beside the others and beside other speakers."""
    return jsonify({"clips": services().keeper.clips(path.name, query.speaker)})


@blueprint.get("/banks/<name>/recordings/<path:key>", responses=responses(404, 409, 415, 422, answer=SOUND))
def recording(path: ClipPath) -> Response:
    """The file that a clip was read from, to be played, if it is kept below SPEAKER_DATA_ROOTS. Ranges are served."""
    file, span = services().keeper.recording(path.name, path.key)
    if not is_recording(file):
        raise UnsupportedAudio(f"{file.name} is no sound file")
    response = send_file(file, mimetype=mimetypes.guess_type(file.name)[0] or "application/octet-stream")
    if span is not None:
        response.headers["X-Clip-Span"] = f"{span[0]:g}-{span[1]:g}"
    return response


@blueprint.get("/banks/<name>/versions", responses=responses(404, answer=VersionList))
def versions(path: BankPath) -> Response:
    """The kept versions, newest first: when each was made, and by what."""
    return jsonify({"versions": services().keeper.versions(path.name)})


@blueprint.patch("/banks/<name>/clips/<path:key>", responses=responses(404, 409, 422, answer=ChangeAnswer))
def move_clip(path: ClipPath, body: MoveClip) -> Response:
    """Give a recording to another speaker."""
    return _done(services().keeper.move_clips(path.name, [path.key], body.speaker, new=body.new))


@blueprint.delete("/banks/<name>/clips/<path:key>", responses=responses(404, 409, answer=ChangeAnswer))
def remove_clip(path: ClipPath) -> Response:
    """Remove a recording. Earlier versions keep it for a rollback."""
    return _done(services().keeper.remove_clips(path.name, [path.key]))


@blueprint.post("/banks/<name>/snapshot", responses=responses(404, 422, answer=Snapshot))
def snapshot(path: BankPath) -> Response:
    """Write the bank's snapshot now, to the place that SPEAKER_SNAPSHOTS names."""
    return jsonify({"bank": path.name, "place": services().keeper.snapshot(path.name)})


@blueprint.put("/banks/<name>/cohort", responses=responses(404, 409, 422, answer=BankAnswer))
def cohort(path: BankPath, body: CohortOf) -> Response:
    """Tell the bank's scores also as AS-norm against another bank's speakers."""
    keeper = services().keeper
    keeper.set_cohort(path.name, body.cohort)
    return jsonify({"bank": keeper.about(path.name)})


@blueprint.get("/banks/<name>/diff", responses=responses(404, answer=DiffAnswer))
def diff(path: BankPath, query: DiffQuery) -> Response:
    """Show what changed between two versions of a bank."""
    return jsonify(services().keeper.diff(path.name, query.before, query.after).to_dict())


@blueprint.get("/banks/<name>/export", responses=responses(404, answer={"description": "npz", "content": FILE}))
def export(path: BankPath, query: VersionQuery) -> Response:
    """The bank as an npz file, which the first server's readers read too."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bank.npz"
        services().keeper.export_npz(path.name, file, query.version)
        response = Response(file.read_bytes(), mimetype="application/octet-stream")
    response.headers["Content-Disposition"] = "attachment; filename=bank.npz"
    return response


@blueprint.post("/banks/<name>/import", responses=responses(404, 409, 413, 422, answer=ChangeAnswer))
def import_npz(path: BankPath, query: ImportQuery) -> Response:
    """Read an npz file, of the first server or of ours, from the body into a bank."""
    data = request.get_data(cache=False)
    _check_archive(data)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "upload.npz"
        file.write_bytes(data)
        changed = services().keeper.import_npz(path.name, file, model=query.model, replace_it=query.replace)
    return _done(changed)


@blueprint.get("/active", responses=responses(answer=Active))
def active() -> Response:
    """The bank that is asked where a question names none."""
    return jsonify({"bank": services().active.mode()})


@blueprint.put("/active", responses=responses(404, 409, answer=Active))
def activate(body: Active) -> Response:
    """Make a bank, or `all`, the active one."""
    mode, _ = services().active.set_mode(body.bank)
    return jsonify({"bank": mode})


@blueprint.get("/audit", responses=responses(answer=AuditList))
def audited(query: AuditQuery) -> Response:
    """List who changed which bank, and when."""
    return jsonify({"entries": services().audit.newest(query.limit, bank=query.bank)})


def _done(change: Change) -> Response:
    return jsonify(change.to_dict())


def _check_archive(data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
        raise Unusable("the body is not an npz file") from None
    if size > MAX_UNPACKED_BYTES:
        raise TooLarge(f"the file takes {size} bytes unpacked; at most {MAX_UNPACKED_BYTES}", bytes=size)
