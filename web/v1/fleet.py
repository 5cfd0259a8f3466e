"""`/v1/workers` and `/v1/models`: who is alive, and which models are loaded where."""

from __future__ import annotations

from dataclasses import asdict

from flask import Response, jsonify
from flask_openapi3 import APIBlueprint, Tag

from web.http.answers import responses
from web.shared import services
from web.v1.schemas import ModelList, QueueList, WorkerList

TAG = Tag(name="service", description="What runs.")
blueprint = APIBlueprint("fleet", __name__, url_prefix="/v1", abp_tags=[TAG])


@blueprint.get("/workers", responses=responses(answer=WorkerList))
def workers() -> Response:
    """The workers that are alive; each has said so within the last seconds."""
    return jsonify({"workers": [asdict(worker) for worker in services().client.workers()]})


@blueprint.get("/queues", responses=responses(answer=QueueList))
def queues() -> Response:
    """How many messages wait in each queue for a worker."""
    waiting = services().client.waiting()
    return jsonify({"queues": [{"name": name, "waiting": count} for name, count in waiting.items()]})


@blueprint.get("/models", responses=responses(answer=ModelList))
def models() -> Response:
    """The models that are loaded: on which devices, in which precision, whether warm."""
    alive = services().client.workers()
    listed = []
    for name in sorted({worker.model for worker in alive}):
        own = [worker for worker in alive if worker.model == name]
        listed.append(
            {
                "id": name,
                "devices": sorted({worker.device for worker in own}),
                "precisions": sorted({worker.precision for worker in own}),
                "runtimes": sorted({worker.runtime for worker in own}),
                "workers": len(own),
                "warm": any(worker.warm for worker in own),
            }
        )
    return jsonify({"models": listed})
