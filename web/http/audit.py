"""What the audit log records of requests: each change of a bank or of the mode, and each that was refused.

Who has no key where keys are wanted gets no entry, nor does a page of another site: anyone could push out all others.
The process's log tells of them.
"""

from __future__ import annotations

from flask import Flask, Response, g, request

from web.http.security import CHANGING, READING, caller, request_id, turned_away
from web.shared import services

LONGEST = 200
"""Characters that are kept of a request's path, and of a bank's name."""


def install(app: Flask) -> None:
    """Write down each change of a bank, and each that was refused."""
    app.after_request(_note)


def _note(response: Response) -> Response:
    changes = request.path.startswith(("/v1/banks", "/v1/active")) and request.method not in READING
    changes = changes or "changed_bank" in g
    if (changes or request.path in CHANGING) and not turned_away():
        services().audit.note(
            caller().name,
            f"{request.method} {request.full_path.rstrip('?')}"[:LONGEST],
            str((request.view_args or {}).get("name") or g.get("changed_bank", ""))[:LONGEST],
            status=response.status_code,
            request_id=request_id(),
            address=request.remote_addr or "",
        )
    return response
