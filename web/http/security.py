"""Who may do what: keys and their scopes, checked before any view; request ids, headers, and the refusal to be open."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

import redis
from flask import Flask, Response, g, request

from speaker_tasks.addresses import is_own_name, is_public
from speaker_tasks.apikeys import ADMIN, ANYONE, ENROLL, METRICS, READ, RECOGNIZE, Caller, KeyRing
from speaker_tasks.errors import ConfigurationError, Forbidden, NotFound, Unauthorized, UnsupportedAudio
from speaker_tasks.settings import Settings
from web.http.sessions import COOKIE, CSRF_HEADER, Sessions, csrf_matches

OPEN_PATHS = ("/", "/healthz", "/readyz", "/openapi.json", "/docs", "/docs/")
PAGES = ("/ask", "/people", "/enroll", "/meetings", "/jobs", "/sign-in", "/sign-out")
"""They hold no data: a page of a service with keys leads to the sign-in, and what it shows it asks `/v1` for."""
ASSETS = "/pages/"
"""Where scripts, styles and the demo's voices lie, which need no key."""
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
    ("/v1/timeline", (RECOGNIZE,), (RECOGNIZE,)),
    ("/v1/timelines", (RECOGNIZE,), (RECOGNIZE,)),
    ("/v1/jobs", (READ, RECOGNIZE, ENROLL), (RECOGNIZE, ENROLL)),
    ("/v1/audit", (ADMIN,), (ADMIN,)),
    ("/metrics", (METRICS, READ), (ADMIN,)),
    ("/v1/enrollments", (ENROLL,), (ENROLL,)),
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
_FROM_TIMELINE = re.compile(r"/v1/timelines/[^/]+/enrollments")
_REQUEST_ID = re.compile(r"[\w.:-]{1,64}")


NOBODY = Caller(ANYONE.name, frozenset())
"""Who has no key where keys are wanted."""


@dataclass(frozen=True)
class Guard:
    """The rules of one application."""

    settings: Settings
    keys: KeyRing
    sessions: Sessions

    @property
    def legacy(self) -> str:
        """The older endpoints are `open`, behind a `key`, or `off`."""
        return ("key" if self.keys else "open") if self.settings.legacy == "auto" else self.settings.legacy

    def caller(self) -> Caller | None:
        """Whose key the current request has; None without a key, or with one that is not known."""
        if not self.keys:
            return ANYONE
        if key := given_key():
            return self.keys.caller(key)
        return self.sessions.caller(token) if (token := session_token()) else None

    def check(self, caller: Caller | None) -> None:
        """Raise `Unauthorized`, `Forbidden` or `NotFound` unless the caller may make the current request."""
        path = request.path
        if path in LEGACY_SCOPES and self.legacy == "off":
            raise NotFound(f"{path} is turned off; see /docs for /v1")
        if not self.keys:
            self._not_from_the_network()
            self._not_from_elsewhere()
            return
        scopes = needed_scopes(request.method, path)
        if not scopes or (path in LEGACY_SCOPES and self.legacy == "open"):
            return
        if caller is None:
            message = "the key is not known" if given_key() else "a key is wanted: `Authorization: Bearer KEY`"
            raise Unauthorized(message)
        if not given_key() and (request.method not in READING or path in CHANGING):
            _check_csrf()
        if not caller.may(*scopes):
            raise Forbidden(f"the key {caller.name!r} has not the scope {scopes[0]!r}", scope=scopes[0])

    @staticmethod
    def refuse_foreign_pages() -> None:
        """Raise `Forbidden` for what a browser sends on behalf of a page that is not this very service's."""
        _refuse_foreign_pages()

    def _not_from_the_network(self) -> None:
        """Another server may have bound the application elsewhere than the settings say; a proxy may pass others on."""
        if self.settings.open_to_all or is_public(self.settings.host):
            return
        if is_public(request.remote_addr or "localhost"):
            raise Forbidden(
                f"a service without keys answers to this machine alone, not to {request.remote_addr}: "
                "set SPEAKER_API_KEYS, or SPEAKER_OPEN_TO_ALL=true"
            )

    def _not_from_elsewhere(self) -> None:
        """A page of another site, open in a browser on this machine, must not change anything here.

        Nor may it read anything by a name of its own that leads to this machine.
        """
        if request.method not in READING or request.path in CHANGING:
            _refuse_foreign_pages()
            if request.path.startswith("/v1/") and _has_body() and not request.mimetype:
                raise UnsupportedAudio("the body has no Content-Type, and a service without keys wants one for changes")
        if self.settings.open_to_all or is_public(self.settings.host):
            return
        given = request.headers.get("Host", "")
        if given and not is_own_name(given):
            raise Forbidden(
                f"a service without keys is asked by an address or as localhost, not as {given[:100]!r}: "
                "set SPEAKER_API_KEYS, or SPEAKER_OPEN_TO_ALL=true",
                host=given[:100],
            )


def install(app: Flask, settings: Settings, client: redis.Redis) -> Guard:
    """Name the caller of each request. Raises `ConfigurationError` rather than be open to the world."""
    keys = KeyRing(settings)
    guard = Guard(settings, keys, Sessions(client, keys))
    if is_public(settings.host) and not guard.keys and not settings.open_to_all:
        raise ConfigurationError(
            f"SPEAKER_HOST={settings.host} is a public address and there are no keys: set SPEAKER_API_KEYS "
            "(`speaker-tasks keys new NAME` makes one), or SPEAKER_OPEN_TO_ALL=true to let anyone in"
        )

    def before() -> None:
        given = request.headers.get("X-Request-ID", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        g.key_holder, g.caller = None, NOBODY  # a session is looked up in Redis, which may be away
        g.key_holder = guard.caller()
        g.caller = g.key_holder or NOBODY

    app.before_request(before)
    app.after_request(_dress)
    return guard


def enforce(app: Flask, guard: Guard) -> None:
    """Check each request before its view, but after what counts them: who is refused is counted too."""

    def before() -> None:
        guard.check(g.key_holder)
        g.let_in = True

    app.before_request(before)


def limited(settings: Settings, guard: Guard) -> bool:
    """Whether requests are counted: not on a private service without keys."""
    return bool(settings.rate_limit) and (bool(guard.keys) or is_public(settings.host))


def needed_scopes(method: str, path: str) -> tuple[str, ...]:
    """Any of these is enough for the request; none is needed if empty."""
    if is_open(path):
        return ()
    if path in LEGACY_SCOPES:
        return (LEGACY_SCOPES[path],)
    reading = method in READING
    if method == "POST" and (_ENROLLING.fullmatch(path) or _FROM_TIMELINE.fullmatch(path)):
        return (ENROLL,)
    for beginning, read, change in RULES:
        if path == beginning or path.startswith(beginning + "/"):
            return read if reading else change
    return (READ,) if reading else (ADMIN,)


def is_open(path: str) -> bool:
    """Whether a path needs no key."""
    return path in OPEN_PATHS or path in PAGES or path.startswith(("/docs/", ASSETS))


def session_token() -> str:
    """The token of the browser's session, or nothing."""
    return request.cookies.get(COOKIE, "")


def given_key() -> str:
    """The key of the current request, or nothing."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else request.headers.get("X-API-Key", "")


def caller() -> Caller:
    """Who asks in the current request."""
    asking: Caller = g.caller
    return asking


def turned_away() -> bool:
    """Whether the current request was refused before its view, and nobody knows who asked."""
    return not g.get("let_in") and caller().name == ANYONE.name


def request_id() -> str:
    """The current request's id, which is in its answer too."""
    return str(g.get("request_id", ""))


def _refuse_foreign_pages() -> None:
    """Raise `Forbidden` for what a browser sends on behalf of a page that is not this very service's.

    A page on another port of this machine is of the same site and foreign all the same. Programs send neither header.
    """
    site, origin = request.headers.get("Sec-Fetch-Site", ""), request.headers.get("Origin", "").lower()
    host = request.headers.get("Host", "").lower()
    own = site == "same-origin" or not origin or origin in (f"http://{host}", f"https://{host}")
    if site not in ("", "same-origin", "none") or not own:
        raise Forbidden("a page of another site or port may not change anything here")


def _check_csrf() -> None:
    """Raise `Forbidden` for a change that a browser sends with its cookie alone: any page could make it do so."""
    _refuse_foreign_pages()
    if not csrf_matches(session_token(), request.headers.get(CSRF_HEADER, "")):
        raise Forbidden(f"the page is out of date or not ours: its {CSRF_HEADER} is wrong; load the page again")


def _has_body() -> bool:
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


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
    return response
