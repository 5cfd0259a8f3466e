"""A task's message as it lies in Redis: what Celery and kombu would write, made in one step and without their detours.

To send by Celery takes a producer, a channel and several round trips, a millisecond of the web process; here a message
is bytes, which whoever sends pushes onto the queue together with what the message speaks of. Any Celery worker reads it
(message protocol 2, kombu's virtual transport). For our own workers it says in its headers, beside what Celery wants,
which job it belongs to and where its audio lies, so that Redis itself can tell (see intake.py).
"""

from __future__ import annotations

import base64
import os
import secrets
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

UNACKED_KEY = "unacked"
"""kombu's hash of the messages that were taken and not acknowledged."""
UNACKED_INDEX = "unacked_index"
"""kombu's sorted set of them, by the time they were taken."""
HEADER = "speaker"
"""The header of our own: `{"job": id, "audio": [keys]}`."""
_SHOWN = 256
"""Letters of the arguments that Flower shows."""


@dataclass(frozen=True)
class Parcel:
    """What our workers read of a message: its tag and id, the task's name and arguments."""

    tag: str
    id: str
    task: str
    kwargs: dict[str, Any]


def encode(
    task: str,
    kwargs: Mapping[str, Any],
    *,
    task_id: str,
    queue: str,
    expires: float | None = None,
    audio: Sequence[str] = (),
) -> bytes:
    """The message. `expires` is seconds since 1970; `audio` are the keys of the job's payloads.

    With a `job_id` among the arguments, a thread of ours may take it from the queue by itself.
    """
    body = [[], kwargs, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
    headers: dict[str, Any] = {
        "lang": "py",
        "task": task,
        "id": task_id,
        "shadow": None,
        "eta": None,
        "expires": None if expires is None else datetime.fromtimestamp(expires, UTC).isoformat(),
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": task_id,
        "parent_id": None,
        "argsrepr": "()",
        "kwargsrepr": repr(kwargs)[:_SHOWN],
        "origin": _origin(),
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    if "job_id" in kwargs:
        headers[HEADER] = {"job": kwargs["job_id"], "audio": list(audio)}
    message = {
        "body": base64.b64encode(orjson.dumps(body)).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": {
            "correlation_id": task_id,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": secrets.token_hex(16),
        },
    }
    return orjson.dumps(message)


def decode(raw: bytes) -> Parcel:
    """What `encode` wrote, and Celery too."""
    message = orjson.loads(raw)
    _, kwargs, _ = orjson.loads(base64.b64decode(message["body"]))
    headers = message["headers"]
    return Parcel(message["properties"]["delivery_tag"], headers["id"], headers["task"], kwargs)


def _origin() -> str:
    return f"gen{os.getpid()}@{socket.gethostname()}"
