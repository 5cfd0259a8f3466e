"""Errors to HTTP, in one place: `{"error": {"code", "message", "details"}}`, with the status of the error's class."""

from __future__ import annotations

import logging
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
"""A body up to so many times the limit is read to its end and dropped, so that the client gets to see the 413."""
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
    limit = request.max_content_length or 0
    size = request.content_length
    _drain(limit)
    got = f"{size} bytes" if size else "more"
    return answer(TooLarge(f"the body has {got}; at most {limit} bytes are taken", limit=limit, bytes=size))


def _drain(limit: int) -> None:
    """Read on for a while: a client that is still sending would see a broken connection instead of the answer."""
    stream, left = request.environ["wsgi.input"], DRAIN_FACTOR * limit
    if (request.content_length or 0) > left:
        return
    try:
        while left > 0 and (chunk := stream.read(min(left, DRAIN_CHUNK))):
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
