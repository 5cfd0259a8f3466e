"""Rate limits in Redis, for each key, or for each address where nobody needs a key."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from flask import Flask, Response, g, request
from flask_limiter import Limiter, RateLimitExceeded
from limits import parse_many

from speaker_tasks.errors import ConfigurationError, TooManyRequests
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
        storage_options=storage_options(settings),
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


def check(settings: Settings) -> None:
    """Raise `ConfigurationError` for a limit that cannot be read: the requests themselves would pass without one."""
    try:
        if settings.rate_limit:
            parse_many(settings.rate_limit)
    except ValueError:
        raise ConfigurationError(
            f"SPEAKER_RATE_LIMIT={settings.rate_limit} cannot be read: a number and a time are wanted, such as "
            "600/minute (second, minute, hour, day)"
        ) from None


def storage_uri(settings: Settings) -> str:
    """The settings' Redis as the limiter's library names it."""
    url = settings.redis_url or "memory://"
    if not _watched(url):
        return url
    hosts = ",".join(f"{part.hostname}:{part.port or 26379}" for part in _sentinels(url))
    return f"redis+sentinel://{hosts}/{settings.redis_master}"


def storage_options(settings: Settings) -> dict[str, Any]:
    """What the address of sentinels cannot say: password and database are the master's, as for our own client."""
    url = settings.redis_url or ""
    if not _watched(url):
        return {}
    parts = _sentinels(url)
    return {
        "password": next((unquote(part.password) for part in parts if part.password), None),
        "db": next((int(part.path[1:]) for part in parts if part.path[1:].isdigit()), 0),
        "sentinel_kwargs": {"password": None},
    }


def _watched(url: str) -> bool:
    return url.startswith("sentinel://")


def _sentinels(url: str) -> list[SplitResult]:
    return [urlsplit(one if "://" in one else f"sentinel://{one}") for one in url.split(";")]


def _who() -> str:
    name = g.caller.name
    return f"address:{request.remote_addr}" if name == ANYONE.name else f"key:{name}"
