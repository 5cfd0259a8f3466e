"""Messages are what Celery itself would send, so that any Celery worker reads them."""

from __future__ import annotations

import base64
import json
import time
from datetime import datetime
from typing import Any

from kombu import Connection

from speaker_tasks import wire
from speaker_tasks.celery_app import make_celery
from speaker_tasks.settings import Settings

KWARGS = {"job_id": "0" * 32, "audio": ["speaker:audio:1"], "ask": {"bank": "李明"}}


def celerys_own(expires: float) -> dict[str, Any]:
    """What Celery puts onto a queue in memory for the same task."""
    app = make_celery(Settings(redis_url="redis://127.0.0.1:1/0"))
    with Connection("memory://") as connection, connection.channel() as channel:
        queue = app.amqp.queues["recognize"].bind(channel)
        queue.declare()
        with app.amqp.Producer(channel) as producer:
            app.send_task(
                "speaker_tasks.identify",
                kwargs=KWARGS,
                queue="recognize",
                task_id="t",
                expires=expires,
                ignore_result=True,
                producer=producer,
                connection=connection,
            )
        raw: dict[str, Any] = channel._get("recognize")
        return raw


def test_a_message_has_the_fields_that_celery_gives_it() -> None:
    theirs = celerys_own(60)
    ours = json.loads(
        wire.encode("speaker_tasks.identify", KWARGS, task_id="t", queue="recognize", expires=time.time() + 60)
    )
    assert set(ours) == set(theirs)
    assert set(ours["headers"]) - {wire.HEADER} == set(theirs["headers"])
    assert set(ours["properties"]) == set(theirs["properties"]) - {"expiration"}, "which only AMQP brokers heed"
    own = ("kwargsrepr", "origin", "expires", wire.HEADER)
    for name, value in ours["headers"].items():
        assert name in own or value == theirs["headers"][name], name
    bodies = [json.loads(base64.b64decode(one["body"])) for one in (ours, theirs)]
    assert bodies[0] == bodies[1]
    for name in ("delivery_info", "body_encoding", "priority", "delivery_mode"):
        assert ours["properties"][name] == theirs["properties"][name]
    when = [datetime.fromisoformat(one["headers"]["expires"]).timestamp() for one in (ours, theirs)]
    assert abs(when[0] - when[1]) < 5


def test_it_is_read_as_it_was_written() -> None:
    raw = wire.encode("speaker_tasks.identify", KWARGS, task_id="t", queue="recognize", audio=["speaker:audio:1"])
    parcel = wire.decode(raw)
    assert (parcel.id, parcel.task, parcel.kwargs) == ("t", "speaker_tasks.identify", KWARGS)
    assert json.loads(raw)["headers"][wire.HEADER] == {"job": "0" * 32, "audio": ["speaker:audio:1"]}


def test_a_message_without_a_job_is_left_to_celery() -> None:
    raw = wire.encode("speaker_tasks.webhook", {"url": "u"}, task_id="t", queue="enroll")
    assert wire.HEADER not in json.loads(raw)["headers"]
