"""Webhooks: a job's end, posted to an allow-listed host, signed, tried again with longer and longer pauses."""

from __future__ import annotations

import hashlib
import hmac
import time
import urllib.request
from typing import Any

import orjson
from celery import Task, shared_task
from celery.exceptions import Ignore
from celery.utils.log import get_task_logger

from speaker_tasks.celery_app import ENROLL_QUEUE
from speaker_tasks.errors import SpeakerTasksError
from speaker_tasks.jobs.delivery import Message
from speaker_tasks.jobs.webhooks import is_allowed
from speaker_tasks.tasks.context import current
from speaker_tasks.tasks.running import WEBHOOK_TASK, Call, Over, with_redis_retries

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


@shared_task(name=WEBHOOK_TASK, bind=True, ignore_result=True)
def webhook(self: Task, url: str, attempt: int = 1) -> dict[str, Any]:
    """POST the job's record to `url`. Gives `{"ok": ...}`, which is what Flower shows."""
    call = Call(self, current(), "webhook", ENROLL_QUEUE)
    context = call.context
    try:
        call.begin(context.jobs, {}, [], ended=True)
    except Over:
        raise Ignore("it was called, or its job is forgotten") from None
    again = Message(call.id, call.job, WEBHOOK_TASK, ENROLL_QUEUE, {"url": url, "attempt": attempt + 1})
    if not is_allowed(url, context.settings.webhook_hosts):
        return _done(call, {"ok": False, "error": "the host is not on the list"})
    try:
        job = context.jobs.get(call.job)
    except SpeakerTasksError as error:
        return _done(call, {"ok": False, "error": error.to_dict()})
    if not job.over:
        return _done(call, {"ok": False, "error": "the job runs again, and tells when it has ended"})
    body = orjson.dumps({"job": job.to_dict()})
    try:
        status = _post(url, body, context.settings.webhook_secret)
    except (OSError, ValueError) as error:  # refused, timed out, or answered with an error
        if attempt >= ATTEMPTS:
            logger.warning("webhook of job %s given up: %s", call.job, error)
            return _done(call, {"ok": False, "error": str(error)})
        pause = FIRST_PAUSE * 2 ** (attempt - 1)
        with_redis_retries(context, lambda: context.deliveries.put_off(again, pause))
        return {"ok": False, "error": str(error), "again_in": pause}
    return _done(call, {"ok": True, "status": status})


def _done(call: Call, envelope: dict[str, Any]) -> dict[str, Any]:
    with_redis_retries(call.context, lambda: call.context.deliveries.hand_on(call.id, []))
    return envelope


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
