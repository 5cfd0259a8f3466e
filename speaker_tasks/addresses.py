"""Addresses that a server listens at or is called by: whether they are this machine's alone."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_public(host: str) -> bool:
    """Whether other machines can reach a server that listens at the address; an empty one means all interfaces."""
    if host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return True


def is_own_name(host: str) -> bool:
    """Whether a `Host` header names this machine by an address or as localhost: no name that others may redirect."""
    try:
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        if name == "localhost" or name.endswith(".localhost"):
            return True
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
