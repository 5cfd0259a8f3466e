"""Whether this process lives, and whether the service can answer."""

from __future__ import annotations

import os
from dataclasses import asdict

from flask import Blueprint, Response, jsonify

from web.shared import services

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    """This process answers; nothing else is asked."""
    return jsonify({"status": "ok", "pid": os.getpid()})


@blueprint.get("/readyz")
def readyz() -> Response:
    """Redis takes changes, and a worker with a warm model lives: which model, on what. Else 503 with the reason."""
    client = services().client
    client.check_writable()
    workers = [worker for worker in client.workers() if worker.warm]
    if not workers:
        raise client.no_worker()
    first = workers[0]
    return jsonify(
        {
            "status": "ready",
            "model": first.model,
            "device": first.device,
            "workers": [asdict(worker) for worker in workers],
        }
    )
