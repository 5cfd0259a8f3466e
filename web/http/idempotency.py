"""Idempotency keys: the same request sent again gets the job of the first, and never a second one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Any

import orjson
import redis
from flask import Request

from speaker_tasks.errors import Conflict, Gone, Malformed, NotFound
from speaker_tasks.jobs import JobRecord, JobStore, new_id
from speaker_tasks.jobs.record import made_at

HEADER = "Idempotency-Key"
MAX_LENGTH = 255
SUBMIT_SECONDS = 5.0
"""How long a repetition waits for the first request to have made its job."""


class Idempotency:
    """Which job each key made, by caller, for `ttl` seconds: `{prefix}{hash of caller and key}` -> job and request."""

    key_template = "speaker:idempotency:{hash}"

    def __init__(self, client: redis.Redis, jobs: JobStore, ttl: int) -> None:
        self.client, self.jobs, self.ttl = client, jobs, ttl

    def once(self, request: Request, caller: str, make: Callable[[str | None], JobRecord]) -> tuple[JobRecord, bool]:
        """The request's job, and whether this request made it; `make` gets the id that the job has to have.

        Raises `Conflict` if the key was used for another request, `Malformed` for a key that is none.
        """
        given = request.headers.get(HEADER)
        if given is None:
            return make(None), True
        if not given.isprintable() or not 0 < len(given) <= MAX_LENGTH:
            raise Malformed(f"{HEADER} has to be 1 to {MAX_LENGTH} printable characters")
        key = self.key_template.format(hash=hashlib.sha256(f"{caller}\n{given}".encode()).hexdigest())
        mine = {"job": new_id(time.time()), "request": _fingerprint(request)}
        if self.client.set(key, orjson.dumps(mine), nx=True, ex=self.ttl):
            try:
                return make(mine["job"]), True
            except BaseException:
                self.client.unlink(key)  # no job was made: the client may try again
                raise
        stored: Any = self.client.get(key)
        first = orjson.loads(stored) if stored else mine
        if first["request"] != mine["request"]:
            raise Conflict(f"this {HEADER} was used for another request", job=first["job"])
        if first["job"] == mine["job"]:  # it was this request's, and the server's answer was lost on its way
            return make(mine["job"]), True
        job = self._made(first["job"])
        if job is not None:
            return job, False
        self._release(key, stored)
        return self.once(request, caller, make)

    def _made(self, job_id: str) -> JobRecord | None:
        """The job of a request that may be half way through its submission; None if that died and made none.

        Raises `Gone` for a job that was forgotten.
        """
        deadline = time.monotonic() + SUBMIT_SECONDS
        while True:
            try:
                return self.jobs.get(job_id)
            except NotFound:
                if time.time() - made_at(job_id) > self.jobs.ttl:
                    raise Gone(f"job {job_id!r} has ended long ago and is forgotten", job=job_id) from None
                if time.monotonic() > deadline:
                    return None
            time.sleep(0.02)

    def _release(self, key: str, stored: bytes) -> None:
        """Forget the key, unless another repetition has it by now."""

        def change(pipe: redis.client.Pipeline) -> None:
            same = pipe.get(key) == stored
            pipe.multi()
            if same:
                pipe.unlink(key)

        self.client.transaction(change, key)


def _fingerprint(request: Request) -> str:
    """What makes two requests the same: method, address with query, body."""
    digest = hashlib.blake2b(f"{request.method} {request.full_path}\n".encode(), digest_size=16)
    if request.mimetype == "multipart/form-data":  # the boundary differs each time, the parts do not
        for name, text in sorted(request.form.items(multi=True)):
            digest.update(f"\n{name}={text}\n".encode())
        for name, file in sorted(request.files.items(multi=True), key=lambda part: part[0]):
            file.seek(0)  # the view may have read it already
            digest.update(f"\n{name}\n".encode() + file.read())
            file.seek(0)
    else:
        digest.update(request.get_data(cache=True))
    return digest.hexdigest()
