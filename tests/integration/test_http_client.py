"""The HTTP client, its async twin and the command line, on the real service; webhooks too."""

from __future__ import annotations

import asyncio
import hmac
import inspect
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from banks.active import ActiveMode
from banks.store import BankStore
from speaker_tasks.embedding.audio import decode
from speaker_tasks.errors import NotFound, Unavailable, UnsupportedAudio
from speaker_tasks.sdk import calls
from speaker_tasks.sdk.client import AsyncSpeakerTasks, Job, SpeakerTasks
from tests.integration.speaking import enroll
from tests.integration.stack import PROGRAMS, Stack, Web, wait_for

BANK = "clients"


@pytest.fixture(scope="module")
def people(stack: Stack, shared_web: Web, demo_speakers: Path) -> Iterator[Path]:
    """All eight of the demo's speakers are enrolled, with four clips each."""
    enroll(stack, shared_web, demo_speakers, BANK, clips=4)
    yield demo_speakers
    BankStore(stack.client().redis).delete(BANK)


@pytest.fixture
def client(shared_web: Web) -> Iterator[SpeakerTasks]:
    with SpeakerTasks(shared_web.url) as found:
        yield found


class TestClient:
    def test_asks_in_one_line_and_gets_types(self, client: SpeakerTasks, people: Path) -> None:
        found = client.identify(people / "王芳" / "5.ogg", bank=BANK, top_k=2)
        assert found.candidates[0].speaker == "王芳"
        assert found.decision in {"match", "inconclusive"}
        assert (found.bank, len(found.candidates)) == (BANK, 2)
        assert client.verify(people / "王芳" / "5.ogg", "王芳", bank=BANK).decision == "match"
        same = client.compare(people / "王芳" / "5.ogg", str(people / "王芳" / "1.ogg"))
        other = client.compare(people / "王芳" / "5.ogg", (people / "David" / "1.ogg").read_bytes())
        assert same.score > other.score
        vector = client.embed((people / "王芳" / "5.ogg").open("rb"))
        assert len(vector.vector) == 512

    def test_takes_arrays(self, client: SpeakerTasks, people: Path) -> None:
        samples = decode(people / "Alice" / "5.ogg")
        assert client.identify(samples, bank=BANK).candidates[0].speaker == "Alice"
        assert client.compare(samples, people / "Alice" / "4.ogg").score > 0.5

    def test_follows_a_job_to_its_end_and_tells_of_it(self, client: SpeakerTasks, people: Path) -> None:
        job = client.submit("identify", people / "Alice" / "5.ogg", bank=BANK)
        seen: list[Job] = []
        done = client.wait(job.id, seconds=20, progress=seen.append)
        assert done.outcome()["candidates"][0]["speaker"] == "Alice"
        assert seen[-1].over
        assert job.id in {one.id for one in client.jobs(kind="identify")}

    def test_lists_more_jobs_than_come_in_one_answer(
        self, client: SpeakerTasks, people: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ids = [client.submit("embed", people / "Alice" / "5.ogg").id for _ in range(5)]
        monkeypatch.setattr(calls, "JOBS_AT_A_TIME", 2)
        assert [one.id for one in client.jobs(limit=5)] == ids[::-1]
        assert [one.id for one in client.jobs(limit=3)] == ids[:1:-1]

    def test_raises_the_services_errors(self, client: SpeakerTasks, tmp_path: Path) -> None:
        (tmp_path / "x.wav").write_bytes(b"no sound" * 100)
        with pytest.raises(UnsupportedAudio):
            client.identify(tmp_path / "x.wav", bank=BANK)
        with pytest.raises(NotFound, match="cannot be read"):
            client.identify(tmp_path / "nothing.wav")
        with pytest.raises(NotFound):
            client.job("123")
        with pytest.raises(Unavailable, match="no answer"):
            SpeakerTasks("http://127.0.0.1:1", attempts=2).models()

    def test_tells_what_runs(self, client: SpeakerTasks, people: Path) -> None:
        assert client.models()[0]["warm"]
        assert client.workers()
        assert BANK in {bank["name"] for bank in client.banks()}
        assert {one["label"] for one in client.speakers(BANK)} == {path.name for path in people.iterdir()}

    def test_its_async_twin_asks_many_at_once(self, shared_web: Web, people: Path) -> None:
        async def ask() -> list[str]:
            async with AsyncSpeakerTasks(shared_web.url) as twin:
                names = sorted(path.name for path in people.iterdir())
                found = await asyncio.gather(*(twin.identify(people / name / "5.ogg", bank=BANK) for name in names))
                job = await twin.submit("identify", people / names[0] / "5.ogg", bank=BANK)
                assert (await twin.wait(job.id)).outcome()["bank"]["name"] == BANK
                assert job.id in {one.id for one in await twin.jobs(kind="identify")}
                assert {one["label"] for one in await twin.speakers(BANK)} == set(names)
                assert BANK in {one["name"] for one in await twin.banks()}
                assert await twin.models()
                assert await twin.workers()
                return [one.candidates[0].speaker for one in found]

        assert asyncio.run(ask()) == sorted(path.name for path in people.iterdir())

    def test_its_async_twin_has_every_call_under_the_same_signature(self) -> None:
        def calls(client: type) -> dict[str, str]:
            public = {name: one for name, one in vars(client).items() if not name.startswith("_")}
            return {name: str(inspect.signature(one)) for name, one in public.items()}

        assert calls(SpeakerTasks) == calls(AsyncSpeakerTasks)

    def test_imports_nothing_heavy(self) -> None:
        code = "import speaker_tasks.sdk.client, sys; print(*{name.partition('.')[0] for name in sys.modules})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert not set(done.stdout.split()) & {"numpy", "celery", "redis", "flask", "keras", "pydantic"}


class TestCommandLine:
    def run(
        self, stack: Stack, web: Web, *arguments: str, given: bytes | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = stack.environment(SPEAKER_URL=web.url, COLUMNS="200")
        command = [str(PROGRAMS / "speaker-tasks"), *arguments]
        done = subprocess.run(command, env=environment, input=given, capture_output=True, timeout=60, check=False)
        return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())

    def test_identifies_a_folder_and_standard_input(self, stack: Stack, shared_web: Web, people: Path) -> None:
        folder = self.run(stack, shared_web, "identify", "--json", "--bank", BANK, str(people / "Alice"))
        assert folder.returncode == 0, folder.stderr
        found = [json.loads(line) for line in folder.stdout.splitlines()]
        assert len(found) == 5
        assert {one["candidates"][0]["speaker"] for one in found} == {"Alice"}
        clip = (people / "David" / "5.ogg").read_bytes()
        given = self.run(stack, shared_web, "identify", "--bank", BANK, "-", given=clip)
        assert given.returncode == 0
        assert "David" in given.stdout

    def test_the_exit_status_is_the_decision(self, stack: Stack, shared_web: Web, people: Path) -> None:
        clip, other = str(people / "Alice" / "5.ogg"), str(people / "Brian" / "5.ogg")
        assert self.run(stack, shared_web, "verify", "Alice", clip, "--bank", BANK).returncode == 0
        assert self.run(stack, shared_web, "verify", "Brian", clip, "--bank", BANK).returncode in {10, 11}
        assert self.run(stack, shared_web, "compare", clip, str(people / "Alice" / "1.ogg")).returncode == 0
        assert self.run(stack, shared_web, "compare", clip, other, "--threshold", "0.99").returncode in {10, 11}
        missing = self.run(stack, shared_web, "verify", "Nobody", clip, "--bank", BANK)
        assert missing.returncode == 3
        assert missing.stderr.startswith("error: ")

    def test_a_bad_file_does_not_stop_the_others(
        self, stack: Stack, shared_web: Web, people: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "bad.wav").write_bytes(b"x" * 1000)
        arguments = ["identify", "--bank", BANK, "--json", str(tmp_path), str(people / "Alice" / "5.ogg")]
        done = self.run(stack, shared_web, *arguments)
        assert done.returncode == 2
        first, second = (json.loads(line) for line in done.stdout.splitlines())
        assert first["error"]["code"] == "unsupported_audio"
        assert second["candidates"][0]["speaker"] == "Alice"

    def test_jobs_models_and_doctor(self, stack: Stack, shared_web: Web) -> None:
        job = stack.client().short_jobs.create("embed")
        assert job.id in self.run(stack, shared_web, "jobs", "list").stdout
        assert json.loads(self.run(stack, shared_web, "jobs", "show", job.id, "--json").stdout)["state"] == "queued"
        assert "canceled" in self.run(stack, shared_web, "jobs", "cancel", job.id).stdout
        assert json.loads(self.run(stack, shared_web, "models", "--json").stdout)["warm"]
        doctor = self.run(stack, shared_web, "doctor", "--json")
        findings = {one["what"]: one for one in map(json.loads, doctor.stdout.splitlines())}
        assert {"Redis", "workers", "model", "web", "disk", "versions", "clocks"} <= set(findings)
        assert findings["Redis"]["state"] == findings["workers"]["state"] == findings["web"]["state"] == "ok"
        assert doctor.returncode == (1 if any(one["state"] == "fail" for one in findings.values()) else 0)

    def test_banks_as_json(self, stack: Stack, shared_web: Web, people: Path, tmp_path: Path) -> None:
        banks = BankStore(stack.client().redis)
        ActiveMode(banks).reset()
        for left in {*banks.names()} - {BANK}:  # by other files
            banks.delete(left)
        listed = [
            json.loads(line) for line in self.run(stack, shared_web, "banks", "list", "--json").stdout.splitlines()
        ]
        assert BANK in {one["name"] for one in listed}
        shown = json.loads(self.run(stack, shared_web, "banks", "show", BANK, "--json").stdout)
        assert {one["label"] for one in shown["people"]} == {path.name for path in people.iterdir()}
        copied = json.loads(self.run(stack, shared_web, "banks", "copy", BANK, "again", "--json").stdout)
        assert (copied["bank"], copied["version"]) == ("again", 1)
        assert "`speaker-tasks banks use again`" in copied["warnings"][0], "it is the second bank"
        file = tmp_path / "again.npz"
        saved = json.loads(self.run(stack, shared_web, "banks", "export", "again", str(file), "--json").stdout)
        assert saved == {"bank": "again", "saved": str(file)}
        assert file.stat().st_size > 0
        deleted = json.loads(self.run(stack, shared_web, "banks", "delete", "again", "--yes", "--json").stdout)
        assert deleted == {"bank": "again", "deleted": True, "warnings": []}
        assert "again" not in banks.names()

    def test_a_banks_own_thresholds(self, stack: Stack, shared_web: Web, people: Path, client: SpeakerTasks) -> None:
        fitted = self.run(stack, shared_web, "calibrate", BANK, "--yes", "--json")
        assert fitted.returncode == 0, fitted.stderr
        fit = json.loads(fitted.stdout)
        assert fit["eer"] < 0.15
        own = client.identify(people / "Alice" / "5.ogg", bank=BANK)
        assert own.raw["calibration"] == "bank"
        assert not fit["standings"], "the default model has no cohort: its thresholds are of plain cosines"
        assert own.threshold == pytest.approx(fit["threshold"], abs=0.2)
        assert client.identify(people / "Brian" / "5.ogg", bank=BANK).raw["calibration"] == "bank"
        assert self.run(stack, shared_web, "calibrate", BANK, "--forget").returncode == 0
        assert client.identify(people / "Alice" / "5.ogg", bank=BANK).raw["calibration"] != "bank"


class Listener(BaseHTTPRequestHandler):
    """Refuses the first call and takes the second."""

    calls: ClassVar[list[tuple[dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.calls.append((dict(self.headers), body))
        self.send_response(500 if len(self.calls) == 1 else 204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_a_webhook_is_signed_and_tried_again(fresh: Stack, demo_speakers: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hosts = f"127.0.0.1:{server.server_port}"
    webhooks = {"SPEAKER_WEBHOOK_HOSTS": hosts, "SPEAKER_WEBHOOK_SECRET": "between us"}
    fresh.worker(**webhooks)
    web = fresh.web(workers=1, threads=4, **webhooks)
    clip = (demo_speakers / "Alice" / "1.ogg").read_bytes()
    where = f"http://127.0.0.1:{server.server_port}/done"
    headers = {"Content-Type": "audio/ogg"}
    refused = web.post("/v1/embed", params={"webhook": "http://example.com/x"}, data=clip, headers=headers)
    assert refused.json()["error"]["code"] == "webhook_refused"
    made = web.post("/v1/embed", params={"webhook": where, "wait": 0}, data=clip, headers=headers)
    assert made.status_code == 202, made.text
    wait_for("the second call", lambda: len(Listener.calls) >= 2, 30)
    sent, body = Listener.calls[1]
    moment, digest = (part.partition("=")[2] for part in sent["X-Speaker-Signature"].split(","))
    assert hmac.compare_digest(digest, hmac.new(b"between us", f"{moment}.".encode() + body, sha256).hexdigest())
    assert json.loads(body)["job"]["state"] == "succeeded"
    server.shutdown()
