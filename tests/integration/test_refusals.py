"""A Redis server that answers and refuses, as when it is full or has become a replica: nothing accepted is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import soundfile

from speaker_tasks.celery_app import make_celery
from speaker_tasks.client import TaskClient
from speaker_tasks.commands.doctor import examine
from speaker_tasks.errors import RedisAway, RedisFull
from speaker_tasks.jobs.audio import Audio
from tests.integration.sounds import RATE, voice
from tests.integration.stack import Stack, wait_for
from tests.integration.test_celery_tasks import long_clip

RECORDINGS, PEOPLE = 400, 8
CURED_SECONDS = 90.0
"""What was accepted has ended so long after the cure."""

Switch = Callable[[Any], object]
FULL: tuple[Switch, Switch] = (lambda r: r.config_set("maxmemory", "1mb"), lambda r: r.config_set("maxmemory", "0"))
REPLICA: tuple[Switch, Switch] = (lambda r: r.replicaof("127.0.0.1", "1"), lambda r: r.replicaof("NO", "ONE"))
ALONE: tuple[Switch, Switch] = (
    lambda r: r.config_set("min-replicas-to-write", "1"),
    lambda r: r.config_set("min-replicas-to-write", "0"),
)
KINDS = pytest.mark.parametrize(
    ("refuse", "cure"), [FULL, REPLICA, ALONE], ids=["full", "a replica", "without its replicas"]
)


def ended(client: TaskClient, job_id: str) -> str:
    wait_for("the job's end", lambda: client.job(job_id).over, CURED_SECONDS)
    return client.job(job_id).state


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings that take a worker seconds to enroll."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(RECORDINGS):
        person = folder / f"p{number % PEOPLE}"
        person.mkdir(exist_ok=True)
        soundfile.write(person / f"{number}.wav", voice(number % PEOPLE, take=number // PEOPLE), RATE)
    return folder


@KINDS
def test_an_enrollment_under_way_and_a_recognition_end_after_the_cure(
    fresh: Stack, many: Path, refuse: Switch, cure: Switch
) -> None:
    client = fresh.client()
    worker = fresh.worker(SPEAKER_DATA_ROOTS=str(many))
    asked = long_clip()
    enrollment = client.enroll({}, bank="many", source={"path": str(many)}, force=True)
    wait_for("the enrollment to be under way", lambda: client.job(enrollment.id).done > 0)
    question = client.embed(asked)
    wait_for("the question to run", lambda: client.job(question.id).state == "running")
    refuse(client.redis)
    assert not client.job(enrollment.id).over, "too few recordings: the enrollment was over before the refusal"
    with pytest.raises(RedisAway):
        client.enroll({}, bank="many", source={"path": str(many)})
    assert isinstance(client.no_worker(), RedisFull) == (refuse is FULL[0]), "the reason is said, not its consequence"
    time.sleep(5)
    cure(client.redis)
    assert ended(client, question.id) == "succeeded"
    assert ended(client, enrollment.id) == "succeeded"
    job = client.job(enrollment.id)
    assert (job.done, (job.result or {})["version"]) == (RECORDINGS, 1)
    assert worker.popen.poll() is None, worker.log.read_text()
    began = time.monotonic()
    assert client.wait(client.embed(Audio.of_samples(voice(1), RATE)), 30)
    print(f"\nanswered {time.monotonic() - began:.1f} s after all was done")


def test_a_worker_that_idles_takes_work_again_after_a_refusal(fresh: Stack) -> None:
    client = fresh.client()
    worker = fresh.worker()
    for refuse, cure in (FULL, REPLICA, ALONE):
        refuse(client.redis)
        time.sleep(3)
        cure(client.redis)
        cured = time.monotonic()
        assert client.wait(client.embed(Audio.of_samples(voice(1), RATE)), 60)
        print(f"\nanswered {time.monotonic() - cured:.1f} s after the cure")
    assert worker.popen.poll() is None, worker.log.read_text()


def test_each_refusal_is_named_where_one_asks(fresh: Stack, demo_speakers: Path) -> None:
    """The answer to a question, `/readyz` and `doctor` say what it is, and end with the refusal."""
    client, web = fresh.client(), fresh.web(workers=1, threads=4)
    clip = (demo_speakers / "Alice" / "1.ogg").read_bytes()
    server = urlsplit(fresh.redis_url)
    client.redis.acl_setuser(
        "admin", enabled=True, passwords=["+admin"], commands=["+@all"], keys=["*"], channels=["*"]
    )
    admin = redis.Redis(port=server.port or 0, username="admin", password="admin")

    def users(*rules: str) -> None:
        admin.execute_command("ACL", "SETUSER", "default", *rules)
        admin.client_kill_filter(user="default")

    refusals: dict[str, tuple[Switch, Switch]] = {
        "redis_full": FULL,
        "redis_replica": REPLICA,
        "redis_alone": ALONE,
        "redis_denied": (lambda r: users("-@write"), lambda r: users("+@all")),
        "redis_password": (lambda r: users("resetpass", ">other"), lambda r: users("resetpass", f">{server.password}")),
    }
    for code, (refuse, cure) in refusals.items():
        refuse(admin)
        question = web.post("/v1/embed?wait=0", data=clip, headers={"Content-Type": "audio/ogg"})
        ready = web.get("/readyz")
        doctor = next(one for one in examine(fresh.settings, web.url, None) if one.what == "Redis")
        cure(admin)
        assert [question.status_code, ready.status_code] == [503, 503], code
        assert [answer.json()["error"]["code"] for answer in (question, ready)] == [code, code]
        assert doctor.state == "fail"
        assert ready.json()["error"]["message"] in doctor.found
        assert web.get("/readyz").json()["error"]["code"] == "no_worker"


def test_probes_write_once_in_a_while(fresh: Stack) -> None:
    client, web = fresh.client(), fresh.web(workers=1, threads=4)

    def written() -> int:
        return int(client.redis.info("commandstats").get("cmdstat_set", {}).get("calls", 0))

    before = written()
    for _ in range(40):
        assert web.get("/readyz").json()["error"]["code"] == "no_worker"
    assert 1 <= written() - before <= 10


def test_a_worker_that_waits_leaves_no_connection_behind_at_each_try(fresh: Stack) -> None:
    """It may wait for hours: then neither its files nor the server's clients may run out."""
    client, (refuse, cure) = fresh.client(), ALONE
    app = make_celery(fresh.settings)
    app.conf.broker_transport_options = app.conf.broker_transport_options | {"wait_for_server": 1.0}
    refuse(client.redis)
    before = len(client.redis.client_list())
    with app.connection() as waiting, ThreadPoolExecutor(1) as elsewhere:
        with pytest.raises(redis.ResponseError, match="NOREPLICAS"):
            elsewhere.submit(waiting.connect).result()
        wait_for("the end of its connections", lambda: len(client.redis.client_list()) <= before + 1, 20)
        cure(client.redis)
        elsewhere.submit(waiting.connect).result()
        assert waiting.connected
