"""The service behind a proxy: the client's own address, and a path under which the service lies."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from werkzeug.middleware.proxy_fix import ProxyFix

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.settings import Settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def install(application: WSGIApplication, settings: Settings) -> WSGIApplication:
    """The application with `trusted_proxies` and `path_prefix` applied. Raises `ConfigurationError`."""
    if settings.path_prefix:
        application = PathPrefix(application, settings.path_prefix)
    if settings.trusted_proxies:
        application = TrustedProxies(application, settings.trusted_proxies)
    return application


class TrustedProxies:
    """Believes `X-Forwarded-For`, `-Proto`, `-Host`, `-Port` and `-Prefix` of requests from these addresses alone."""

    def __init__(self, application: WSGIApplication, addresses: Iterable[str]) -> None:
        self._application = application
        self._networks = [_network(address) for address in addresses]

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, with the client's address where a trusted proxy tells it."""
        application = self._application
        if self._trusts(environ.get("REMOTE_ADDR", "")):
            application = ProxyFix(application, self._hops(environ), x_proto=1, x_host=1, x_port=1, x_prefix=1)
        return application(environ, start_response)

    def _hops(self, environ: dict[str, Any]) -> int:
        """How many entries at the end of `X-Forwarded-For` trusted proxies have written."""
        addresses = [part.strip() for part in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
        hops = 1
        while hops < len(addresses) and self._trusts(addresses[-hops]):
            hops += 1
        return hops

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self._networks)


class PathPrefix:
    """Takes the prefix off the paths of requests. A proxy that has taken it off already serves as well."""

    def __init__(self, application: WSGIApplication, prefix: str) -> None:
        if not prefix.startswith("/") or "//" in prefix or not prefix.strip("/"):
            raise ConfigurationError(f"SPEAKER_PATH_PREFIX={prefix} has to be a path such as /speaker")
        self._application, self._prefix = application, prefix.rstrip("/")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer under the prefix."""
        path: str = environ.get("PATH_INFO", "")
        if path == self._prefix or path.startswith(self._prefix + "/"):
            environ["PATH_INFO"] = path[len(self._prefix) :] or "/"
        environ["SCRIPT_NAME"] = self._prefix
        return self._application(environ, start_response)


def _network(address: str) -> Network:
    try:
        return ipaddress.ip_network(address, strict=False)
    except ValueError:
        raise ConfigurationError(
            f"SPEAKER_TRUSTED_PROXIES: {address} is no address and no network such as 10.0.0.0/8"
        ) from None
