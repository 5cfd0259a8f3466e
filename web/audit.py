"""What the audit log is told of requests: each change of a bank or of the mode, and each that was refused."""

from __future__ import annotations

from flask import Flask, Response, request

from web.security import READING, caller, request_id
from web.shared import services

LEGACY = ("/InitSpeakerFeats", "/ModifyFeatsMode", "/ModifyFeatsCustom")


def install(app: Flask) -> None:
    """Write down each change of a bank, and each that was refused."""
    app.after_request(_note)


def _note(response: Response) -> Response:
    changes = request.path.startswith(("/v1/banks", "/v1/active")) and request.method not in READING
    if changes or request.path in LEGACY:
        services().audit.note(
            caller().name,
            f"{request.method} {request.full_path.rstrip('?')}",
            str((request.view_args or {}).get("name", "")),
            status=response.status_code,
            request_id=request_id(),
            address=request.remote_addr or "",
        )
    return response
