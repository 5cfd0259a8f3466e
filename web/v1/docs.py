"""`/openapi.json` and `/docs`: the API described, and a page to try it that needs no network but this service."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import flask_openapi3_swagger
from flask import Blueprint, Response, current_app, jsonify, request, send_from_directory
from flask_openapi3 import Info, OpenAPI

from web.v1 import enrollments, questions, timelines
from web.v1.banks import FILE
from web.v1.questions import IDEMPOTENCY_PARAMETER

PREVIEW = "/v1/enrollments/preview"
ENROLLMENTS = "/v1/banks/{name}/enrollments"
BODIES = questions.BODIES | {
    "/v1/timeline": timelines.BODY,
    ENROLLMENTS: enrollments.BODY,
    PREVIEW: enrollments.BODY,
}

blueprint = Blueprint("docs", __name__)

ASSETS = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"
INFO = Info(
    title="speaker-tasks",
    version=version("speaker-tasks"),
    description="Who speaks, how sure, or nobody. Errors have one shape; each answer carries `X-Request-ID`.",
)
SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>speaker-tasks API</title>
<link rel="stylesheet" href="docs/assets/css/swagger-ui.css"></head>
<body><div id="swagger-ui"></div>
<script src="docs/assets/js/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script></body></html>
"""
START = """window.ui = SwaggerUIBundle({
  url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis]
});
"""


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """The API in OpenAPI 3.1."""
    app: Any = current_app
    return jsonify({**described(app), "servers": [{"url": request.script_root or "/"}]})


@blueprint.get("/docs")
def page() -> Response:
    """The page."""
    return Response(PAGE, mimetype="text/html")


@blueprint.get("/docs/start.js")
def start() -> Response:
    """The page's own script; none is inline, so that the content policy can forbid inline ones."""
    return Response(START, mimetype="text/javascript")


@blueprint.get("/docs/assets/<path:name>")
def asset(name: str) -> Response:
    """Swagger UI, from the package that carries it."""
    return send_from_directory(ASSETS, name)


def described(app: OpenAPI) -> dict[str, Any]:
    """The description, with what the models cannot say: bodies of several types, and the idempotency header."""
    made: dict[str, Any] = app.api_doc
    if "x-described" in made:
        return made
    made["x-described"] = True
    for path, operations in made["paths"].items():
        for method, operation in operations.items():
            if method == "post" and path in BODIES:
                operation["requestBody"] = BODIES[path]
            if method == "post" and path != PREVIEW and (path in BODIES or path.endswith("/re-enrollments")):
                operation.setdefault("parameters", []).append(IDEMPOTENCY_PARAMETER)
            if path.endswith("/import"):
                operation["requestBody"] = {"required": True, "content": FILE}
            for parameter in operation.get("parameters", []):
                parameter["schema"] = _without_null(parameter["schema"])
            operation.setdefault("security", [{"bearer": []}, {"key": []}, {}])
    return made


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out is not one that may be null: nobody can write null in an address."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    if len(kinds) != 1:
        return schema
    return {name: value for name, value in schema.items() if name not in {"anyOf", "default"}} | kinds[0]
