"""One line in the log for each request, and its counts.

The line names the request's id, the key's name, the route, the status and the milliseconds; views add
the job, the bank and the decision. A request that was refused has the error's code, and the address that it came from.
"""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, request

from speaker_tasks import logs, tracing
from web.http import metrics
from web.http.security import ANYONE, NOBODY, request_id

PROBES = ("/healthz", "/readyz", "/metrics")
"""Machines request these every few seconds: they are logged at DEBUG if they succeed, or say "not ready yet"."""
STATIC = "pages.static"
"""The pages' scripts and pictures, some twenty for each page: logged at DEBUG, too."""
UNROUTED = "none"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
REFUSED = (401, 403, 429)

logger = logging.getLogger(__name__)


def install(app: Flask) -> None:
    """Log and count every request. Install it before all other hooks, so that it sees the final answer."""
    app.before_request(_begin)
    app.after_request(_end)


def note(**fields: Any) -> None:
    """Add fields to the line of the current request."""
    g.noted = g.get("noted", {}) | fields


def note_answer(job: str, result: dict[str, Any]) -> None:
    """Add a question's job, bank and decision; never a voice or a score."""
    bank = result.get("bank", result.get("feats_mode"))
    bank = bank.get("name") if isinstance(bank, dict) else bank
    note(job=job, bank=bank, decision=result.get("decision"), reason=result.get("reason"))


def is_expected(status: int) -> bool:
    """Whether a probe asked, and the status is one that it asks for."""
    return request.path in PROBES and (status < 400 or status == HTTPStatus.SERVICE_UNAVAILABLE)


def _begin() -> None:
    g.began = time.perf_counter()
    if request.path not in PROBES:
        g.end_span = tracing.begin(f"{_method()} {_route()}", "SERVER", tracing.carried(request.headers.get))


def _end(response: Response) -> Response:
    seconds = time.perf_counter() - g.began
    route, method = _route(), _method()
    status, code = response.status_code, g.get("error_code")
    metrics.REQUESTS.labels(method, route, str(status)).inc()
    metrics.REQUEST_SECONDS.labels(route).observe(seconds)
    if code is not None:
        metrics.ERRORS.labels(code).inc()
    is_file = request.endpoint == STATIC and status < 400
    level = logging.DEBUG if is_expected(status) or is_file else logging.INFO
    bank = (request.view_args or {}).get("name")
    fields = {
        "request_id": request_id(),
        "key": _key(),
        "method": request.method,
        "route": route,
        "status": status,
        "ms": round(1000 * seconds, 1),
        "bank": bank,
        **g.get("noted", {}),
        "error": code,
        "address": request.remote_addr if status in REFUSED else None,
        "refused": g.get("error_message") if status in REFUSED else None,
        "path": request.path[:200] if route == UNROUTED else None,
    }
    logs.event(logger, "request", level, **fields)
    if end_span := g.pop("end_span", None):
        http = {"http.request.method": method, "http.route": route, "http.response.status_code": status}
        ours = {f"speaker.{name}": fields.get(name) for name in ("request_id", "job", "decision", "error")}
        end_span(http | ours, status >= 500)
    return response


def _route() -> str:
    return request.url_rule.rule if request.url_rule else UNROUTED


def _method() -> str:
    return request.method if request.method in METHODS else "other"


def _key() -> str | None:
    """The name of the key; `none` without a valid key where keys are required, nothing on a service without keys."""
    name = getattr(g.get("caller"), "name", NOBODY.name)
    if name == ANYONE.name:
        return "none" if g.get("key_holder") is None else None
    return str(name)
