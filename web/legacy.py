"""The first server's endpoints: the same bodies, the same answers. GET and POST are taken by all of them."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request

from banks.bank import Bank
from speaker_tasks.jobs import JobRecord
from web.http.accesslog import note_answer
from web.http.answers import accepted, left_of
from web.http.body import field, json_object, speaker_samples
from web.http.limits import let_in
from web.http.security import caller, request_id
from web.shared import services
from web.stopping import is_stopping

blueprint = Blueprint("legacy", __name__)
METHODS = ["GET", "POST"]


@blueprint.route("/speaker", methods=METHODS)
def speaker() -> Response:
    """Who speaks: `{"name", "score"}` of the best of the current list, and more keys after them."""
    shared = services()
    samples = speaker_samples(request, shared.settings.max_audio_seconds)
    job = shared.client.recognize(samples, **_job())
    return _wait(job, ("name", "score", "cosine", "feats_mode", "model"))


@blueprint.route("/SpeakerFeats", methods=METHODS)
def speaker_feats() -> Response:
    """The recording's vector: `{"feats": [[512 floats]]}`."""
    shared = services()
    samples = speaker_samples(request, shared.settings.max_audio_seconds)
    job = shared.client.embed(samples, **_job())
    return _wait(job, ("feats",))


@blueprint.route("/InitSpeakerFeats", methods=METHODS)
def init_speaker_feats() -> Response:
    """Back to the default mode `all`."""
    return _labels(*services().active.reset())


@blueprint.route("/GetSpeakerList", methods=METHODS)
def get_speaker_list() -> Response:
    """The current list with its vectors."""
    mode, bank = services().active.get()
    return jsonify({"label": bank.labels, "feats": bank.vectors, "feats_mode": mode})


@blueprint.route("/ModifyFeatsMode", methods=METHODS)
def modify_feats_mode() -> Response:
    """Another mode: `all`, or a bank's name."""
    name = field(json_object(request.get_data()), "feats_mode", str)
    return _labels(*services().active.set_mode(name))


@blueprint.route("/ModifyFeatsCustom", methods=METHODS)
def modify_feats_custom() -> Response:
    """A list of the caller's own, of vectors of the model that the workers run."""
    shared = services()
    body = json_object(request.get_data())
    labels, vectors = field(body, "label", list), field(body, "feats", list)
    return _labels(*shared.active.set_custom(labels, vectors, shared.client.model()))


def _job() -> dict[str, Any]:
    shared = services()
    brief = bool(shared.settings.wait_seconds)
    about = {"key": caller().name, "request_id": request_id()}
    return {"about": about, "job_id": let_in(shared.questions), "brief": brief}


def _labels(mode: str, bank: Bank) -> Response:
    return jsonify({"label": bank.labels, "feats_mode": mode})


def _wait(job: JobRecord, keys: tuple[str, ...]) -> Response:
    shared = services()
    result = shared.client.wait(job, left_of(shared.settings.wait_seconds, job), give_up=is_stopping)
    note_answer(job.id, result or {})
    return accepted(job) if result is None else jsonify({key: result[key] for key in keys})
