"""Asks a web process over HTTP whether the service can answer yet, and whether a port is free to listen on."""

from __future__ import annotations

import errno
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from speaker_tasks.errors import Conflict, Unavailable
from speaker_tasks.launcher.procfile import web_url
from speaker_tasks.settings import Settings

POLL_SECONDS = 0.1
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""No proxy of the environment stands between the processes of one machine."""
READY_SECONDS = 180.0
"""A GPU worker compiles for a while; a CPU worker takes about 5 s."""


def wait_until_ready(
    settings: Settings, *, give_up: Callable[[], str | None] = lambda: None, seconds: float = READY_SECONDS
) -> dict[str, Any]:
    """The body of `/readyz` once it answers 200.

    Raises Unavailable with the last answer when `seconds` have passed, or at once with what `give_up` returns.
    """
    deadline, last = time.monotonic() + seconds, "no answer"
    while time.monotonic() < deadline:
        status, body = _ask(f"{web_url(settings)}/readyz")
        if status == 200:
            return json.loads(body)
        last = body or last
        reason = give_up()
        if reason:
            raise Unavailable(reason)
        time.sleep(POLL_SECONDS)
    raise Unavailable(f"not ready after {seconds:.0f} s: {last.strip()}")


def require_free_port(host: str, port: int, variable: str) -> None:
    """Raise Conflict naming `variable` if something listens on `port` already."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise Conflict(f"cannot listen on {host}:{port}: {error.strerror}; set {variable}") from None
            raise Conflict(
                f"port {port} is taken by another program; take another one: {variable}={port + 1} make up"
            ) from None


def _ask(url: str) -> tuple[int, str]:
    try:
        with _DIRECT.open(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError:
        return 0, ""
