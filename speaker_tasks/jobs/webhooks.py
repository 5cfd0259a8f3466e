"""Where webhooks may go: the hosts of the settings, each at the ports of its entry."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}


def is_allowed(url: str, hosts: Sequence[str]) -> bool:
    """Whether a webhook may go to the URL: `hosts` are `HOST`, for the usual port of http and https, or `HOST:PORT`.

    A URL that holds a user or a password is refused: it would be kept and shown in the job's record.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    if parts.scheme not in PORTS or "@" in parts.netloc or not host:
        return False
    named = f"[{host}]" if ":" in host else host
    usual = port is None or port == PORTS[parts.scheme]
    return f"{named}:{port or PORTS[parts.scheme]}" in hosts or (usual and bool({named, host} & set(hosts)))
