"""Server-sent events of one job: its record whenever it moved, until it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator

import orjson
from flask import Response

from speaker_tasks.errors import Busy, SpeakerTasksError
from speaker_tasks.jobs import JobRecord, JobStore
from web.shared import services
from web.stopping import is_stopping

LOOK_SECONDS = 0.3
ALIVE_SECONDS = 15.0
"""A comment is sent after so much silence, so that proxies keep the connection."""
LONGEST_SECONDS = 600.0
"""A stream ends after this; browsers connect again by themselves."""


def follow(job: JobRecord) -> Response:
    """A stream of the job's events. Raises `Busy` when half of the threads hold streams already."""
    shared = services()
    if not shared.streams.acquire(blocking=False):
        raise Busy("too many streams of events are open; ask /v1/jobs instead", retry_after=5)
    response = Response(_told(shared.client.short_jobs, job), mimetype="text/event-stream")
    response.headers["X-Accel-Buffering"] = "no"
    response.call_on_close(shared.streams.release)
    return response


def _told(jobs: JobStore, job: JobRecord) -> Iterator[bytes]:
    yield b"retry: 2000\n\n"
    ends, spoke, shown = time.monotonic() + LONGEST_SECONDS, time.monotonic(), b""
    while time.monotonic() < ends:
        record = orjson.dumps({"job": job.to_dict()}, option=orjson.OPT_SERIALIZE_NUMPY)
        if record != shown:
            name = b"end" if job.over else b"progress"
            yield b"event: " + name + b"\nid: " + str(time.time_ns()).encode() + b"\ndata: " + record + b"\n\n"
            shown, spoke = record, time.monotonic()
        elif time.monotonic() - spoke > ALIVE_SECONDS:
            yield b": alive\n\n"
            spoke = time.monotonic()
        if job.over or is_stopping():
            return
        time.sleep(LOOK_SECONDS)
        try:
            job = jobs.get(job.id)
        except SpeakerTasksError as error:
            yield b"event: error\ndata: " + orjson.dumps({"error": error.to_dict()}) + b"\n\n"
            return
