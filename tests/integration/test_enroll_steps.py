"""The steps of an enrollment, called by hand on a real server: what is stopped in the middle leaves nothing behind."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest

from enrollment.manifest import Entry, Manifest
from speaker_tasks.bankkeeper import BankKeeper
from speaker_tasks.client import TaskClient
from speaker_tasks.jobs import JobRecord
from speaker_tasks.payloads import Audio
from speaker_tasks.tasks import assemble, enroll, judging
from speaker_tasks.tasks.recordings import PAYLOAD, Embedded
from speaker_tasks.vectorcache import Measures

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
        outbox=client.outbox,
        banks=keeper.store,
        keeper=keeper,
    )
    monkeypatch.setattr(enroll, "current", lambda: context)
    monkeypatch.setattr(enroll, "Run", Heard())
    return context


def begun(client: TaskClient, *sounds: bytes, speaker: str = "Ann") -> JobRecord:
    """The job of an enrollment of uploaded recordings whose source was read."""
    keys = [client.keep(Audio.of_file(sound).pack()) for sound in sounds]
    entries = [Entry(speaker, f"{PAYLOAD}{key}", row=f"row {number}") for number, key in enumerate(keys)]
    source = {"manifest": client.keep(orjson.dumps(Manifest.of(entries).to_dict()))}
    job = client.enroll({}, source=source, bank="staff")
    enroll.enroll_start(job.id, bank="staff", source=source)
    return job


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
    enroll.enroll_start(job.id, bank="staff", source=source)
    assert client.job(job.id).total == 50
    assert len(client.redis.keys("speaker:audio:*")) == 2, "the archive and the meeting"
    client.cancel(job.id)
    enroll.enroll_chunk(job.id, chunk=0)
    assert left(client, job) == []


def test_a_cancel_in_the_middle_of_a_chunk_leaves_no_voice(
    client: TaskClient, worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(client, b"one", b"two")

    def canceled() -> None:
        if not client.job(job.id).over:
            client.cancel(job.id)
            enroll.enroll_chunk(job.id, chunk=1)  # another chunk's message, which only cleans

    monkeypatch.setattr(enroll, "Run", Heard(during=canceled))
    enroll.enroll_chunk(job.id, chunk=0)
    assert client.job(job.id).state == "canceled"
    assert left(client, job) == []


def test_a_cancel_in_the_middle_of_the_only_chunk_leaves_no_upload(
    client: TaskClient, worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(client, b"one", b"two")
    monkeypatch.setattr(enroll, "Run", Heard(during=lambda: client.cancel(job.id)))
    enroll.enroll_chunk(job.id, chunk=0)
    assert left(client, job) == []


def test_a_cancel_during_the_second_looks_writes_no_bank(
    client: TaskClient, worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(client, b"one", b"two")
    enroll.enroll_chunk(job.id, chunk=0)

    def looked(*_: Any) -> dict[str, Any]:
        client.cancel(job.id)
        return {}

    monkeypatch.setattr(judging, "together", looked)
    enroll.enroll_finish(job.id)
    assert client.job(job.id).state == "canceled"
    assert worker.banks.names() == []
    assert left(client, job) == []


def test_a_cancel_that_comes_while_the_bank_is_written_is_refused(
    client: TaskClient, worker: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = begun(client, b"one", b"two")
    enroll.enroll_chunk(job.id, chunk=0)
    write, seen = assemble.write, []

    def slow(*given: Any) -> int:
        seen.append(client.cancel(job.id).state)
        return write(*given)

    monkeypatch.setattr(assemble, "write", slow)
    enroll.enroll_finish(job.id)
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
    known = begun(client, b"another", speaker="Bob's")
    enroll.enroll_chunk(known.id, chunk=0)
    enroll.enroll_finish(known.id)
    monkeypatch.setattr(enroll, "Run", Heard(measures))
    job = begun(client, *sounds)
    enroll.enroll_chunk(job.id, chunk=0)
    enroll.enroll_finish(job.id)
    told = client.long_jobs.report(job.id)[-1]
    assert told["outcome"] == outcome
    assert worker.keeper.cache.get([told["clip"]], MODEL)
    worker.keeper.purge("staff", "Ann")
    assert not worker.keeper.cache.get([told["clip"]], MODEL)
    assert client.long_jobs.report(job.id) == []
