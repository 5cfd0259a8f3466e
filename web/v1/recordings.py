"""Recordings as `/v1` takes them: an upload, a raw body, JSON with base64, with samples, or with a path."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from flask import Request
from werkzeug.datastructures import FileStorage

from speaker_tasks.errors import Malformed, TooLarge, UnsupportedAudio
from speaker_tasks.jobs.audio import PAYLOAD_PREFIX, Audio
from web.http.body import SAMPLE_RATE, floats, json_object

Source = Audio | str
"""Audio, or a path that the workers may be able to read."""

RAW_TYPES = ("audio/", "video/")
RAW_OTHERS = ("application/octet-stream", "application/ogg")
RATES = range(4_000, 768_001)
_SPELLINGS = str.maketrans("-_", "+/", " \t\r\n")
ONE, TWO = ("audio",), ("first", "second")


def recordings(request: Request, names: tuple[str, ...], max_seconds: float, setting: str) -> list[Source]:
    """The recordings of the request, one for each name; samples may be of `max_seconds`, as `setting` says.

    Raises `Malformed`, `TooLarge`, `UnsupportedAudio` for a body of another type, `NotFinite`, `Unusable`.
    """
    kind = request.mimetype
    if kind == "multipart/form-data":
        return [_uploaded(request, name) for name in names]
    if kind == "application/json" or kind.endswith("+json"):
        body = json_object(request.get_data(cache=True))
        parts = [body] if names == ONE else [_part(body, name) for name in names]
        return [_described(part, max_seconds, setting) for part in parts]
    if names == ONE and (kind.startswith(RAW_TYPES) or kind in RAW_OTHERS):
        return [_file(request.get_data(cache=True))]
    wanted = "multipart/form-data or application/json" + (" or audio/*" if names == ONE else "")
    if not request.get_data(cache=True):
        raise Malformed(f"the request has no body; {wanted} is taken")
    raise UnsupportedAudio(f"a body of type {kind or 'none'!r}; {wanted} is taken", content_type=kind)


def request_body(names: tuple[str, ...]) -> dict[str, Any]:
    """What OpenAPI tells of the body."""
    file = {"type": "string", "format": "binary"}
    form = {"type": "object", "properties": dict.fromkeys(names, file), "required": list(names)}
    content: dict[str, Any] = {
        "multipart/form-data": {"schema": form},
        "application/json": {"schema": _DESCRIBED if names == ONE else _both(names)},
    }
    if names == ONE:
        content["audio/*"] = {"schema": file}
    return {"required": True, "content": content}


def _uploaded(request: Request, name: str) -> Source:
    files = request.files.getlist(name)
    if not files and name == ONE[0]:
        files = request.files.getlist("file")
    if len(files) != 1:
        raise Malformed(f"the form has {len(files)} files named {name!r}; one is wanted", key=name)
    upload: FileStorage = files[0]
    return _file(upload.read())


def _part(body: dict[str, Any], name: str) -> dict[str, Any]:
    part = body.get(name)
    if not isinstance(part, dict):
        raise Malformed(f"the key {name!r} has to be an object with `audio`, `samples` or `path`", key=name)
    return part


def _described(part: dict[str, Any], max_seconds: float, setting: str) -> Source:
    given = [key for key in ("audio", "samples", "path") if key in part]
    if len(given) != 1 or (unknown := set(part) - {*given, "rate"}):
        hint = f"; {sorted(unknown)[0]!r} is unknown" if len(given) == 1 else ""
        raise Malformed(f"one of `audio` (base64), `samples` (with `rate`) and `path` is wanted{hint}")
    value = part[given[0]]
    if given[0] == "samples":
        return _samples(value, part.get("rate", SAMPLE_RATE), max_seconds, setting)
    if not isinstance(value, str) or not value:
        raise Malformed(f"{given[0]!r} has to be text", key=given[0])
    return _encoded(value) if given[0] == "audio" else _path(value)


def _path(value: str) -> Source:
    if not value.startswith("/") or value.startswith(PAYLOAD_PREFIX) or "\0" in value:
        raise Malformed("`path` has to begin with /", key="path")
    return value


def _encoded(value: str) -> Audio:
    text = value.partition(",")[2] if value.startswith("data:") else value
    text = text.translate(_SPELLINGS)  # MIME breaks lines; URLs have - and _ for + and /, and no =
    try:
        return _file(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"`audio` is not base64: {error}", key="audio") from None


def _samples(values: Any, rate: Any, max_seconds: float, setting: str) -> Audio:
    if isinstance(rate, float) and rate.is_integer():
        rate = int(rate)
    if not isinstance(rate, int) or isinstance(rate, bool) or rate not in RATES:
        raise Malformed(f"`rate` has to be a whole number of {RATES[0]} to {RATES[-1]} Hz; got {rate!r}", key="rate")
    if not isinstance(values, list):
        raise Malformed("`samples` has to be a list of numbers", key="samples")
    if len(values) > max_seconds * rate:
        seconds = round(len(values) / rate, 1)
        raise TooLarge(
            f"the recording has {seconds:g} s; at most {max_seconds:g} s are taken ({setting})",
            seconds=seconds,
        )
    return Audio.of_samples(floats(values, "samples"), rate)


def _file(data: bytes) -> Audio:
    if not data:
        raise Malformed("the recording is empty (0 bytes)")
    return Audio.of_file(data)


_DESCRIBED: dict[str, Any] = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"audio": {"type": "string", "minLength": 1, "description": "An audio file in base64."}},
            "required": ["audio"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "samples": {
                    "type": "array",
                    "items": {"type": "number", "minimum": -1e10, "maximum": 1e10},
                    "minItems": 1,
                    "description": "Mono samples in [-1, 1].",
                },
                "rate": {"type": "integer", "minimum": RATES[0], "maximum": RATES[-1], "default": SAMPLE_RATE},
            },
            "required": ["samples"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "path": {"type": "string", "pattern": "^/", "description": "A file below SPEAKER_DATA_ROOTS."}
            },
            "required": ["path"],
            "additionalProperties": False,
        },
    ]
}


def _both(names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict.fromkeys(names, _DESCRIBED),
        "required": list(names),
        "additionalProperties": False,
    }
