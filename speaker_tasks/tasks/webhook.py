"""Webhooks: the end of a job, told to an allow-listed host, signed, tried again with longer and longer pauses."""

from __future__ import annotations

import hashlib
import hmac
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import orjson
from celery import Task, shared_task
from celery.utils.log import get_task_logger

from speaker_tasks.errors import SpeakerTasksError
from speaker_tasks.tasks.context import current

logger = get_task_logger(__name__)

ATTEMPTS = 6
FIRST_PAUSE = 2.0
"""Seconds before the second attempt; each pause is twice the one before."""
ANSWER_SECONDS = 10.0


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is a refusal: it could lead to a host that is not on the list."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""
        return None


@shared_task(name="speaker_tasks.webhook", bind=True, max_retries=ATTEMPTS - 1)
def webhook(self: Task, job_id: str, url: str) -> dict[str, Any]:
    """POST the job's record to `url`. Gives `{"ok": ...}`, which is what Flower shows."""
    context = current()
    if urlsplit(url).hostname not in context.settings.webhook_hosts:
        return {"ok": False, "error": "the host is not on the list"}
    try:
        job = context.jobs.get(job_id)
    except SpeakerTasksError as error:
        return {"ok": False, "error": error.to_dict()}
    if not job.over:
        return {"ok": False, "error": "the job runs again, and tells when it has ended"}
    body = orjson.dumps({"job": job.to_dict()})
    try:
        status = _post(url, body, context.settings.webhook_secret)
    except (OSError, ValueError) as error:  # refused, timed out, or answered with an error
        if self.request.retries >= ATTEMPTS - 1:
            logger.warning("webhook of job %s given up: %s", job_id, error)
            return {"ok": False, "error": str(error)}
        raise self.retry(countdown=FIRST_PAUSE * 2**self.request.retries, exc=error) from error
    return {"ok": True, "status": status}


def signature(secret: str, moment: int, body: bytes) -> str:
    """The header `X-Speaker-Signature`: `t=<seconds since 1970>,v1=<HMAC-SHA256 of "<t>.<body>">`."""
    digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={digest}"


def _post(url: str, body: bytes, secret: str) -> int:
    headers = {"Content-Type": "application/json", "User-Agent": "speaker-tasks"}
    if secret:
        headers["X-Speaker-Signature"] = signature(secret, int(time.time()), body)
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    with urllib.request.build_opener(NoRedirects).open(request, timeout=ANSWER_SECONDS) as answer:
        return int(answer.status)
