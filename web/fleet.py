"""`/v1/workers` and `/v1/models`: who is alive, and which models are loaded where."""

from __future__ import annotations

from dataclasses import asdict

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag

from web.answers import told
from web.schemas import ModelList, WorkerList
from web.shared import services

TAG = Tag(name="service", description="What runs.")
blueprint = APIBlueprint("fleet", __name__, url_prefix="/v1", abp_tags=[TAG])


@blueprint.get("/workers", responses=told(answer=WorkerList))
def workers() -> Response:
    """The workers that are alive; each has said so within the last seconds."""
    return jsonify({"workers": [asdict(worker) for worker in services().client.workers()]})


@blueprint.get("/models", responses=told(answer=ModelList))
def models() -> Response:
    """The models that are loaded: on which devices, in which precision, whether warm."""
    alive = services().client.workers()
    found = []
    for name in sorted({worker.model for worker in alive}):
        own = [worker for worker in alive if worker.model == name]
        found.append(
            {
                "id": name,
                "devices": sorted({worker.device for worker in own}),
                "precisions": sorted({worker.precision for worker in own}),
                "runtimes": sorted({worker.runtime for worker in own}),
                "workers": len(own),
                "warm": any(worker.warm for worker in own),
            }
        )
    return jsonify({"models": found})
