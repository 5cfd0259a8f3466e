"""Who may do what: keys and their scopes, checked before any view; request ids, headers, and the refusal to be open."""

from __future__ import annotations

import ipaddress
import logging
import re
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from flask import Flask, Response, g, request

from speaker_tasks.apikeys import ADMIN, ANYONE, ENROLL, READ, RECOGNIZE, Caller, KeyRing
from speaker_tasks.errors import ConfigurationError, Forbidden, NotFound, Unauthorized
from speaker_tasks.settings import Settings

logger = logging.getLogger(__name__)

OPEN_PATHS = ("/healthz", "/readyz", "/openapi.json", "/docs", "/docs/")
LEGACY_SCOPES = {
    "/speaker": RECOGNIZE,
    "/SpeakerFeats": RECOGNIZE,
    "/GetSpeakerList": READ,
    "/InitSpeakerFeats": ADMIN,
    "/ModifyFeatsMode": ADMIN,
    "/ModifyFeatsCustom": ADMIN,
}
CHANGING = tuple(path for path, scope in LEGACY_SCOPES.items() if scope == ADMIN)
"""The older paths that change something, also by GET."""
RULES: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("/v1/identify", (RECOGNIZE,), (RECOGNIZE,)),
    ("/v1/verify", (RECOGNIZE,), (RECOGNIZE,)),
    ("/v1/embed", (RECOGNIZE,), (RECOGNIZE,)),
    ("/v1/compare", (RECOGNIZE,), (RECOGNIZE,)),
    ("/v1/jobs", (READ, RECOGNIZE, ENROLL), (RECOGNIZE, ENROLL)),
    ("/v1/audit", (ADMIN,), (ADMIN,)),
)
"""Beginnings of paths with the scopes to read there and to change; everything else: `read` and `admin`."""
READING = ("GET", "HEAD", "OPTIONS")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
DOCS_POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
_ENROLLING = re.compile(r"/v1/banks/[^/]+/(re-)?enrollments")
_REQUEST_ID = re.compile(r"[\w.:-]{1,64}")


NOBODY = Caller(ANYONE.name, frozenset())
"""Who has no key where keys are wanted."""


@dataclass(frozen=True)
class Guard:
    """The rules of one application."""

    settings: Settings
    keys: KeyRing

    @property
    def legacy(self) -> str:
        """The older endpoints are `open`, behind a `key`, or `off`."""
        return ("key" if self.keys else "open") if self.settings.legacy == "auto" else self.settings.legacy

    def known(self) -> Caller | None:
        """Whose key the current request has; None without a key, or with one that is not known."""
        if not self.keys:
            return ANYONE
        key = given_key()
        return self.keys.caller(key) if key else None

    def check(self, caller: Caller | None) -> None:
        """Raise `Unauthorized`, `Forbidden` or `NotFound` unless the caller may make the current request."""
        path = request.path
        if path in LEGACY_SCOPES and self.legacy == "off":
            raise NotFound(f"{path} is turned off; see /docs for /v1")
        if not self.keys:
            self._not_in_public()
            self._not_from_elsewhere()
            return
        scopes = needed_scopes(request.method, path)
        if not scopes or (path in LEGACY_SCOPES and self.legacy == "open"):
            return
        if caller is None:
            told = "the key is not known" if given_key() else "a key is wanted: `Authorization: Bearer KEY`"
            raise Unauthorized(told)
        if not caller.may(*scopes):
            raise Forbidden(f"the key {caller.name!r} has not the scope {scopes[0]!r}", scope=scopes[0])

    def _not_in_public(self) -> None:
        """gunicorn may have been bound elsewhere than the settings say."""
        listener = request.environ.get("gunicorn.socket")
        if listener is None or self.settings.open_to_all:
            return
        name = listener.getsockname()
        if isinstance(name, tuple) and is_public(str(name[0])):
            raise Forbidden("this service has a public address and no keys: set SPEAKER_API_KEYS")

    def _not_from_elsewhere(self) -> None:
        """A page of another site, open in a browser on this machine, must not change anything here.

        Nor may it read anything by a name of its own that leads to this machine.
        """
        changes = request.method not in READING or request.path in CHANGING
        if changes and request.headers.get("Sec-Fetch-Site") == "cross-site":
            raise Forbidden("a page of another site may not ask a service without keys")
        if self.settings.open_to_all or is_public(self.settings.host):
            return
        given = request.headers.get("Host", "")
        if given and not is_own_name(given):
            raise Forbidden(
                f"a service without keys is asked by an address or as localhost, not as {given[:100]!r}: "
                "set SPEAKER_API_KEYS, or SPEAKER_OPEN_TO_ALL=true",
                host=given[:100],
            )


def install(app: Flask, settings: Settings) -> Guard:
    """Name the caller of each request. Raises `ConfigurationError` rather than be open to the world."""
    guard = Guard(settings, KeyRing.of(settings))
    if is_public(settings.host) and not guard.keys and not settings.open_to_all:
        raise ConfigurationError(
            f"SPEAKER_HOST={settings.host} is a public address and there are no keys: set SPEAKER_API_KEYS "
            "(`speaker-tasks keys new NAME` makes one), or SPEAKER_OPEN_TO_ALL=true to let anyone in"
        )

    def before() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        g.known = guard.known()
        g.caller = g.known or NOBODY

    app.before_request(before)
    app.after_request(_dress)
    return guard


def enforce(app: Flask, guard: Guard) -> None:
    """Check each request before its view, but after what counts them: who is refused is counted too."""

    def before() -> None:
        guard.check(g.known)
        g.let_in = True

    app.before_request(before)


def limited(settings: Settings, guard: Guard) -> bool:
    """Whether requests are counted: not on a private service without keys."""
    return bool(settings.rate_limit) and (bool(guard.keys) or is_public(settings.host))


def needed_scopes(method: str, path: str) -> tuple[str, ...]:
    """Any of these is enough for the request; none is needed if empty."""
    if path in OPEN_PATHS or path.startswith("/docs/"):
        return ()
    if path in LEGACY_SCOPES:
        return (LEGACY_SCOPES[path],)
    reading = method in READING
    for beginning, read, change in RULES:
        if path == beginning or path.startswith(beginning + "/"):
            return read if reading else change
    if method == "POST" and _ENROLLING.fullmatch(path):
        return (ENROLL,)
    return (READ,) if reading else (ADMIN,)


def given_key() -> str:
    """The key of the current request, or nothing."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("X-API-Key", "")


def caller() -> Caller:
    """Who asks in the current request."""
    found: Caller = g.caller
    return found


def turned_away() -> bool:
    """Whether the current request was refused before its view, and nobody knows who asked."""
    return not g.get("let_in") and caller().name == ANYONE.name


def request_id() -> str:
    """The current request's id, which is in its answer too."""
    return str(g.get("request_id", ""))


def is_public(host: str) -> bool:
    """Whether others than this machine can reach the address."""
    if host in {"localhost", ""}:
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


def _dress(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.path.startswith("/docs"):
        response.headers["Content-Security-Policy"] = DOCS_POLICY
    if request.path.startswith("/v1/"):
        response.headers.setdefault("Cache-Control", "no-store")
    if response.status_code == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="speaker-tasks"'
    response.headers["X-Request-ID"] = request_id()
    if response.status_code >= 400:
        logger.info("[%s] %s %s -> %d", request_id(), request.method, request.path, response.status_code)
    return response
