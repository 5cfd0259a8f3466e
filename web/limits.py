"""Rate limits in Redis, for each key, or for each address where nobody needs a key."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

from flask import Flask, Response, g, request
from flask_limiter import Limiter, RateLimitExceeded

from speaker_tasks.errors import TooManyRequests
from speaker_tasks.settings import Settings
from web.errors import answer
from web.security import ANYONE, OPEN_PATHS


def install(app: Flask, settings: Settings) -> Limiter:
    """Count the requests of each caller. A Redis that is away lets them pass: the views will say that it is away."""
    limiter = Limiter(
        _who,
        app=app,
        application_limits=[settings.rate_limit],
        storage_uri=storage_uri(settings),
        key_prefix="speaker",
        swallow_errors=True,
    )
    limiter.request_filter(lambda: request.path in OPEN_PATHS)

    def exceeded(_: RateLimitExceeded) -> Response:
        current = limiter.current_limit
        wait = max(1, round(current.reset_at - time.time())) if current else 1
        response = answer(TooManyRequests(f"more than {settings.rate_limit}; wait {wait} s", retry_after=wait))
        response.headers["Retry-After"] = str(wait)
        return response

    app.register_error_handler(RateLimitExceeded, exceeded)
    return limiter


def storage_uri(settings: Settings) -> str:
    """The settings' Redis as the limiter's library names it."""
    url = settings.redis_url or "memory://"
    if not url.startswith("sentinel://"):
        return url
    parts = [urlsplit(one if "://" in one else f"sentinel://{one}") for one in url.split(";")]
    hosts = ",".join(f"{part.hostname}:{part.port or 26379}" for part in parts)
    secret = next((f":{part.password}@" for part in parts if part.password), "")
    return f"redis+sentinel://{secret}{hosts}/{settings.redis_master}"


def _who() -> str:
    name = g.caller.name
    return f"address:{request.remote_addr}" if name == ANYONE.name else f"key:{name}"
