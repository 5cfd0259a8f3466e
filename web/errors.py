"""Errors to HTTP, in one place: `{"error": {"code", "message", "details"}}`, with the status of the error's class."""

from __future__ import annotations

import logging
import time
from typing import Any

import redis
from flask import Flask, Response, g, jsonify, request
from kombu.exceptions import OperationalError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.exceptions import NotFound as NotFoundHere

from speaker_tasks.errors import RedisAway, SpeakerTasksError, TooLarge, Unavailable

logger = logging.getLogger(__name__)

RETRY_SECONDS = 2
"""What `Retry-After` says when the error does not know better."""
DRAIN_FACTOR = 8
"""A body up to so many times the limit is read on, for `DRAIN_SECONDS`, so that the client gets to see the 413."""
DRAIN_SECONDS = 5.0
DRAIN_CHUNK = 1 << 20


def register(app: Flask) -> None:
    """Map the service's errors, Redis' and HTTP's own; anything else is a bug, logged, and a 500 without details."""
    app.register_error_handler(SpeakerTasksError, _known)
    app.register_error_handler(redis.RedisError, _redis_away)
    app.register_error_handler(OperationalError, _redis_away)
    app.register_error_handler(RequestEntityTooLarge, _too_large)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unknown)


def answer(error: SpeakerTasksError) -> Response:
    """The error as a response."""
    response = _shape(error.status, error.code, error.message, error.details)
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = str(max(1, round(error.details.get("retry_after", RETRY_SECONDS))))
    return response


def _known(error: SpeakerTasksError) -> Response:
    if error.status >= 500:
        logger.warning("%s: %s", _what(), error)
    return answer(error)


def _redis_away(error: Exception) -> Response:
    logger.warning("%s: Redis: %s", _what(), error)
    return answer(RedisAway("the Redis server does not answer", retry_after=RETRY_SECONDS))


def _too_large(error: RequestEntityTooLarge) -> Response:
    limit, size = request.max_content_length or 0, request.content_length
    told, details = f"the body has {f'{size} bytes' if size else 'more'}; at most {limit} bytes are taken", {}
    if request.mimetype == "multipart/form-data" and (size or 0) <= limit:
        fields, parts = request.max_form_memory_size, request.max_form_parts
        told = f"a text field of the form has more than {fields} bytes, or the form more than {parts} parts"
        told += "; send recordings as files" if size else f", or it has more than {limit} bytes in all"
        details = {"field_limit": fields, "parts_limit": parts}
    _drain(limit)
    return answer(TooLarge(told, limit=limit, bytes=size, **details))


def _drain(limit: int) -> None:
    """Read on for a while: a client that is still sending would see a broken connection instead of the answer."""
    stream, left = request.environ["wsgi.input"], DRAIN_FACTOR * limit
    if (request.content_length or 0) > left:
        return
    if allow := getattr(request.environ.get("gunicorn.socket"), "allow", None):
        allow(DRAIN_SECONDS)
    until = time.monotonic() + DRAIN_SECONDS
    try:
        while left > 0 and time.monotonic() < until and (chunk := stream.read(min(left, DRAIN_CHUNK))):
            left -= len(chunk)
    except OSError as broken:
        logger.debug("the client went away: %s", broken)


def _http(error: HTTPException) -> Response:
    code = error.name.lower().replace(" ", "_").replace("'", "")
    told = error.description or error.name
    if isinstance(error, NotFoundHere):
        told = f"there is nothing at {request.path}; /docs lists what there is"
    response = _shape(error.code or 500, code, told, {})
    if allowed := getattr(error, "valid_methods", None):
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _unknown(error: Exception) -> Response:
    logger.exception("%s failed for a reason that is ours", _what())
    return _shape(500, "internal", "internal error", {})


def _what() -> str:
    """The request, as the log names it."""
    return f"[{g.get('request_id', '-')}] {request.method} {request.path}"


def _shape(status: int, code: str, message: str, details: dict[str, Any]) -> Response:
    response = jsonify({"error": {"code": code, "message": message, "details": details}})
    response.status_code = status
    return response
