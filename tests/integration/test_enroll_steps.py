"""The steps of an enrollment, called by hand on a real server: what is stopped in the middle leaves nothing behind."""

from __future__ import annotations

import base64
import io
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from celery.exceptions import Ignore

from banks.active import ActiveMode
from enrollment.manifest import Entry, Manifest
from speaker_tasks.client import TaskClient
from speaker_tasks.errors import SpeakerTasksError
from speaker_tasks.jobs import JobRecord
from speaker_tasks.jobs.audio import Audio
from speaker_tasks.jobs.delivery import Message
from speaker_tasks.jobs.heartbeat import WorkerRecord
from speaker_tasks.jobs.places import Places
from speaker_tasks.jobs.vectors import Measures
from speaker_tasks.operations.banks import BankKeeper
from speaker_tasks.scoring.decision import Judge
from speaker_tasks.tasks import assemble, enroll
from speaker_tasks.tasks import gates as judging
from speaker_tasks.tasks.recordings import PAYLOAD, Embedded

MODEL = "compact-0123456789ab"
SPEECH = Measures(4.0, 3.5, 30.0)


class Heard:
    """A network that hears one voice a speaker; the clip's identity is its payload."""

    def __init__(self, measures: Measures = SPEECH, during: Callable[[], object] = lambda: None) -> None:
        self.measures, self.during = measures, during

    def __call__(self, _context: Any) -> Heard:
        return self

    def over(self, entries: Sequence[tuple[str, Entry]], stop: Callable[[], bool]) -> Iterator[Embedded]:
        """Embed all of them; `during` happens after the first."""
        for key, entry in entries:
            clip = entry.path.split(":")[-2]
            yield Embedded(key, clip, self.measures, np.eye(8, dtype=np.float32)[len(entry.speaker)])
            self.during()

    def agreement(self, _entry: Entry, _seconds: float) -> float:
        """One voice from the first second to the last."""
        return 1.0


@pytest.fixture
def worker(client: TaskClient, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A worker whose tasks the test runs by itself."""
    keeper = BankKeeper(client.redis, client.settings)
    context = SimpleNamespace(
        settings=client.settings,
        embedder=SimpleNamespace(model_id=MODEL),
        redis=client.redis,
        audio=client.audio,
        jobs=client.long_jobs,
        deliveries=client.deliveries,
        worker="w",
        roots=(),
        places=Places(client.workers, ""),
        bulk=threading.BoundedSemaphore(4),
        leaving=threading.Event(),
        banks=keeper.store,
        keeper=keeper,
        active=ActiveMode(keeper.store),
        terms=SimpleNamespace(of=lambda _bank, _token: SimpleNamespace(judge=Judge())),
    )
    monkeypatch.setattr(enroll, "current", lambda: context)
    monkeypatch.setattr(enroll, "Run", Heard())
    monkeypatch.setattr(judging, "Run", Heard())
    client.registry.beat(WorkerRecord("w", "host", 1, MODEL, "cpu", "openvino", "bf16", 0.0, ("enroll",)))
    return context


def run(client: TaskClient) -> None:
    """Run the oldest task of the queue, as a worker does."""
    message = client.redis.rpop("enroll")
    assert message is not None, "nothing was sent"
    headers = orjson.loads(message)["headers"]
    body = orjson.loads(base64.b64decode(orjson.loads(message)["body"]))
    task = client.app.tasks[headers["task"]]
    task.push_request(**headers)
    try:
        with suppress(Ignore, SpeakerTasksError):
            task.run(**body[1])
    finally:
        task.pop_request()


def begun(client: TaskClient, *sounds: bytes, speaker: str = "Ann") -> JobRecord:
    """The job of an enrollment of uploaded recordings whose source was read."""
    keys = [client.keep(Audio.of_file(sound).pack()) for sound in sounds]
    entries = [Entry(speaker, f"{PAYLOAD}{key}", row=f"row {number}") for number, key in enumerate(keys)]
    source = {"manifest": client.keep(orjson.dumps(Manifest.of(entries).to_dict()))}
    job = client.enroll({}, source=source, bank="staff")
    run(client)
    return job


def enrolled(client: TaskClient, *sounds: bytes, speaker: str = "Ann") -> JobRecord:
    """The job of an enrollment of uploaded recordings, at its end."""
    job = begun(client, *sounds, speaker=speaker)
    run(client)
    run(client)
    return client.job(job.id)


def left(client: TaskClient, job: JobRecord) -> list[bytes]:
    """What Redis holds of voices for a job beside its record."""
    keys = [*client.redis.keys("speaker:audio:*"), *client.redis.keys(f"speaker:enroll:{job.id}*")]
    return [key for key in keys if isinstance(key, bytes)]


def test_an_archive_with_an_rttm_file_is_kept_once_and_leaves_nothing(
    client: TaskClient, worker: SimpleNamespace
) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("meeting.wav", b"RIFF" + bytes(5_000))
        lines = [f"SPEAKER meeting 1 {number}.0 1.0 <NA> <NA> Ann <NA> <NA>\n" for number in range(50)]
        archive.writestr("meeting.rttm", "".join(lines))
    source = {"archive": client.keep(data.getvalue())}
    job = client.enroll({}, source=source, bank="staff")
    run(client)
    assert client.job(job.id).total == 50
    assert len(client.redis.keys("speaker:audio:*")) == 2, "the archive and the meeting"
    client.cancel(job.id)
    run(client)
    assert left(client, job) == []


def test_a_cancel_in_the_middle_of_a_chunk_leaves_no_voice(
    client: TaskClient, worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(client, b"one", b"two")
    another = Message(f"{job.id}.1", job.id, enroll.CHUNK_TASK, "enroll", {"chunk": 1, "stride": 4})

    def canceled() -> None:
        if not client.job(job.id).over:
            client.cancel(job.id)
            client.deliveries.send(another)
            run(client)  # another chunk's message, which only cleans

    monkeypatch.setattr(enroll, "Run", Heard(during=canceled))
    run(client)
    assert client.job(job.id).state == "canceled"
    assert left(client, job) == []


def test_a_cancel_in_the_middle_of_the_only_chunk_leaves_no_upload(
    client: TaskClient, worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(client, b"one", b"two")
    monkeypatch.setattr(enroll, "Run", Heard(during=lambda: client.cancel(job.id)))
    run(client)
    assert left(client, job) == []


def test_a_cancel_during_the_second_looks_writes_no_bank(
    client: TaskClient, worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(client, b"one", b"two")
    run(client)

    def looked(*_: Any) -> dict[str, Any]:
        client.cancel(job.id)
        return {}

    monkeypatch.setattr(judging, "together", looked)
    run(client)
    assert client.job(job.id).state == "canceled"
    assert worker.banks.names() == []
    assert left(client, job) == []


def test_a_cancel_that_comes_while_the_bank_is_written_is_refused(
    client: TaskClient, worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(client, b"one", b"two")
    run(client)
    write, seen = assemble.write, []

    def slow(*given: Any) -> int:
        seen.append(client.cancel(job.id).state)
        return write(*given)

    monkeypatch.setattr(assemble, "write", slow)
    run(client)
    assert seen == ["running"]
    assert client.job(job.id).state == "succeeded"
    assert worker.banks.version("staff") == 1
    assert client.cancel(job.id).state == "succeeded"


@pytest.mark.parametrize(
    "left_out",
    [
        ([b"same", b"same"], SPEECH, "duplicate"),
        ([b"one", b"two"], replace(SPEECH, speech=1.2), "too_little_speech"),
    ],
)
def test_a_purge_forgets_what_the_end_of_the_job_left_out(
    client: TaskClient,
    worker: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    left_out: tuple[list[bytes], Measures, str],
) -> None:
    sounds, measures, outcome = left_out
    begun(client, b"another", speaker="Bob's")
    run(client)
    run(client)
    monkeypatch.setattr(enroll, "Run", Heard(measures))
    job = begun(client, *sounds)
    run(client)
    run(client)
    entry = client.long_jobs.report(job.id)[-1]
    assert entry["outcome"] == outcome
    assert worker.keeper.cache.get([entry["clip"]], MODEL)
    worker.keeper.purge("staff", "Ann")
    assert not worker.keeper.cache.get([entry["clip"]], MODEL)
    assert client.long_jobs.report(job.id) == []


def test_a_bank_that_was_made_empty_or_emptied_takes_an_enrollment(client: TaskClient, worker: SimpleNamespace) -> None:
    worker.keeper.create("staff", MODEL)
    assert enrolled(client, b"one", b"two").state == "succeeded"
    worker.keeper.remove("staff", "Ann")
    ended = enrolled(client, b"one", b"two")
    assert (ended.state, ended.error) == ("succeeded", None)
    assert worker.banks.get("staff").labels == ("Ann",)


def test_runs_by_night_of_the_same_recordings_write_no_version(client: TaskClient, worker: SimpleNamespace) -> None:
    for _ in range(3):
        ended = enrolled(client, b"one", b"two")
        assert ended.state == "succeeded"
        assert ended.result["version"] == 1
    assert "has all of these recordings already" in " ".join(ended.result["warnings"])
    assert [one.version for one in worker.banks.history("staff")] == [1]
    assert enrolled(client, b"one", b"three").result["version"] == 2


def test_a_renamed_speaker_stays_one_when_the_same_recordings_come_again(
    client: TaskClient, worker: SimpleNamespace
) -> None:
    enrolled(client, b"one", b"two")
    worker.keeper.rename("staff", "Ann", "Anna")
    ended = enrolled(client, b"one", b"two", b"three")
    bank = worker.banks.get("staff")
    assert (bank.labels, bank.counts.tolist()) == (("Anna",), [3])
    assert ended.result["speakers_without"] == []
    assert "'Ann' is called 'Anna' in this bank" in " ".join(ended.result["warnings"])


def test_an_upload_of_names_that_look_alike_is_told_and_the_second_bank_suggests_a_default(
    client: TaskClient, worker: SimpleNamespace
) -> None:
    enrolled(client, b"one", b"two", speaker="王伟")
    assert any("look alike" in one for one in enrolled(client, b"three", b"four", speaker="王偉").result["warnings"])
    source = {"manifest": client.keep(orjson.dumps(Manifest.of([Entry("Al\u200bice", "/x:y")]).to_dict()))}
    job = client.enroll({}, source=source, bank="guests")
    for _step in range(3):
        run(client)
    assert worker.banks.get("guests").labels == ("Alice",)
    assert any("there are two banks now" in one for one in client.job(job.id).result["warnings"])


def test_a_key_that_a_bank_or_a_message_names_is_neither_read_nor_deleted(
    client: TaskClient, worker: SimpleNamespace
) -> None:
    enrolled(client, b"one", b"two")
    worker.keeper.audit.note("zoe", "said", "staff")
    bank = worker.banks.get("staff", clips=True)
    paths = ("payload:speaker:audit", "payload:speaker:bank:staff")
    worker.banks.put("staff", replace(bank, clips=replace(bank.clips, paths=paths)))
    for source in ({"bank": "staff"}, {"manifest": "speaker:audit"}, {"archive": "speaker:audit"}):
        job = client.enroll({}, bank="staff", source=source, mode="rebuild", force=True)
        run(client)
        assert client.job(job.id).state == "failed"
    manifest = {"manifest": client.keep(orjson.dumps(Manifest.of([Entry("Eve", path) for path in paths]).to_dict()))}
    job = client.enroll({}, bank="staff", source=manifest)
    for _step in range(3):
        run(client)
    assert client.job(job.id).over
    assert client.redis.exists("speaker:audit", "speaker:bank:staff") == 2
