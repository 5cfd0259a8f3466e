"""What mkdocs builds beside docs/: the reference of the HTTP API from OpenAPI, and of the client from its docstrings.

Links from a page to a file of the repository are shown as the file's path: the site is read without the repository.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from speaker_tasks.sdk.client import AsyncSpeakerTasks, SpeakerTasks
from speaker_tasks.settings import Settings
from web import create_app
from web.http.security import needed_scopes
from web.v1.docs import described

_REPOSITORY = re.compile(r"\[([^\]]*)\]\(\.\./(?!\.\.)([^)#]+)[^)]*\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    pages = {"reference/http.md": "\n".join(_endpoints()), "reference/client.md": "\n".join(_client())}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Paths instead of links that lead out of docs/."""
    return markdown if page.file.src_uri.startswith("reference/") else _REPOSITORY.sub(r"\1 (`\2`)", markdown)


def _endpoints() -> Iterator[str]:
    app: Any = create_app(Settings(redis_url="redis://127.0.0.1:1/0"))
    yield "# HTTP reference\n\nMade from `/openapi.json`; [The HTTP API](../api.md) explains it.\n"
    for path, operations in sorted(described(app)["paths"].items()):
        for method, operation in operations.items():
            yield f"## {method.upper()} {path}\n\n{operation.get('summary', '')}\n"
            yield f"{operation.get('description', '')}\n"
            scopes = needed_scopes(method.upper(), re.sub(r"\{\w+\}", "x", path))
            yield f"Scope: {' or '.join(f'`{scope}`' for scope in scopes) or 'none'}.\n"
            yield from _parameters(operation.get("parameters", []))


def _parameters(parameters: list[dict[str, Any]]) -> Iterator[str]:
    if parameters:
        yield "| parameter | in | what |\n|---|---|---|"
        for one in parameters:
            schema = one.get("schema", {})
            kind = schema.get("type", "")
            description = one.get("description") or schema.get("description") or ""
            needed = "" if not one.get("required") else " (needed)"
            yield f"| `{one['name']}` | {one['in']}, {kind}{needed} | {description.replace('|', '&#124;')} |"
        yield ""


def _client() -> Iterator[str]:
    yield "# The Python client\n\nMade from its docstrings.\n"
    for cls in (SpeakerTasks, AsyncSpeakerTasks):
        yield f"## {cls.__name__}\n\n{inspect.getdoc(cls)}\n"
        for name, method in inspect.getmembers(cls, inspect.isfunction):
            if not name.startswith("_") and inspect.getdoc(method):
                yield f"### {cls.__name__}.{name}\n\n```\n{name}{inspect.signature(method)}\n```\n"
                yield f"{inspect.getdoc(method)}\n"
