"""Workers of two models, of which one is blind for a folder: each message goes to one that can serve it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from banks.store import BankStore
from speaker_tasks.client import TaskClient
from speaker_tasks.commands.enroll import refuse
from speaker_tasks.errors import Unusable
from speaker_tasks.jobs import JobRecord
from tests.integration.stack import PROGRAMS, Process, Stack, Web, running_stack, wait_for

LIGHT, ACCURATE = "compact", "campplus"


class Fleet:
    """A worker of each model. Only the light one sees the folder of recordings."""

    def __init__(self, stack: Stack, demo_speakers: Path) -> None:
        self.stack, self.client = stack, stack.client()
        self.folder = stack.folder / "data"
        shutil.copytree(demo_speakers, self.folder / "speakers")
        self.clip = self.folder / "speakers" / "Alice" / "5.ogg"
        self.light = stack.start_worker(SPEAKER_MODEL=LIGHT, SPEAKER_DATA_ROOTS=str(self.folder))
        self.accurate = stack.start_worker(SPEAKER_MODEL=ACCURATE, SPEAKER_DATA_ROOTS=str(stack.folder / "none"))
        self.web: Web = stack.web()
        self.models = {name: stack.wait_warm(worker).model for name, worker in self.workers.items()}

    @property
    def workers(self) -> dict[str, Process]:
        return {LIGHT: self.light, ACCURATE: self.accurate}

    def ended(self, job: JobRecord) -> JobRecord:
        found = wait_for("the job's end", lambda: (now := self.client.job(job.id)).over and now, 120)
        assert isinstance(found, JobRecord)
        return found

    def enroll(self, bank: str, **options: Any) -> JobRecord:
        path = str(self.folder / "speakers")
        return self.ended(self.client.enroll({"bank": bank}, bank=bank, source={"path": path}, **options))

    def identify(self, bank: str, count: int) -> Counter[tuple[int, str]]:
        def ask(_: int) -> tuple[int, str]:
            answer = self.web.post("/v1/identify", params={"bank": bank}, files={"audio": self.clip.read_bytes()})
            body = answer.json()
            return answer.status_code, body.get("model") or body["error"]["code"]

        with ThreadPoolExecutor(4) as threads:
            return Counter(threads.map(ask, range(count)))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, demo_speakers: Path) -> Iterator[Fleet]:
    with running_stack(tmp_path_factory) as stack:
        yield Fleet(stack, demo_speakers)


def test_workers_say_what_they_can(fleet: Fleet) -> None:
    workers = {one["model"]: one for one in fleet.web.get("/v1/workers").json()["workers"]}
    assert workers[fleet.models[LIGHT]]["roots"] == [str(fleet.folder)]
    assert workers[fleet.models[ACCURATE]]["roots"] == []
    assert len({one["place"] for one in workers.values()}) == 2


def test_recordings_are_enrolled_by_who_sees_them_and_all_under_one_model(fleet: Fleet) -> None:
    for number in range(2):
        job = fleet.enroll(f"staff-{number}")
        assert job.state == "succeeded", job.error
        assert job.result is not None
        assert job.result["outcomes"] == {"enrolled": job.total}
        assert job.result["model"] == fleet.models[LIGHT]


def test_each_question_goes_to_a_worker_of_the_banks_model(fleet: Fleet) -> None:
    fleet.enroll("staff")
    assert fleet.identify("staff", 20) == {(200, fleet.models[LIGHT]): 20}


def test_a_path_goes_to_a_worker_that_sees_it(fleet: Fleet) -> None:
    fleet.enroll("staff")
    for _ in range(6):
        answer = fleet.web.post(
            "/v1/verify", params={"bank": "staff", "speaker": "Alice"}, json={"path": str(fleet.clip)}
        )
        assert answer.status_code == 200, answer.text
    answer = fleet.web.post("/v1/embed", json={"path": "/etc/passwd"})
    assert answer.json()["error"]["code"] == "outside_roots"


def test_a_bank_rolls_from_one_model_to_another_without_a_failed_question(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The uploaded recordings of a bank are enrolled under both models; then the copy takes the bank's name."""
    fleet.enroll("staff")
    client, store = fleet.client, BankStore(fleet.client.redis)
    job = client.enroll({}, bank="staff", source={"bank": "staff"}, mode="rebuild", force=True)
    assert fleet.ended(job).error is not None, "two models run: it has to be said which one is meant"

    environment = fleet.stack.environment(SPEAKER_MODEL=ACCURATE, SPEAKER_DATA_ROOTS=str(fleet.folder))
    seeing = fleet.stack.start("worker", [str(PROGRAMS / "speaker-tasks"), "worker"], **environment)
    fleet.stack.wait_warm(seeing)
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(fleet.identify, "staff", 60)
        command = [str(PROGRAMS / "speaker-tasks"), "banks", "re-enroll", "staff", "--json"]
        command += ["--model", fleet.models[ACCURATE]]
        done = subprocess.run(command, env=fleet.stack.environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["model"] == fleet.models[ACCURATE]
        answers = asked.result()
    assert {status for status, _ in answers} == {200}, answers
    assert store.get("staff").model == fleet.models[ACCURATE]
    assert fleet.identify("staff", 10) == {(200, fleet.models[ACCURATE]): 10}
    assert fleet.light.stop() == 0
    assert fleet.identify("staff", 4) == {(200, fleet.models[ACCURATE]): 4}
    assert fleet.identify("staff-0", 2) == {(409, "model_mismatch"): 2}, "nobody is left who could answer"


def test_an_enrollment_of_which_much_is_missing_writes_nothing_unless_forced(fleet: Fleet, tmp_path: Path) -> None:
    client: TaskClient = fleet.client
    rows = ["path,speaker"]
    rows += [f"speakers/Alice/{number}.ogg,Alice" for number in (1, 2, 3)] + ["speakers/Alice/gone.ogg,Alice"]
    (fleet.folder / "list.csv").write_text("\n".join(rows))
    source = {"path": str(fleet.folder / "list.csv")}
    job = fleet.ended(client.enroll({}, bank="sparse", source=source))
    assert job.state == "failed"
    assert job.error is not None
    assert "1 of 4 recordings are not there: nothing is written" in job.error["message"]
    assert "`force` enrolls the others" in job.error["message"]
    with pytest.raises(Unusable, match="`--force` enrolls the others") as raised:
        refuse(job)
    assert raised.value.details == {"missing": 1, "recordings": 4}
    assert "sparse" not in BankStore(client.redis).names()
    forced = fleet.ended(client.enroll({}, bank="sparse", source=source, force=True))
    assert forced.state in ("succeeded", "partial"), forced.error
