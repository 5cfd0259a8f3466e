"""The pages' addresses: each page is a shell in the reader's language, which its module fills from `/v1`."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

from flask import (
    Blueprint,
    Response,
    current_app,
    g,
    make_response,
    redirect,
    render_template,
    request,
    send_file,
    url_for,
)

from speaker_tasks.addresses import is_public
from speaker_tasks.apikeys import ENROLL, READ, RECOGNIZE, SCOPES, Caller
from speaker_tasks.errors import NotFound
from web.http.security import Guard, session_token
from web.http.sessions import COOKIE, SESSION_SECONDS, csrf_token
from web.pages import demo
from web.pages import texts as languages
from web.pages.packing import pack
from web.shared import services

GUARD = "speaker_tasks_guard"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self'; font-src 'self'; "
    "media-src 'self' blob:; connect-src 'self' blob:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""No inline script runs. The nonce is for the one style sheet that the waveform makes for itself."""
THEME_COOKIE = "speaker_theme"
THEMES = ("light", "dark")
LONGEST_KEY = 500

blueprint = Blueprint(
    "pages", __name__, template_folder="templates", static_folder="static", static_url_path="/pages/static"
)


@dataclass(frozen=True)
class Page:
    """One page: its name, which is its address, and the scopes of which one is needed to use it."""

    name: str
    scopes: tuple[str, ...]


PAGES = (
    Page("ask", (RECOGNIZE,)),
    Page("people", (READ,)),
    Page("enroll", (ENROLL,)),
    Page("meetings", (RECOGNIZE,)),
    Page("jobs", (READ, RECOGNIZE, ENROLL)),
)


@blueprint.get("/")
def home() -> Response:
    """A browser is led to the first page that its key may use; a program to the description of the API."""
    if not request.accept_mimetypes.accept_html or request.accept_mimetypes.best == "*/*":
        return make_response(redirect(url_for("docs.page")))
    caller: Caller | None = g.key_holder
    mine = [page.name for page in PAGES if caller is not None and caller.may(*page.scopes)]
    return make_response(redirect(url_for("pages.page", name=mine[0]) if mine else url_for("pages.sign_in")))


@blueprint.get("/<any(ask, people, enroll, meetings, jobs):name>")
def page(name: str) -> Response:
    """A page; who has not signed in to a service with keys is led to the sign-in."""
    caller: Caller | None = g.key_holder
    if caller is None:
        return make_response(redirect(url_for("pages.sign_in", next=name)))
    this = next(one for one in PAGES if one.name == name)
    if not caller.may(*this.scopes):
        return _render("forbidden.html", name, status=403, scope=this.scopes[0])
    return _render(f"{name}.html", name)


@blueprint.get("/sign-in")
def sign_in() -> Response:
    """The form for an API key."""
    return _render("sign_in.html", "sign-in", next=_next())


@blueprint.post("/sign-in")
def begin_session() -> Response:
    """A session for whoever has a key, in a cookie that no script reads."""
    guard: Guard = current_app.extensions[GUARD]
    guard.refuse_foreign_pages()
    token = guard.sessions.open(request.form.get("key", "").strip()[:LONGEST_KEY])
    if token is None:
        return _render("sign_in.html", "sign-in", status=401, next=_next(), wrong=True)
    wanted = _next()
    to = url_for("pages.page", name=wanted) if wanted else url_for("pages.home")
    response = make_response(redirect(to, code=303))
    response.set_cookie(
        COOKIE,
        token,
        max_age=SESSION_SECONDS,
        path=request.script_root or "/",
        httponly=True,
        samesite="Lax",
        secure=request.is_secure,
    )
    return response


@blueprint.post("/sign-out")
def end_session() -> Response:
    """End the session, and lead to where the page forgets the meetings' names."""
    guard: Guard = current_app.extensions[GUARD]
    guard.refuse_foreign_pages()
    if token := session_token():
        guard.sessions.close(token)
    response = make_response(redirect(url_for("pages.sign_in", signed_out=1), code=303))
    response.delete_cookie(COOKIE, path=request.script_root or "/")
    return response


@blueprint.get("/pages/demo.zip")
def demo_archive() -> Response:
    """The demo's voices, as a page sends them to `/v1/banks/demo/enrollments`."""
    return Response(demo.archive(), mimetype="application/zip")


@blueprint.get("/pages/demo/<speaker>.ogg")
def demo_recording(speaker: str) -> Response:
    """A recording of one of the demo's people that is not enrolled."""
    path = demo.recording(speaker)
    if path is None:
        raise NotFound(f"the demo has no speaker {speaker!r}; it has {', '.join(demo.speakers())}")
    return send_file(path, mimetype="audio/ogg")


@blueprint.get("/pages/demo/meeting.ogg")
def demo_meeting() -> Response:
    """The demo's meeting, as the page Meetings sends it to `/v1/timeline`."""
    return send_file(demo.MEETING, mimetype="audio/ogg")


@blueprint.after_request
def pack_files(response: Response) -> Response:
    """The pages' scripts and style sheet, packed."""
    return pack(response, secret=False) if request.endpoint == "pages.static" else response


def _render(template: str, name: str, *, status: int = 200, **more: Any) -> Response:
    """A page in the reader's language and theme, with what its module needs to know, and its content policy."""
    language, nonce = languages.language_of(request), secrets.token_urlsafe(16)
    guard: Guard = current_app.extensions[GUARD]
    caller: Caller | None = g.key_holder
    scopes = [scope for scope in SCOPES if caller is not None and caller.may(scope)]
    token = session_token()
    theme = request.cookies.get(THEME_COOKIE, "")
    body = render_template(
        template,
        name=name,
        language=language,
        languages=languages.LANGUAGES,
        texts=languages.texts(language),
        service_texts=languages.service_texts(language),
        t=partial(languages.text, language),
        theme=theme if theme in THEMES else "auto",
        nonce=nonce,
        pages=[one.name for one in PAGES if caller is not None and caller.may(*one.scopes)],
        scopes=scopes,
        signed_in=caller.name if guard.keys and caller is not None else None,
        csrf=csrf_token(token) if guard.keys and token else "",
        base=request.script_root,
        version=version("speaker-tasks"),
        demo_speakers=demo.speakers(),
        flower=_flower(),
        **more,
    )
    response = Response(body, status=status, mimetype="text/html")
    response.headers["Content-Security-Policy"] = POLICY.format(nonce=nonce)
    response.headers["Permissions-Policy"] = "microphone=(self)"
    response.headers["Cache-Control"] = "no-store"
    response.vary.update(("Cookie", "Accept-Language"))
    return pack(response, secret=bool(token))


def _flower() -> str | None:
    """Flower's URL for a reader on this machine; None for others, and where Flower listens on a public address."""
    settings = services().settings
    if is_public(request.remote_addr or "localhost") or is_public(settings.flower_host):
        return None
    return f"http://{settings.flower_host}:{settings.flower_port}/{settings.flower_path_prefix.strip('/')}"


def _next() -> str:
    """The page to go on to after the sign-in: one of ours, whatever the address says; empty for the first one."""
    wanted = request.values.get("next", "").strip("/")
    return wanted if wanted in {page.name for page in PAGES} else ""
