"""The tasks as any Celery application calls them, and as Celery's own commands see them."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from celery import Celery, chain, chord, group, signature

from banks.store import BankStore
from speaker_tasks.errors import Conflict, EmptyBank, GivenUp, Malformed, NotFound, OutsideRoots
from speaker_tasks.jobs import new_id
from speaker_tasks.jobs.audio import Audio
from speaker_tasks.jobs.delivery import Message
from tests.integration.sounds import RATE, voice
from tests.integration.stack import Stack, wait_for

SECONDS = 60
INSPECT_SECONDS = "4"
"""How long `celery inspect` waits for answers: a worker on a busy machine may need more than its second."""
ROUTES = {"speaker_tasks.enroll": "enroll", "speaker_tasks.*": "recognize"}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, stack: Stack, demo_speakers: Path) -> Iterator[Stack]:
    """The shared stack, whose worker may read the demo's speakers: they are the bank `demo`."""
    data = shutil.copytree(demo_speakers, stack.folder / "data" / "demo", dirs_exist_ok=True)
    client = stack.client()
    job = client.enroll({}, bank="demo", source={"path": str(data)})
    wait_for("the bank", lambda: client.job(job.id).over, SECONDS)
    assert client.job(job.id).state == "succeeded", client.job(job.id).error
    yield stack
    shutil.rmtree(data)
    store = BankStore(client.redis)
    for name in {"demo", "theirs", "chained"} & set(store.names()):
        store.delete(name)


@pytest.fixture
def foreign(serving: Stack) -> Celery:
    """An application of somebody else's: it knows the server, and the names of tasks."""
    app = Celery("theirs", broker=serving.redis_url, backend=serving.redis_url, set_as_current=False)
    app.conf.task_routes = ROUTES
    return app


@pytest.fixture
def alice(demo_speakers: Path) -> str:
    """A recording of Alice in base64."""
    return base64.b64encode((demo_speakers / "Alice" / "5.ogg").read_bytes()).decode()


def ask(app: Celery, name: str, **arguments: Any) -> Any:
    return app.send_task(f"speaker_tasks.{name}", kwargs=arguments).get(timeout=SECONDS)


class TestAnswers:
    def test_each_question_has_its_answer(self, foreign: Celery, alice: str) -> None:
        found = ask(foreign, "identify", audio=alice, bank="demo", top_k=3)
        assert (found["decision"], found["speaker"], len(found["candidates"])) == ("match", "Alice", 3)
        claimed = ask(foreign, "verify", audio=[alice], bank="demo", speaker="David", threshold=0.5)
        assert claimed["decision"] == "unknown"
        vector = ask(foreign, "embed", audio=alice)["vector"]
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-4)
        assert ask(foreign, "compare", audio=[alice, alice])["decision"] == "match"
        assert ask(foreign, "speaker", audio=alice)["name"] == "Alice"

    def test_a_path_below_the_roots_and_a_payload_are_read_like_base64(
        self, serving: Stack, foreign: Celery, demo_speakers: Path, alice: str
    ) -> None:
        path = str(serving.folder / "data" / "demo" / "Alice" / "5.ogg")
        key = serving.client().audio.put(Audio.of_file((demo_speakers / "Alice" / "5.ogg").read_bytes()).pack())
        vectors = [ask(foreign, "embed", audio=source)["vector"] for source in (alice, path, key)]
        assert vectors[0] == vectors[1] == vectors[2]
        assert not serving.client().redis.exists(key), "what was asked about is not kept"
        with pytest.raises(OutsideRoots):
            ask(foreign, "embed", audio="/etc/passwd")

    def test_an_enrollment_answers_at_its_end(self, serving: Stack, foreign: Celery) -> None:
        found = ask(foreign, "enroll", path=str(serving.folder / "data" / "demo"), bank="theirs", mode="create")
        assert (found["version"], found["speakers"], found["left_out"]) == (1, 8, 0)
        with pytest.raises(Conflict, match="already"):
            ask(foreign, "enroll", path=str(serving.folder / "data" / "demo"), bank="theirs", mode="create")
        with pytest.raises(NotFound):
            ask(foreign, "enroll", path=str(serving.folder / "data" / "none"), bank="theirs")

    def test_a_call_has_a_job_of_its_own_under_its_id(self, serving: Stack, foreign: Celery, alice: str) -> None:
        sent = foreign.send_task("speaker_tasks.identify", kwargs={"audio": alice, "bank": "demo"})
        found = sent.get(timeout=SECONDS)
        job = serving.client().job(sent.id)
        assert (job.kind, job.state, job.result) == ("identify", "succeeded", found)
        assert job.about == {"bank": "demo", "asked_by": "celery"}
        assert job.worker is not None

    def test_who_wants_no_answer_leaves_none_behind(self, serving: Stack, foreign: Celery, alice: str) -> None:
        sent = foreign.send_task("speaker_tasks.embed", kwargs={"audio": alice}, ignore_result=True)
        client = serving.client()
        wait_for("the job", lambda: client.redis.exists(f"speaker:job:{sent.id}") and client.job(sent.id).over, SECONDS)
        assert not client.redis.exists(f"celery-task-meta-{sent.id}")


class TestErrors:
    @pytest.mark.parametrize(
        ("name", "arguments", "said"),
        [
            ("identify", {"audio": "QUJD", "bannk": "demo"}, "bannk: there is no such argument; there is audio"),
            ("identify", {}, "audio: Field required"),
            ("identify", {"audio": "QUJD", "top_k": 0}, "top_k"),
            ("identify", {"audio": "no base64!"}, "audio: neither a path or URL, nor base64"),
            ("compare", {"audio": "QUJD"}, "audio"),
            ("verify", {"audio": "QUJD"}, "speaker: Field required"),
            ("enroll", {"bank": "x", "path": "/x", "mood": "good"}, "mood"),
            ("enroll", {"bank": "x", "path": "/x", "options": {"colour": "red"}}, "colour"),
        ],
    )
    def test_wrong_arguments_fail_at_once_and_once(
        self, serving: Stack, foreign: Celery, name: str, arguments: dict[str, Any], said: str
    ) -> None:
        sent = foreign.send_task(f"speaker_tasks.{name}", kwargs=arguments)
        with pytest.raises(Malformed, match=said):
            sent.get(timeout=SECONDS)
        job = serving.client().job(sent.id)
        assert (job.state, (job.error or {})["code"]) == ("failed", "malformed")
        assert serving.client().redis.exists(f"speaker:task:{sent.id}") == 0, "it is not tried again"

    def test_arguments_have_names(self, foreign: Celery) -> None:
        with pytest.raises(Malformed, match="by name"):
            foreign.send_task("speaker_tasks.identify", args=["QUJD"]).get(timeout=SECONDS)

    def test_a_step_of_a_job_is_nobody_elses_to_call(self, serving: Stack, foreign: Celery) -> None:
        sent = foreign.send_task("speaker_tasks.enroll_finish", queue="recognize")
        with pytest.raises(Malformed, match="step of a job"):
            sent.get(timeout=SECONDS)
        assert not serving.client().redis.exists(f"speaker:job:{sent.id}")

    def test_an_id_that_cannot_be_a_jobs_is_refused(self, foreign: Celery) -> None:
        with pytest.raises(Malformed, match="letters"):
            foreign.send_task("speaker_tasks.embed", kwargs={"audio": "QUJD"}, task_id="a:b").get(timeout=SECONDS)

    def test_an_error_is_the_one_that_the_api_gives(self, foreign: Celery, alice: str) -> None:
        with pytest.raises(NotFound, match="'none'"):
            ask(foreign, "identify", audio=alice, bank="none")


class TestWorkflows:
    def test_a_group_a_chain_and_a_chord(self, foreign: Celery, alice: str) -> None:
        def question(name: str, **arguments: Any) -> Any:
            return signature(f"speaker_tasks.{name}", kwargs=arguments, app=foreign, immutable=True)

        identify = question("identify", audio=alice, bank="demo")
        both = group(identify, question("embed", audio=alice), app=foreign).apply_async().get(timeout=SECONDS)
        assert [both[0]["speaker"], len(both[1]["vector"])] == ["Alice", 512]
        last = chain(identify, question("verify", audio=alice, bank="demo", speaker="Alice")).apply_async()
        assert last.get(timeout=SECONDS)["speaker"] == "Alice"
        body = question("compare", audio=[alice, alice])
        assert chord([identify, identify], body, app=foreign).apply_async().get(timeout=SECONDS)["decision"] == "match"

    def test_what_follows_an_enrollment_comes_after_its_end(self, serving: Stack, foreign: Celery, alice: str) -> None:
        enroll = signature(
            "speaker_tasks.enroll",
            kwargs={"path": str(serving.folder / "data" / "demo"), "bank": "chained"},
            app=foreign,
            immutable=True,
        )
        then = signature(
            "speaker_tasks.identify", kwargs={"audio": alice, "bank": "chained"}, app=foreign, immutable=True
        )
        assert chain(enroll, then).apply_async().get(timeout=SECONDS)["speaker"] == "Alice"

    def test_a_failure_ends_its_chain(self, foreign: Celery, alice: str) -> None:
        wrong = signature(
            "speaker_tasks.identify", kwargs={"audio": alice, "bank": "none"}, app=foreign, immutable=True
        )
        with pytest.raises(NotFound):
            chain(wrong, wrong).apply_async().get(timeout=SECONDS)


class TestCommands:
    """`celery -A speaker_tasks.celery_app ...`."""

    def celery(self, stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "celery", "-A", "speaker_tasks.celery_app", *arguments]
        environment = stack.environment(CELERY_INSPECT_TIMEOUT=INSPECT_SECONDS)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)

    def test_inspect_and_call(self, serving: Stack, alice: str) -> None:
        assert "pong" in self.celery(serving, "inspect", "ping").stdout
        registered = self.celery(serving, "inspect", "registered").stdout
        assert {
            f"speaker_tasks.{name}" for name in ("identify", "verify", "embed", "compare", "check", "enroll", "speaker")
        } <= {word for line in registered.splitlines() for word in line.split()}
        arguments = json.dumps({"audio": alice, "bank": "demo"})
        called = self.celery(serving, "call", "speaker_tasks.identify", "--kwargs", arguments)
        task_id = called.stdout.strip().splitlines()[-1]
        client = serving.client()
        wait_for("the answer", lambda: client.redis.exists(f"celery-task-meta-{task_id}"), SECONDS)
        assert client.job(task_id).result["speaker"] == "Alice"  # type: ignore[index]
        stats = json.loads(self.celery(serving, "inspect", "stats", "--json").stdout)
        assert next(iter(stats.values()))["total"]["speaker_tasks.identify"] >= 1

    def test_a_worker_without_a_model_does_not_start(self, serving: Stack) -> None:
        started = self.celery(serving, "worker")
        assert started.returncode != 0
        assert "speaker-tasks worker" in started.stderr

    def test_a_recognition_that_runs_is_seen(self, serving: Stack, foreign: Celery) -> None:
        client = serving.client()
        job = client.embed(long_clip())

        def active() -> list[dict[str, Any]]:
            workers = foreign.control.inspect(timeout=1).active() or {}
            return [task for tasks in workers.values() for task in tasks if task["id"] == job.id]

        seen = wait_for("the task", active, SECONDS)
        assert isinstance(seen, list)
        assert seen[0]["name"] == "speaker_tasks.feats"
        assert len(str(seen[0]["kwargs"])) < 200, "the recording is not among the arguments"
        client.wait(job, SECONDS)

    def test_a_task_that_is_revoked_is_a_job_that_is_canceled(self, serving: Stack, foreign: Celery) -> None:
        client = serving.client()
        revoke = partial(foreign.control.revoke, "revoked-before-it-came", reply=True, timeout=2)
        wait_for("the worker to know of it", revoke, SECONDS)
        job = client.ask("vector", [Audio.of_samples(voice(1), RATE)], {}, job_id="revoked-before-it-came")
        wait_for("the end", lambda: client.job(job.id).over, SECONDS)
        assert client.job(job.id).state == "canceled"
        assert not client.redis.exists(f"speaker:task:{job.id}")

    def test_events_tell_of_recognitions_once_somebody_listens(self, serving: Stack, foreign: Celery) -> None:
        client, asked = serving.client(), list[str]()
        seen, whole = defaultdict[str, dict[str, Any]](dict), list[dict[str, Any]]()
        audio, heard = Audio.of_samples(voice(1), RATE), threading.Event()

        def listen() -> None:
            def note(event: dict[str, Any]) -> None:
                if event.get("uuid") not in asked:
                    return
                of_task = seen[event["uuid"]]
                of_task[event["type"]] = event
                if {"task-received", "task-started", "task-succeeded"} <= set(of_task):
                    whole.append(of_task)
                    receiver.should_stop = True
                    heard.set()

            with foreign.connection_for_read() as connection:
                receiver = foreign.events.Receiver(connection, handlers={"*": note})
                receiver.capture(timeout=SECONDS)

        def asks() -> bool:
            asked.append(new_id(time.time()))
            assert client.wait(client.ask("vector", [audio], {}, job_id=asked[-1]), SECONDS)
            return heard.wait(1)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        foreign.control.enable_events(reply=True, timeout=2)
        try:
            wait_for("the events", asks, SECONDS)
        finally:
            foreign.control.disable_events(reply=True, timeout=2)
        mine = whole[0]
        assert mine["task-received"]["name"] == "speaker_tasks.embed"
        assert "speaker:audio:" in mine["task-received"]["kwargs"]
        assert mine["task-succeeded"]["runtime"] > 0
        assert "campplus" in mine["task-succeeded"]["result"]


@pytest.mark.parametrize("wanted", [True, False], ids=["for the result backend", "for the job's record"])
def test_what_killed_its_worker_three_times_is_given_up(serving: Stack, foreign: Celery, wanted: bool) -> None:
    client = serving.client()
    key = client.audio.put(Audio.of_samples(voice(1), RATE).pack())
    job, fields = client.short_jobs.described("vector")
    message = Message(
        job.id, job.id, "speaker_tasks.embed", "recognize", {"audio": [key]}, {"ignore_result": not wanted}
    )
    client.short_jobs.submit(job, fields, message)
    client.redis.hset(f"speaker:task:{job.id}", "attempts", 3)
    client.deliveries.send(message)
    wait_for("the end", lambda: client.job(job.id).over, SECONDS)
    ended = client.job(job.id)
    assert (ended.state, (ended.error or {})["code"]) == ("failed", "given_up")
    assert "3 attempts" in (ended.error or {})["message"]
    assert not client.redis.exists(key)
    if wanted:
        with pytest.raises(GivenUp):
            foreign.AsyncResult(job.id).get(timeout=SECONDS)


def test_a_worker_that_idles_leaves_redis_alone(fresh: Stack) -> None:
    fresh.worker(SPEAKER_HEARTBEAT_SECONDS="2")
    time.sleep(3)
    sent = 0
    with fresh.client().redis.monitor() as monitor:
        began = time.monotonic()
        while time.monotonic() < began + 10:
            sent += monitor.next_command()["client_type"] != "lua"  # what scripts call is not sent
        took = time.monotonic() - began
    assert sent / took <= 3.2


def long_clip() -> Audio:
    """Minutes of sound: seconds of work."""
    clip = np.tile(voice(1, seconds=4), 60)
    return Audio.of_samples((clip * 32767).astype(np.int16), RATE)


def test_a_recognition_of_nobody_is_told_as_such(fresh: Stack) -> None:
    fresh.worker()
    app = Celery("theirs", broker=fresh.redis_url, backend=fresh.redis_url, set_as_current=False)
    audio = fresh.client().audio.put(Audio.of_samples(voice(1), RATE).pack())
    with pytest.raises(EmptyBank):
        app.send_task("speaker_tasks.identify", kwargs={"audio": audio}, queue="recognize").get(timeout=SECONDS)
