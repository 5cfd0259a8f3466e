"""The records in Redis, on a real and empty server: jobs, payloads, task messages, workers."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, replace

import numpy as np
import orjson
import pytest

from speaker_tasks.client import LOOKED_AT, TaskClient
from speaker_tasks.errors import Conflict, Gone, NotFinite, NotFound, NoWorker, PayloadGone, Unavailable
from speaker_tasks.jobs import JobRecord, JobStore, new_id, store
from speaker_tasks.jobs.audio import Audio
from speaker_tasks.jobs.heartbeat import WorkerRecord, WorkerRegistry
from tests.integration.stack import wait_for

AUDIO = Audio.of_samples(np.zeros(160, np.float32), 16_000)


def begun(client: TaskClient, job: JobRecord, worker: str = "w", call: str = "") -> int | bytes:
    """What a worker gets that begins the job's task."""
    pipe = client.redis.pipeline(transaction=False)
    client.deliveries.begin(job.id, client.short_jobs.key(job.id), worker, pipe, call=call)
    found: int | bytes = pipe.execute()[0]
    return found


class TestJobs:
    def test_a_new_job_is_queued_and_an_unknown_one_not_found(self, client: TaskClient) -> None:
        job = client.short_jobs.create("recognize", about={"bank": "晨会"}, total=3)
        stored = client.job(job.id)
        assert stored == job
        assert stored.to_dict()["progress"] == {"total": 3, "done": 0, "failed": 0}
        assert stored.to_dict()["created"].endswith("+00:00")
        with pytest.raises(NotFound):
            client.job("0123")

    def test_a_job_that_is_made_while_one_looks_for_it_is_not_gone(
        self, client: TaskClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs, job_id, read = client.short_jobs, new_id(time.time()), client.redis.pipeline

        def read_too_early(**options: bool) -> object:
            found = read(**options)
            monkeypatch.undo()
            monkeypatch.setattr(client.redis, "zscore", made_meanwhile)
            return found

        def made_meanwhile(*asked: str) -> object:
            monkeypatch.undo()
            jobs.create("embed", job_id=job_id)
            return client.redis.zscore(*asked)

        monkeypatch.setattr(client.redis, "pipeline", read_too_early)
        assert jobs.get(job_id).state == "queued"

    def test_ids_sort_by_age(self, client: TaskClient) -> None:
        ids = []
        for _ in range(5):
            ids.append(client.short_jobs.create("embed").id)
            time.sleep(0.002)
        assert ids == sorted(ids)

    def test_a_job_that_nobody_starts_in_time_is_expired(self, client: TaskClient) -> None:
        job = client.short_jobs.create("embed", start_within=0.01)
        time.sleep(0.02)
        assert client.job(job.id).state == "expired"
        assert client.job(job.id).over

    @pytest.mark.parametrize("ahead", [-700, -120, 120, 700])
    def test_a_clock_that_is_off_expires_nothing_and_is_in_no_record(
        self, client: TaskClient, monkeypatch: pytest.MonkeyPatch, ahead: int
    ) -> None:
        real = time.time
        monkeypatch.setattr(store.time, "time", lambda: real() + ahead)
        job = client.embed(AUDIO)
        record = client.job(job.id)
        assert record.state == "queued"
        assert abs(record.created - real()) < 5
        assert record.expires is not None
        assert abs(record.expires - real() - client.settings.payload_ttl) < 5
        assert begun(client, job) == 1
        assert client.short_jobs.record(job.id, "1", {}, ok=True)
        moved = client.job(job.id).moved
        assert moved is not None
        assert abs(moved - real()) < 5

    def test_only_the_first_end_counts(self, client: TaskClient) -> None:
        jobs = client.short_jobs
        job = client.embed(AUDIO)
        assert begun(client, job) == 1
        assert jobs.finish(job.id, "succeeded", result={"n": 1})
        assert not jobs.finish(job.id, "failed", error={"code": "internal", "message": "late"})
        assert begun(client, job) == b"over"
        ended = client.job(job.id)
        assert (ended.state, ended.result, ended.error) == ("succeeded", {"n": 1}, None)
        assert ended.started is not None
        assert ended.finished is not None

    def test_who_waits_is_woken_and_gets_the_result(self, client: TaskClient) -> None:
        def waited() -> float:
            job = client.short_jobs.create("embed")
            threading.Timer(0.2, client.short_jobs.finish, [job.id, "succeeded"], {"result": {"n": 1}}).start()
            began = time.monotonic()
            assert client.wait(job, 10) == {"n": 1}
            return time.monotonic() - began

        assert 0.15 < min(waited() for _ in range(3)) < 1

    def test_who_waits_gets_the_typed_error(self, client: TaskClient) -> None:
        job = client.short_jobs.create("embed")
        client.short_jobs.finish(job.id, "failed", error=NotFinite("NaN at 7", index=7).to_dict())
        with pytest.raises(NotFinite, match="NaN at 7") as raised:
            client.wait(job, 1)
        assert raised.value.details == {"index": 7}

    def test_waiting_ends_when_the_time_runs_out(self, client: TaskClient) -> None:
        def waited() -> float:
            began = time.monotonic()
            assert client.wait(client.short_jobs.create("embed"), 0.3) is None
            return time.monotonic() - began

        assert 0.25 < min(waited() for _ in range(3)) < 1
        assert client.wait(client.short_jobs.create("embed"), 0) is None

    def test_a_canceled_job_cannot_start(self, client: TaskClient) -> None:
        job = client.embed(AUDIO)
        assert client.cancel(job.id).state == "canceled"
        assert begun(client, job) == b"over"
        with pytest.raises(Conflict):
            client.wait(job, 1)

    def test_a_piece_of_work_counts_once(self, client: TaskClient) -> None:
        jobs = client.long_jobs
        job = jobs.create("enroll", total=2)
        assert jobs.record(job.id, "b", {"path": "b.wav"}, ok=True)
        assert not jobs.record(job.id, "b", {"path": "b.wav"}, ok=True)
        assert jobs.record(job.id, "a", {"path": "a.wav"}, ok=False)
        assert jobs.get(job.id).to_dict()["progress"] == {"total": 2, "done": 1, "failed": 1}
        assert jobs.report(job.id) == [{"path": "a.wav"}, {"path": "b.wav"}]

    def test_records_are_forgotten(self, client: TaskClient) -> None:
        jobs = JobStore(client.redis, ttl=1)
        job = jobs.create("embed")
        jobs.finish(job.id, "succeeded", result={})
        time.sleep(1.2)
        with pytest.raises(Gone):
            jobs.get(job.id)

    def test_what_a_newer_version_writes_is_passed_over(self, client: TaskClient) -> None:
        job = client.short_jobs.create("embed")
        client.redis.hset(client.short_jobs.key(job.id), mapping={"mood": "good", "shares": b"\xff"})
        assert client.job(job.id) == job

    def test_the_list_goes_on_from_a_job_and_says_when_that_is_forgotten(self, client: TaskClient) -> None:
        made = [client.short_jobs.create("embed", job_id=f"{number:032x}").id for number in range(5)]
        first, after = client.jobs(limit=2)
        rest, end = client.jobs(limit=10, before=after)
        assert [job.id for job in (*first, *rest)] == made[::-1]
        assert end is None
        with pytest.raises(NotFound, match="begin with the newest"):
            client.jobs(before="nobody knows it")

    def test_a_filter_looks_at_so_many_jobs_and_then_says_where_to_go_on(self, client: TaskClient) -> None:
        wanted = client.short_jobs.create("verify")
        pipe, now = client.redis.pipeline(), time.time()
        for number in range(LOOKED_AT + 10):
            job_id = f"job {number}"
            pipe.hset(client.short_jobs.key(job_id), mapping={"kind": "embed", "state": "queued"})
            pipe.zadd(JobStore.index_key, {job_id: now + number / 1000})
        pipe.execute()
        found, after = client.jobs(lambda job: job.kind == "verify")
        assert found == []
        assert after is not None, "there are more"
        assert client.jobs(lambda job: job.kind == "verify", before=after) == ([wanted], None)


class TestSubmission:
    def test_a_full_queue_is_refused_at_once(self, client: TaskClient) -> None:
        jobs = [client.embed(AUDIO) for _ in range(3)]
        with pytest.raises(Unavailable) as raised:
            client.recognize(AUDIO)
        assert raised.value.details["retry_after"] > 0
        assert {client.job(job.id).state for job in jobs} == {"queued"}

    def test_messages_carry_keys_and_go_to_their_queue_only(self, client: TaskClient) -> None:
        client.embed(Audio.of_samples(np.zeros(16_000, np.float32), 16_000))
        client.enroll({"bank": "b"}, bank="b")
        assert client.redis.llen("recognize") == 1
        assert client.redis.llen("enroll") == 1
        assert len(client.redis.lrange("recognize", 0, 0)[0]) < 2500

    def test_a_full_queue_leaves_nothing_of_what_it_refused(self, client: TaskClient) -> None:
        for _ in range(client.settings.max_queued):
            client.embed(AUDIO)
        before = sorted(client.redis.keys("*"))
        with pytest.raises(Unavailable, match="3 recognitions wait already"):
            client.embed(AUDIO)
        assert sorted(client.redis.keys("*")) == before

    def test_what_has_begun_leaves_room_in_the_queue(self, client: TaskClient) -> None:
        jobs = [client.embed(AUDIO) for _ in range(3)]
        begun(client, jobs[0])
        client.embed(AUDIO)

    def test_who_alone_knows_of_a_job_takes_its_record_away_with_the_answer(self, client: TaskClient) -> None:
        job = client.embed(AUDIO, brief=True)
        client.short_jobs.finish(job.id, "succeeded", result={"n": 1}, message_id=job.id)
        assert client.wait(job, 5) == {"n": 1}
        assert client.redis.zcard(JobStore.index_key) == 0
        assert client.redis.ttl(client.short_jobs.key(job.id)) <= client.settings.answered_ttl

    def test_what_takes_longer_than_its_request_is_kept(self, client: TaskClient) -> None:
        job = client.embed(AUDIO, brief=True)
        assert client.wait(job, 0.05) is None
        client.short_jobs.finish(job.id, "succeeded", result={"n": 1}, message_id=job.id)
        assert client.job(job.id).result == {"n": 1}
        assert client.redis.zcard(JobStore.index_key) == 1

    def test_two_requests_with_the_same_recording_do_not_take_it_from_each_other(self, client: TaskClient) -> None:
        first, second = client.audio.put(b"same"), client.audio.put(b"same")
        client.audio.delete(first)
        assert client.audio.get(second) == b"same"
        with pytest.raises(PayloadGone):
            client.audio.get(first)

    def test_payloads_expire(self, client: TaskClient) -> None:
        key = client.audio.put(b"sound")
        assert 0 < client.redis.ttl(key) <= client.settings.payload_ttl


class TestWorkers:
    RECORD = WorkerRecord("a", "host", 1, "compact-0123456789ab", "cpu", "openvino", "bf16", 0.0, ("recognize",))

    def test_a_worker_that_is_silent_is_gone(self, client: TaskClient) -> None:
        registry = WorkerRegistry(client.redis, interval=1)
        registry.beat(self.RECORD)
        assert client.workers() == [self.RECORD]
        assert client.model() == self.RECORD.model
        wait_for("its end", lambda: not client.workers(), 20)
        with pytest.raises(NoWorker):
            client.model()

    def test_a_worker_that_leaves_is_gone_at_once(self, client: TaskClient) -> None:
        client.registry.beat(self.RECORD)
        client.registry.leave("a")
        assert client.workers() == []

    def test_workers_of_several_models_do_not_name_one(self, client: TaskClient) -> None:
        client.registry.beat(self.RECORD)
        client.registry.beat(replace(self.RECORD, id="b", model="vgg-0123456789ab"))
        with pytest.raises(Unavailable, match="several models"):
            client.model()

    def test_what_a_newer_worker_says_of_itself_is_passed_over(self, client: TaskClient) -> None:
        client.registry.beat(self.RECORD)
        record = {**asdict(self.RECORD), "mood": "good", "queues": ["recognize", "diarize"]}
        client.redis.set("speaker:worker:a", orjson.dumps(record))
        assert client.workers() == [replace(self.RECORD, queues=("recognize", "diarize"))]

    def test_a_worker_that_is_about_to_leave_is_not_listed_and_keeps_what_it_runs(self, client: TaskClient) -> None:
        client.registry.beat(replace(self.RECORD, leaving=True))
        assert client.workers() == []
        job = client.embed(AUDIO)
        assert begun(client, job, worker="a") == 1
        assert begun(client, job, worker="b") == b"held"
