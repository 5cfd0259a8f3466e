"""The application factory, and how JSON is written."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Flask, Response
from flask.json.provider import JSONProvider

from speaker_tasks.settings import Settings
from web import api, errors, health, legacy
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
    """The application. Reads `SPEAKER_*` when no settings are given; connects to nothing yet."""
    settings = settings or Settings()
    app = Flask("web", static_folder=None)
    app.json = FastJSON(app)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.extensions[EXTENSION] = Services(settings)
    errors.register(app)
    app.register_blueprint(legacy.blueprint)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(api.blueprint)
    return app
