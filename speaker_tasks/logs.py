"""Log lines: one for each request and one for each job, as text or as JSON; a request's id stands in both.

A line is an event's name and its fields: `request id=5f1c... route=/v1/identify status=200 ms=41.2`. No field holds a
recording, a vector or a key. `bound` adds fields to every line that its thread writes, whichever module writes it.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

Format = Literal["text", "json"]
FIELDS = "fields"
"""The attribute of a log record that holds the event's fields."""
_PLAIN = re.compile(r"[^\s\"'=\x00-\x1f\x7f]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029]")
_bound: ContextVar[dict[str, Any]] = ContextVar("bound", default={})  # noqa: B039 (never changed in place)


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Add these fields, those that are not None, to all lines that this thread writes within the block."""
    token = _bound.set(_bound.get() | _given(fields))
    try:
        yield
    finally:
        _bound.reset(token)


def event(logger: logging.Logger, name: str, level: int = logging.INFO, /, **fields: Any) -> None:
    """Write one line: the event's name and its fields, without those that are None."""
    if logger.isEnabledFor(level):
        logger.log(level, name, extra={FIELDS: _given(fields)})


def configure(form: Format, level: int | str = logging.WARNING) -> None:
    """Send all lines of this process to standard error, in one form."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)


class TextLines(logging.Formatter):
    """`2026-11-27 15:33:53,855 INFO web: request id=5f1c status=200`; what a client sent ends no line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The line without a traceback."""
        line = super().formatMessage(record)
        line = "".join((line, *(f" {name}={_text(value)}" for name, value in fields_of(record).items())))
        return _CONTROL.sub(lambda match: json.dumps(match[0])[1:-1], line)


class JsonLines(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, logger, message, the fields; a traceback if there is one."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= fields_of(record)
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(fields, default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS).decode()


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a line: those that are bound, then the event's own."""
    return {**_bound.get(), **getattr(record, FIELDS, {})}


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _text(value: Any) -> str:
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
