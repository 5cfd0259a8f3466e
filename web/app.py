"""The application factory, and how JSON is written."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Flask, Response
from flask.json.provider import JSONProvider
from flask_openapi3 import OpenAPI
from pydantic import ValidationError

from speaker_tasks.errors import Malformed
from speaker_tasks.settings import Settings
from web import health, legacy, metrics
from web.http import accesslog, audit, errors, limits, proxies, security
from web.http.inflate import InflatedRequest
from web.pages import views as pages
from web.shared import EXTENSION, Services
from web.v1 import banks, docs, enrollments, fleet, jobs, previews, questions, timelines
from web.v1.schemas import ErrorAnswer


class FastJSON(JSONProvider):
    """JSON by orjson: UTF-8 as it is (names stay readable), keys in the order given, numpy arrays as lists."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        """The JSON text of `obj`."""
        return orjson.dumps(obj, option=orjson.OPT_SERIALIZE_NUMPY).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        """What the JSON text says."""
        return orjson.loads(s)

    def response(self, *args: Any, **kwargs: Any) -> Response:
        """A response whose body is the JSON of the arguments."""
        if args and kwargs:
            raise TypeError("a response is of positional or of keyword arguments, not of both")
        whole = args[0] if len(args) == 1 else args or kwargs
        body = orjson.dumps(whole, option=orjson.OPT_SERIALIZE_NUMPY)
        return Response(body, mimetype="application/json")


def create_app(settings: Settings | None = None) -> Flask:
    """The application. Reads `SPEAKER_*` when no settings are given; connects to nothing yet.

    Raises `ConfigurationError` for settings that cannot work, among them a public address without keys.
    """
    settings = settings or Settings()
    limits.check(settings)
    app = OpenAPI(
        "web",
        info=docs.INFO,
        security_schemes=docs.SCHEMES,
        doc_ui=False,
        validation_error_status=400,
        validation_error_model=ErrorAnswer,
        validation_error_callback=_invalid,
        static_folder=None,
    )
    app.json = FastJSON(app)
    app.url_map.merge_slashes = False  # its redirects are absolute, and so follow whatever Host was sent
    app.request_class = InflatedRequest
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    shared = app.extensions[EXTENSION] = Services(settings)
    accesslog.install(app)
    errors.register(app)
    guard = security.install(app, settings, shared.client.redis)
    app.extensions[pages.GUARD] = guard
    audit.install(app)
    shared.limited = security.limited(settings, guard)
    if shared.limited:
        limits.install(app, settings)
    security.enforce(app, guard)
    for blueprint in (legacy.blueprint, health.blueprint, metrics.blueprint, docs.blueprint, pages.blueprint):
        app.register_blueprint(blueprint)
    for room in (questions, timelines, jobs, banks, enrollments, previews, fleet):
        app.register_api(room.blueprint)
    app.wsgi_app = proxies.install(app.wsgi_app, settings)  # type: ignore[assignment,method-assign]
    return app


def _invalid(error: ValidationError) -> Response:
    """A request whose query, path or body is not of the described form."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    raise Malformed(f"{where}: {first['msg']}", where=where)
