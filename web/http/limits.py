"""Rate limits in Redis, for each key, or for each address where nobody needs a key."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask, Response, g, request
from flask_limiter import Limiter, RateLimitExceeded
from limits import parse_many

from speaker_tasks.errors import ConfigurationError, TooManyRequests
from speaker_tasks.jobs.quota import Quota
from speaker_tasks.jobs.record import new_id
from speaker_tasks.redis_server import checked_url
from speaker_tasks.sentinels import Watched, is_watched, sentinel_options
from speaker_tasks.settings import Settings
from speaker_tasks.tls import tls_options
from web.http.errors import answer
from web.http.security import ANYONE, READING, is_open
from web.shared import services


def install(app: Flask, settings: Settings) -> Limiter:
    """Count the requests of each caller. A Redis that is away lets them pass: the views will say that it is away."""
    limiter = Limiter(
        who,
        app=app,
        application_limits=[settings.rate_limit],
        storage_uri=storage_uri(settings),
        storage_options=storage_options(settings),
        key_prefix="speaker",
        swallow_errors=True,
    )
    limiter.request_filter(lambda: is_open(request.path) and request.method in READING)

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
    url = checked_url(settings.redis_url) if settings.redis_url else "memory://"
    if not is_watched(settings):
        return url
    hosts = ",".join(f"{host}:{port}" for host, port in Watched.of(url).sentinels)
    return f"redis+sentinel://{hosts}/{settings.redis_master}"


def storage_options(settings: Settings) -> dict[str, Any]:
    """What the address of sentinels cannot say: password and database are the master's, as for our own client."""
    url = settings.redis_url or ""
    if not is_watched(settings):
        return tls_options(settings) if url.startswith("rediss://") else {}
    watched = Watched.of(url)
    access = {"username": watched.username, "password": watched.password, "db": watched.database}
    tls = {"ssl": True} | tls_options(settings) if settings.redis_tls else {}
    sentinels = {"username": None, "password": None} | sentinel_options(settings)
    return access | tls | {"sentinel_kwargs": sentinels}


def let_in(quota: Quota, job_id: str | None = None) -> str:
    """The id of a new job of whoever asks, or the one given. Raises `TooManyRequests` if too many have not ended."""
    job_id = job_id or new_id(time.time())
    if services().limited:
        quota.enter(who(), job_id)
    return job_id


def who() -> str:
    """Whose requests and jobs are counted together."""
    name = g.caller.name
    return f"address:{request.remote_addr}" if name == ANYONE.name else f"key:{name}"
