"""Errors to HTTP, in one place: `{"error": {"code", "message", "details"}}`, with the status of the error's class."""

from __future__ import annotations

import logging
from typing import Any

import redis
from flask import Flask, Response, g, jsonify, request
from kombu.exceptions import OperationalError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as NotFoundHere

from speaker_tasks.errors import RedisAway, SpeakerTasksError, TooLarge, TooManyRequests, Unavailable, storage_full
from speaker_tasks.redis_server import refusal
from web.http import accesslog
from web.shared import services

logger = logging.getLogger(__name__)

NO_ROOM = "speaker_tasks.no_room"
"""The key of a request's environment under which the server says why it has not kept the body: an error of ours."""
RETRY_SECONDS = 2
"""What `Retry-After` says when the error does not know better."""


def register(app: Flask) -> None:
    """Map the service's errors, Redis' and HTTP's own; anything else is a bug, logged, and a 500 without details."""
    app.before_request(_check_room)
    app.register_error_handler(SpeakerTasksError, _known)
    app.register_error_handler(redis.RedisError, _redis_away)
    app.register_error_handler(OperationalError, _redis_away)
    app.register_error_handler(RequestEntityTooLarge, _too_large)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unknown)


def answer(error: SpeakerTasksError) -> Response:
    """The error as a response."""
    response = _shape(error.status, error.code, error.message, error.details)
    if isinstance(error, Unavailable | TooManyRequests):
        response.headers["Retry-After"] = str(max(1, round(error.details.get("retry_after", RETRY_SECONDS))))
    return response


def _known(error: SpeakerTasksError) -> Response:
    if isinstance(error, RedisAway):
        services().client.doubt_writable()
    if error.status >= 500 and not accesslog.is_expected(error.status):
        logger.warning("%s: %s", _what(), error)
    return answer(error)


def _redis_away(error: Exception) -> Response:
    logger.warning("%s: Redis: %s", _what(), error)
    services().client.doubt_writable()
    return answer(refusal(error))


def _too_large(error: RequestEntityTooLarge) -> Response:
    limit, size = request.max_content_length or 0, request.content_length
    message, details = f"the body has {f'{size} bytes' if size else 'more'}; at most {limit} bytes are taken", {}
    if request.mimetype == "multipart/form-data" and (size or 0) <= limit:
        fields, parts = request.max_form_memory_size, request.max_form_parts
        message = f"a text field of the form has more than {fields} bytes, or the form more than {parts} parts"
        message += "; send recordings as files" if size else f", or it has more than {limit} bytes in all"
        details = {"field_limit": fields, "parts_limit": parts}
    return answer(TooLarge(message, limit=limit, bytes=size, **details))


def _http(error: HTTPException) -> Response:
    code = error.name.lower().replace(" ", "_").replace("'", "")
    message = error.description or error.name
    if isinstance(error, NotFoundHere):
        message = f"there is nothing at {request.path}; /docs lists what there is"
    response = _shape(error.code or 500, code, message, {})
    if allowed := getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _check_room() -> None:
    """Say that the server had no room for the body of the current request. Raises `StorageFull`."""
    if full := request.environ.get(NO_ROOM):
        raise full


def _unknown(error: Exception) -> Response:
    if full := storage_full(error, "web process"):
        return _known(full)
    logger.exception("%s failed for a reason that is ours", _what())
    return _shape(500, "internal", "internal error", {})


def _what() -> str:
    """The request, as the log names it."""
    return f"[{g.get('request_id', '-')}] {request.method} {request.path}"


def _shape(status: int, code: str, message: str, details: dict[str, Any]) -> Response:
    g.error_code, g.error_message = code, message
    response = jsonify({"error": {"code": code, "message": message, "details": details}})
    response.status_code = status
    return response
