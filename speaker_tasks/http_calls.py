"""The calls of `/v1` as data, shared by the two HTTP clients: what to send, and when to send it again."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote

import httpx

from speaker_tasks.errors import NotFound, SpeakerTasksError, Unavailable, from_dict

RETRIED = (429, 502, 503, 504)
RAW = "application/octet-stream"


class Samples(Protocol):
    """An array of mono samples, such as numpy's."""

    def tolist(self) -> list[float]:
        """The samples as numbers."""


Recording = str | Path | bytes | BinaryIO | Samples
"""A path on this machine, the bytes of a file, an open file, or mono samples."""


@dataclass(frozen=True)
class Call:
    """One request. A POST carries an idempotency key, so that it may be sent again."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    files: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """The arguments of `httpx.Client.request` after the URL."""
        params = {name: value for name, value in self.params.items() if value is not None}
        return {"params": params, "content": self.content, "files": self.files, "headers": dict(self.headers)}


def question(kind: str, recording: Recording, rate: int, **params: Any) -> Call:
    """A question about one recording. Raises `NotFound` for a path that is not there."""
    content, content_type = _body(recording, rate)
    headers = {"Content-Type": content_type, "Idempotency-Key": secrets.token_hex(16)}
    return Call("POST", f"/v1/{kind}", params, content, headers=headers)


def comparison(first: Recording, second: Recording, rate: int, **params: Any) -> Call:
    """Two recordings to compare."""
    headers = {"Idempotency-Key": secrets.token_hex(16)}
    given = {"first": _body(first, rate), "second": _body(second, rate)}
    if all(kind == RAW for _, kind in given.values()):
        files = {name: (name, content, RAW) for name, (content, _) in given.items()}
        return Call("POST", "/v1/compare", params, files=files, headers=headers)
    import base64

    parts = {
        name: json.loads(content) if kind != RAW else {"audio": base64.b64encode(content).decode()}
        for name, (content, kind) in given.items()
    }
    body = json.dumps(parts).encode()
    return Call("POST", "/v1/compare", params, body, headers=headers | {"Content-Type": "application/json"})


def plain(method: str, path: str, body: Mapping[str, Any] | None = None, **params: Any) -> Call:
    """A request with a JSON body, or with none."""
    content = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    return Call(method, path, params, content, headers=headers)


def part(text: str) -> str:
    """A name as a part of a path."""
    return quote(text, safe="")


def pause(call: Call, answer: httpx.Response | None, attempt: int) -> float:
    """Seconds to wait before the call is sent again."""
    told = answer.headers.get("Retry-After", "") if answer is not None else ""
    return min(30.0, float(told)) if told.isdigit() else min(10.0, 0.2 * 2.0**attempt)


def repeatable(call: Call) -> bool:
    """Whether sending the call again cannot do anything twice."""
    return call.method in {"GET", "DELETE", "PUT"} or "Idempotency-Key" in call.headers


def checked(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON. Raises the error that the service told."""
    try:
        body = answer.json()
    except ValueError:
        raise SpeakerTasksError(f"{answer.request.url} answered {answer.status_code} without JSON") from None
    if answer.is_error:
        raise from_dict(body.get("error", {}))
    return dict(body)


def away(url: str, error: Exception) -> Unavailable:
    """The service does not answer."""
    return Unavailable(f"no answer from {url}: {error}", url=url)


def _body(recording: Recording, rate: int) -> tuple[bytes, str]:
    if isinstance(recording, str | Path):
        try:
            return Path(recording).read_bytes(), RAW
        except OSError as error:
            raise NotFound(f"{recording} cannot be read: {error.strerror}", path=str(recording)) from None
    if isinstance(recording, bytes):
        return recording, RAW
    if hasattr(recording, "tolist"):
        return json.dumps({"samples": recording.tolist(), "rate": rate}).encode(), "application/json"
    return recording.read(), RAW
