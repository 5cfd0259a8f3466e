"""What happens to requests when workers come late, are killed, stop, or when Redis goes away."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import requests

from speaker_tasks.client import TaskClient
from speaker_tasks.errors import PayloadGone, UnusableAudio
from speaker_tasks.jobs import JobRecord
from speaker_tasks.jobs.audio import Audio
from speaker_tasks.tasks.housekeeping import STALLED_STATUS
from tests.integration.sounds import RATE, voice
from tests.integration.stack import PROGRAMS, RestartableServer, Stack, wait_for

LONG_SECONDS = 280


def long_clip() -> Audio:
    """Minutes of sound: seconds of work."""
    clip = np.tile(voice(1, seconds=4), LONG_SECONDS // 4)
    return Audio.of_samples((clip * 32767).astype(np.int16), RATE)


def ended(client: TaskClient, job: JobRecord, seconds: float = 90) -> JobRecord:
    def over() -> JobRecord | None:
        record = client.job(job.id)
        return record if record.over else None

    found = wait_for(f"the end of job {job.id}", over, seconds)
    assert isinstance(found, JobRecord)
    return found


def running(client: TaskClient, jobs: list[JobRecord]) -> list[JobRecord]:
    return [record for record in (client.job(job.id) for job in jobs) if record.state == "running"]


def test_requests_wait_for_a_worker_that_comes_later(fresh: Stack) -> None:
    patient, hasty = (fresh.web(workers=1, SPEAKER_WAIT_SECONDS=seconds) for seconds in ("55", "0.3"))
    body = {"speaker": voice(1).tolist()}
    assert patient.get("/readyz").status_code == 503
    assert patient.get("/readyz").json()["error"]["code"] == "no_worker"
    assert "Retry-After" in patient.get("/readyz").headers

    answers: list[requests.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(patient.post("/SpeakerFeats", json=body)))
    waiting.start()
    began = time.monotonic()
    accepted = hasty.post("/SpeakerFeats", json=body)
    assert time.monotonic() - began < 5
    assert accepted.status_code == 202
    job = accepted.json()["job"]
    assert job["state"] == "queued"
    assert accepted.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert hasty.get(accepted.headers["Location"]).json()["job"]["state"] == "queued"

    fresh.worker()
    waiting.join(timeout=60)
    assert answers[0].status_code == 200, "the request that was queued before there was a worker is answered"
    client = fresh.client()
    ended(client, client.job(job["id"]))
    later = hasty.get(accepted.headers["Location"]).json()["job"]
    assert later["state"] == "succeeded"
    assert later["result"]["feats"] == answers[0].json()["feats"]
    assert hasty.get("/readyz").status_code == 200


def test_who_waits_when_the_web_process_stops_is_told_where_to_ask(fresh: Stack) -> None:
    web, client = fresh.web(workers=1), fresh.client()
    answers: list[requests.Response] = []
    body = {"speaker": voice(1).tolist()}
    waiting = threading.Thread(target=lambda: answers.append(web.post("/SpeakerFeats", json=body)))
    waiting.start()
    wait_for("the question", lambda: client.redis.llen("recognize") == 1)
    began = time.monotonic()
    web.process.popen.terminate()
    waiting.join(timeout=20)
    assert answers[0].status_code == 202
    assert web.process.popen.wait(20) == 0
    assert time.monotonic() - began < 5, "the launcher kills after ten seconds"
    fresh.worker()
    job = client.job(answers[0].json()["job"]["id"])
    assert ended(client, job).result is not None, "nothing is lost"


def test_the_tasks_of_a_killed_worker_are_done_by_another(fresh: Stack) -> None:
    client = fresh.client()
    victim = fresh.worker()
    jobs = [client.embed(long_clip()) for _ in range(4)]
    wait_for("a running job", lambda: running(client, jobs))
    victim.kill()
    killed = time.monotonic()
    cut = running(client, jobs)
    assert cut, "the worker was killed too late for this test to mean anything"
    fresh.worker()
    for job in jobs:
        record = ended(client, job)
        assert record.state == "succeeded", record.error
        assert np.array(record.result["feats"]).shape == (1, 512)  # type: ignore[index]
    assert time.monotonic() - killed > 2 * fresh.settings.heartbeat_seconds, "a silent worker is not dead at once"


STUCK_WORKER = """
import time
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.settings import Settings
from speaker_tasks.worker import run_worker

run, calls = Embedder.run, []

def stuck(self, spectrograms):
    calls.append(1)
    return run(self, spectrograms) if len(calls) == 1 else time.sleep(1000)

Embedder.run = stuck
run_worker(Settings())
"""


def test_a_worker_whose_model_is_stuck_ends_itself_and_another_answers(fresh: Stack) -> None:
    client = fresh.client()
    stuck = fresh.start("stuck", [sys.executable, "-c", STUCK_WORKER], SPEAKER_STALL_SECONDS="1")
    fresh.wait_warm(stuck)
    job = client.embed(Audio.of_samples(voice(1), RATE))
    assert stuck.popen.wait(30) == STALLED_STATUS
    assert "has not answered for 1 s" in stuck.log.read_text()
    fresh.worker()
    assert ended(client, job).state == "succeeded"


BROKEN_WORKER = """
from speaker_tasks.jobs import JobStore
from speaker_tasks.settings import Settings
from speaker_tasks.worker import run_worker

finish, calls = JobStore.finish, []

def broken(self, *args, **options):
    calls.append(1)
    if len(calls) == 1:
        raise RuntimeError("a bug")
    return finish(self, *args, **options)

JobStore.finish = broken
run_worker(Settings())
"""


def test_a_job_whose_task_fails_where_it_should_not_ends_as_well(fresh: Stack) -> None:
    client = fresh.client()
    worker = fresh.start("broken", [sys.executable, "-c", BROKEN_WORKER])
    fresh.wait_warm(worker)
    job = client.embed(Audio.of_samples(voice(1), RATE))
    assert (ended(client, job, 10).error or {})["code"] == "internal"
    assert "a bug" in worker.log.read_text()
    assert client.wait(client.embed(Audio.of_samples(voice(1), RATE)), 30) is not None


def test_sigterm_finishes_what_runs_and_gives_back_the_rest(fresh: Stack) -> None:
    client = fresh.client()
    first = fresh.worker(SPEAKER_CONCURRENCY="1")
    jobs = [client.embed(long_clip()) for _ in range(3)]
    wait_for("a running job", lambda: running(client, jobs))
    begun = running(client, jobs)[0]
    assert first.stop() == 0
    assert client.job(begun.id).state == "succeeded"
    assert client.workers() == [], "a worker that has stopped is not listed"
    fresh.worker()
    assert {ended(client, job).state for job in jobs} == {"succeeded"}


def test_a_recording_that_expired_is_a_typed_failure_and_not_tried_again(fresh: Stack) -> None:
    client = fresh.client()
    job = client.embed(Audio.of_samples(voice(1), RATE))
    client.audio.delete(*(key.decode() for key in client.redis.keys("speaker:audio:*")))
    fresh.worker()
    with pytest.raises(PayloadGone):
        client.wait(job, 30)
    assert client.job(job.id).error["code"] == "payload_gone"  # type: ignore[index]
    time.sleep(3)
    assert client.redis.hlen("unacked") == 0
    assert client.redis.llen("recognize") == 0


def test_audio_and_messages_are_gone_after_the_answer(stack: Stack) -> None:
    client = stack.client()
    of_others = set(client.redis.keys("speaker:audio:*"))
    assert client.wait(client.embed(Audio.of_samples(voice(1), RATE)), 30) is not None
    with pytest.raises(UnusableAudio):
        client.wait(client.embed(Audio.of_samples(np.zeros(RATE, np.float32), RATE)), 30)
    assert set(client.redis.keys("speaker:audio:*")) <= of_others
    wait_for("the acknowledgement", lambda: client.redis.hlen("unacked") == 0, 30)


def test_a_canceled_job_is_not_run(fresh: Stack) -> None:
    client = fresh.client()
    job = client.embed(Audio.of_samples(voice(1), RATE))
    assert client.cancel(job.id).state == "canceled"
    fresh.worker()
    wait_for("the message to be taken", lambda: client.redis.llen("recognize") == 0, 10)
    wait_for("the audio to be dropped", lambda: not client.redis.keys("speaker:audio:*"), 10)
    assert client.job(job.id).state == "canceled"


def test_a_short_one_is_answered_beside_a_long_one(stack: Stack) -> None:
    client = stack.client()
    long = client.embed(long_clip())
    wait_for("the long one", lambda: client.job(long.id).state == "running")
    assert client.wait(client.embed(Audio.of_samples(voice(2), RATE)), 30) is not None
    assert ended(client, long).state == "succeeded"


def test_a_burst_is_answered_and_leaves_nothing_behind(stack: Stack) -> None:
    client = stack.client()
    of_others = {*client.redis.keys("speaker:audio:*"), *client.redis.keys("speaker:task:*")}
    jobs = [client.embed(Audio.of_samples(voice(number % 3), RATE)) for number in range(60)]
    for job in jobs:
        assert client.wait(job, 60) is not None
    wait_for("the last acknowledgement", lambda: not client.redis.hlen("unacked"), 30)
    assert client.redis.zcard("unacked_index") == client.redis.llen("recognize") == 0
    assert {*client.redis.keys("speaker:audio:*"), *client.redis.keys("speaker:task:*")} <= of_others
    assert client.redis.zcard("speaker:tasks:waiting:recognize") == 0
    wait_for("what other tests canceled to stop", lambda: not client.redis.hlen("speaker:tasks:running"), 30)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"SPEAKER_WEIGHTS": "/none/such.safetensors"}, "/none/such.safetensors"),
        ({"SPEAKER_MODEL": "none-such", "SPEAKER_WEIGHTS": ""}, "none-such"),
        ({"SPEAKER_DEVICE": "cpu", "GPU": "0"}, "contradicts"),
        ({"CUDA_VISIBLE_DEVICES": "3", "GPU": "1"}, "no GPU 1"),
        ({"SPEAKER_AI_BANK": "/none/such.npz"}, "/none/such.npz"),
    ],
)
def test_a_worker_that_cannot_serve_refuses_in_one_line(stack: Stack, environment: dict[str, str], said: str) -> None:
    environment = dict(environment)
    arguments = ["--gpu", environment.pop("GPU")] if "GPU" in environment else []
    process = stack.start_worker(*arguments, **{key: value for key, value in environment.items() if value})
    status = process.popen.wait(60)
    text = process.log.read_text()
    assert status != 0
    assert said in text
    assert "Traceback" not in text
    last = text.strip().splitlines()[-1]
    assert last.startswith("error: "), text


def test_all_recovers_when_redis_restarts(tmp_path: Path) -> None:
    server = RestartableServer(tmp_path)
    server.start()
    stack = Stack(tmp_path, server.url)
    try:
        worker = stack.worker()
        web = stack.web(workers=1)
        body = {"speaker": voice(1).tolist()}
        before = web.post("/SpeakerFeats", json=body)
        assert before.status_code == 200
        server.stop()  # the first message may be unacknowledged still
        away = web.post("/SpeakerFeats", json=body)
        assert away.status_code == 503
        assert away.json()["error"]["code"] == "redis_away"
        assert int(away.headers["Retry-After"]) >= 1
        assert web.get("/readyz").status_code == 503
        assert web.get("/healthz").status_code == 200
        server.start()
        wait_for("the worker's heartbeat", lambda: web.get("/readyz").status_code == 200, 30)
        assert web.post("/SpeakerFeats", json=body).json() == before.json()
        assert worker.popen.poll() is None
        assert "Unrecoverable" not in worker.log.read_text()
    finally:
        stack.stop()
        server.stop()


@pytest.mark.parametrize(
    ("arguments", "url", "status", "said"),
    [
        (["worker"], "", 2, "SPEAKER_REDIS_URL is not set"),
        (["worker"], "http://127.0.0.1", 2, "scheme"),
        (["worker", "--queues", "recognize,none"], "redis://127.0.0.1:1/0", 2, "'none'"),
        (["enroll", ".", "--bank", "b"], "redis://127.0.0.1:1/0", 5, "does not answer"),
    ],
)
def test_the_program_says_in_one_line_what_it_lacks(
    tmp_path: Path, demo_speakers: Path, *, arguments: list[str], url: str, status: int, said: str
) -> None:
    shutil.copytree(demo_speakers / "Alice", tmp_path / "Alice")
    run = subprocess.run(
        [str(PROGRAMS / "speaker-tasks"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": str(PROGRAMS), "SPEAKER_DATA_DIR": str(tmp_path / "var"), "SPEAKER_REDIS_URL": url},
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == status, run.stderr
    assert said in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
