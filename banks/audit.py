"""The audit log: who changed which bank, and when, in a Redis stream and in the process's log. It holds no voices."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

import redis

from speaker_tasks.errors import SpeakerTasksError

logger = logging.getLogger(__name__)

KEPT = 100_000
"""Entries that are kept, the newest; a few more may be."""
PAGE = 1000
DONE = 200
SERVICE = "service"
"""Who changes a bank when nobody asked for it: a worker that reads a file of the settings, or a snapshot."""


class AuditLog:
    """The log of one Redis server."""

    key = "speaker:audit"

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def note(
        self, who: str, what: str, bank: str, *, status: int = DONE, request_id: str = "", address: str = ""
    ) -> None:
        """Write one change down, or one that was refused, with the status of the error.

        `who` is the name of an API key, `cli:<user>`, `job:<id>` or `service`. A log that cannot be written stops
        nothing, and is written to the process's log, which has every entry too.
        """
        entry = {
            "when": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": who,
            "what": what,
            "bank": bank,
            "status": status,
            "request_id": request_id,
            "address": address,
        }
        logger.info("audit %s", entry)
        try:
            self.client.xadd(self.key, entry, maxlen=KEPT, approximate=True)  # type: ignore[arg-type]
        except redis.RedisError as error:
            logger.warning("the audit log could not be written: %s", error)

    def newest(self, limit: int, *, bank: str | None = None) -> list[dict[str, Any]]:
        """The newest entries first, of all banks or of one."""
        matching: list[dict[str, Any]] = []
        last = "+"
        while len(matching) < limit:
            page: Any = self.client.xrevrange(self.key, max=last, count=PAGE)
            if not page:
                break
            last = f"({page[-1][0].decode()}"
            entries = [_entry(entry_id, fields) for entry_id, fields in page]
            matching += [entry for entry in entries if bank is None or entry["bank"] == bank]
        return matching[:limit]


class Audited(Protocol):
    """What changes banks on behalf of somebody."""

    who: str | None
    """None: whoever calls writes the entry, knowing more of it."""
    audit: AuditLog


_Given = ParamSpec("_Given")
_Found = TypeVar("_Found")


def audited(what: str, *, bank: str = "name") -> Callable[[Callable[_Given, _Found]], Callable[_Given, _Found]]:
    """Make each call of a method of an `Audited` an entry, also when it raises an error of our tree.

    `what` may name the method's arguments in braces; `bank` is the argument that holds the changed bank's name.
    """

    def decorate(method: Callable[_Given, _Found]) -> Callable[_Given, _Found]:
        signature = inspect.signature(method)

        @wraps(method)
        def call(*args: _Given.args, **kwargs: _Given.kwargs) -> _Found:
            given = signature.bind(*args, **kwargs)
            given.apply_defaults()
            changer: Audited = given.arguments["self"]
            status = SpeakerTasksError.status
            try:
                result = method(*args, **kwargs)
                status = DONE
                return result
            except SpeakerTasksError as error:
                status = error.status
                raise
            finally:
                if changer.who is not None:
                    action = what.format(**given.arguments)
                    changer.audit.note(changer.who, action, str(given.arguments[bank]), status=status)

        return call

    return decorate


def _entry(entry_id: bytes, fields: dict[bytes, bytes]) -> dict[str, Any]:
    text = {name.decode(): value.decode() for name, value in fields.items()}
    return {"id": entry_id.decode(), **text, "status": int(text["status"])}
