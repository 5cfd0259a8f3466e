"""Request bodies of the older endpoints: JSON, parsed once, its numbers straight into an array."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import simdjson
from flask import Request

from speaker_tasks.errors import Malformed, NotFinite, TooLarge, Unusable
from speaker_tasks.jobs.audio import Audio

SAMPLE_RATE = 16_000
"""Hz; what the older clients send."""
MISSING = object()
MAX_LISTS, MAX_VALUES = 20_000, 8_000_000
"""Of a JSON body: 60 MB of empty lists take 2 GB. A bank of 10,000 speakers has as many lists, 5 million values."""
QUICK_BYTES = 8 << 20
"""The quick parser keeps eight times the largest body that it has seen."""
_parser, _parsing = simdjson.Parser(), threading.Lock()
"""One for all threads: it holds Python's lock while it parses anyway."""


def json_object(data: bytes) -> dict[str, Any]:
    """The body as a JSON object. Raises `Malformed`, or `NotFinite` for the NaN and Infinity that Python writes."""
    if not data:
        raise Malformed("the body is empty; a JSON object is wanted")
    _check_count(data)
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if "infinity" in str(error) or _has_constants(data):
            raise NotFinite("the body holds NaN or Infinity; only finite numbers are taken") from None
        raise Malformed(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise Malformed(f"the body is a JSON {_kind(body)}; an object is wanted")
    return body


def _check_count(data: bytes) -> None:
    """Raise for more lists or values than any request needs, before an object is made for each of them."""
    lists, values = data.count(b"[") + data.count(b"{"), data.count(b",")
    if lists > MAX_LISTS:
        raise Malformed(f"the body holds about {lists} lists and objects; at most {MAX_LISTS} are taken")
    if values > MAX_VALUES:
        raise TooLarge(
            f"the body holds about {values} values; at most {MAX_VALUES} are taken: send the sound as a file"
        )


def field(body: dict[str, Any], name: str, kind: type) -> Any:
    """One field of the body, of the given type. Raises `Malformed`."""
    value = body.get(name, MISSING)
    if value is MISSING:
        raise Malformed(f"the key {name!r} is missing", key=name)
    if not isinstance(value, kind):
        raise Malformed(f"{name!r} is a JSON {_kind(value)}; {_KINDS[kind]} is wanted", key=name)
    return value


def speaker_samples(request: Request, max_seconds: float) -> Audio:
    """The recording of `{"speaker": [float, ...]}`: mono samples at 16 kHz in [-1, 1].

    Raises `Malformed`, `TooLarge`, `Unusable` for an empty list, `NotFinite`.
    """
    data = request.get_data(cache=False)
    most = int(max_seconds * SAMPLE_RATE)
    if len(data) > 2 * most:  # it may hold more numbers than are taken, which is refused before they are made
        commas = data.count(b",")
        if commas > most + 16:  # other keys may have a few
            raise _too_long(commas + 1, max_seconds)
    samples = _quickly(data, "speaker")
    if samples is None:
        samples = floats(field(json_object(data), "speaker", list), "speaker")
    if len(samples) > most:
        raise _too_long(len(samples), max_seconds)
    return Audio.of_samples(as_read(samples), SAMPLE_RATE)


def floats(values: list[Any], name: str) -> np.ndarray:
    """A JSON list of numbers as (T,) float32. Raises `Unusable` for an empty list, `Malformed`, `NotFinite`."""
    if not values:
        raise Unusable(f"{name!r} is an empty list: there is nothing to listen to", key=name)
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.zeros((0, 0))
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise Malformed(f"{name!r} has to be a flat list of numbers", key=name)
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise NotFinite(f"{name!r} holds numbers that are too large", key=name)
    return array


def _quickly(data: bytes, name: str) -> np.ndarray | None:
    """The numbers under a key as (T,) float32, a third of the time of `floats`; None for what that should look at."""
    if len(data) > QUICK_BYTES or data.count(b"[") != 1:  # it would take the numbers of lists within the list, too
        return None
    with _parsing, suppress(AttributeError, KeyError, RuntimeError, TypeError, ValueError):
        numbers = np.frombuffer(_parser.parse(data)[name].as_buffer(of_type="d"))  # type: ignore[index, union-attr]
        with np.errstate(over="ignore"):
            samples = numbers.astype(np.float32)
        return samples if len(samples) and np.isfinite(samples).all() else None
    return None


def as_read(samples: np.ndarray) -> np.ndarray:
    """Samples (T,) float32 as (T,) int16 where nothing is lost by it: read from a 16-bit file, as most are."""
    scaled = samples * np.float32(32768)
    with np.errstate(invalid="ignore"):
        whole = scaled.astype(np.int16)
    return whole if np.array_equal(whole, scaled) else samples


def _too_long(samples: int, max_seconds: float) -> TooLarge:
    seconds = round(samples / SAMPLE_RATE, 1)
    return TooLarge(
        f"the recording has {seconds:g} s; at most {max_seconds:g} s are taken (SPEAKER_MAX_AUDIO_SECONDS)",
        seconds=seconds,
        limit=max_seconds,
    )


def _has_constants(data: bytes) -> bool:
    """Whether this is JSON but for NaN and Infinity, which Python's `json` writes and the standard does not know."""
    if b"NaN" not in data and b"Infinity" not in data:
        return False
    constants: list[str] = []
    try:
        json.loads(data, parse_constant=constants.append)
    except (ValueError, RecursionError):
        return False
    return bool(constants)


_KINDS: dict[type, str] = {list: "a list", str: "text", dict: "an object"}


def _kind(value: object) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", int: "number", float: "number"}
    return names.get(type(value), "null")
