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
from web import audit, banks, docs, enrollments, errors, fleet, health, jobs, legacy, limits, questions, security
from web.schemas import ErrorAnswer
from web.shared import EXTENSION, Services


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
        obj = self._prepare_response_obj(args, kwargs)
        body = orjson.dumps(obj, option=orjson.OPT_SERIALIZE_NUMPY)
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
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.extensions[EXTENSION] = Services(settings)
    errors.register(app)
    guard = security.install(app, settings)
    audit.install(app)
    if security.limited(settings, guard):
        limits.install(app, settings)
    security.enforce(app, guard)
    for blueprint in (legacy.blueprint, health.blueprint, docs.blueprint):
        app.register_blueprint(blueprint)
    for api in (questions.blueprint, jobs.blueprint, banks.blueprint, enrollments.blueprint, fleet.blueprint):
        app.register_api(api)
    return app


def _invalid(error: ValidationError) -> Response:
    """A request whose query, path or body is not of the described form."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "body"
    raise Malformed(f"{where}: {first['msg']}", where=where)
