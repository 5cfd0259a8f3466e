"""The audit log: who changed which bank, and when, in a Redis stream and in the log. It holds no voices."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import redis
from flask import Flask, Response, request

from web.security import READING, caller, request_id
from web.shared import services

logger = logging.getLogger("speaker_tasks.audit")

STREAM = "speaker:audit"
KEPT = 100_000
LEGACY = ("/InitSpeakerFeats", "/ModifyFeatsMode", "/ModifyFeatsCustom")


def install(app: Flask) -> None:
    """Write down each change of a bank, and each that was refused."""
    app.after_request(_note)


def newest(client: redis.Redis, limit: int) -> list[dict[str, Any]]:
    """The newest entries first."""
    entries: Any = client.xrevrange(STREAM, count=limit)
    found = []
    for entry_id, fields in entries:
        text = {name.decode(): value.decode() for name, value in fields.items()}
        found.append({"id": entry_id.decode(), **text, "status": int(text["status"])})
    return found


def _note(response: Response) -> Response:
    changes = request.path.startswith(("/v1/banks", "/v1/active")) and request.method not in READING
    if not changes and request.path not in LEGACY:
        return response
    entry = {
        "when": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "who": caller().name,
        "what": f"{request.method} {request.full_path.rstrip('?')}",
        "bank": str((request.view_args or {}).get("name", "")),
        "status": response.status_code,
        "request_id": request_id(),
        "address": request.remote_addr or "",
    }
    logger.info("audit %s", entry)
    try:
        services().client.redis.xadd(STREAM, entry, maxlen=KEPT, approximate=True)  # type: ignore[arg-type]
    except redis.RedisError as error:
        logger.warning("the audit log could not be written: %s", error)
    return response
