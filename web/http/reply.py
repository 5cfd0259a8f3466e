"""What a WSGI application says to one request, in parts that can be sent one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any
from wsgiref.types import WSGIApplication

PART_BYTES = 256 * 1024
"""An answer of known length is handed over in parts of about so many bytes."""


class Reply:
    """What the application says to one request. Its methods run in threads, one at a time."""

    def __init__(self, application: WSGIApplication, environ: dict[str, Any]) -> None:
        self._application, self._environ = application, environ
        self.status, self.reason = 500, ""
        self.headers: list[tuple[str, str]] = []
        self.ended = False
        self._length_is_known = False
        self._result: Iterable[bytes] = ()
        self._parts: Iterator[bytes] = iter(())
        self._written: list[bytes] = []

    def begin(self) -> bytes:
        """Ask the application: its status and headers, and the first part of the body."""
        self._result = self._application(self._environ, self._start)
        self._parts = iter(self._result)
        part = self.more()
        return b"".join(self._written) + part if self._written else part

    def more(self) -> bytes:
        """The next part: some hundred kilobytes of an answer of known length, whatever comes next of a stream."""
        parts, size = [], 0
        for part in self._parts:
            parts.append(part)
            size += len(part)
            if size >= PART_BYTES or (size and not self._length_is_known):
                break
        else:
            self.close()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """There is no more, or nobody wants it."""
        if not self.ended:
            self.ended = True
            close = getattr(self._result, "close", None)
            if close is not None:
                close()

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        code, _, self.reason = status.partition(" ")
        self.status = int(code)
        self.reason = self.reason or HTTPStatus(self.status).phrase
        self.headers = headers
        self._length_is_known = any(name.lower() == "content-length" for name, _ in headers)
        return self._written.append
