"""The records in Redis, on a real and empty server: jobs, payloads, the outbox, workers."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from celery.worker import state

from speaker_tasks.celery_app import QUEUES
from speaker_tasks.client import TaskClient
from speaker_tasks.errors import Conflict, Gone, NotFinite, NotFound, NoWorker, PayloadGone, Unavailable
from speaker_tasks.heartbeat import WorkerRecord, WorkerRegistry
from speaker_tasks.jobs import JobStore, new_id
from speaker_tasks.outbox import Message
from speaker_tasks.payloads import Audio
from speaker_tasks.pulse import Lost, touch_running

AUDIO = Audio.of_samples(np.zeros(160, np.float32), 16_000)


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
        jobs, job_id, read = client.short_jobs, new_id(time.time()), client.redis.hgetall

        def read_too_early(key: str) -> object:
            found = read(key)
            monkeypatch.undo()
            jobs.create("embed", job_id=job_id)
            return found

        monkeypatch.setattr(client.redis, "hgetall", read_too_early)
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

    def test_only_the_first_end_counts(self, client: TaskClient) -> None:
        jobs = client.short_jobs
        job = jobs.create("embed")
        assert jobs.start(job.id)
        assert jobs.start(job.id), "delivered again while it runs: it may run again"
        assert jobs.finish(job.id, "succeeded", result={"n": 1})
        assert not jobs.finish(job.id, "failed", error={"code": "internal", "message": "late"})
        assert not jobs.start(job.id)
        ended = client.job(job.id)
        assert (ended.state, ended.result, ended.error) == ("succeeded", {"n": 1}, None)
        assert ended.started is not None
        assert ended.finished is not None

    def test_who_waits_is_woken_and_gets_the_result(self, client: TaskClient) -> None:
        job = client.short_jobs.create("embed")
        threading.Timer(0.2, client.short_jobs.finish, [job.id, "succeeded"], {"result": {"n": 1}}).start()
        began = time.monotonic()
        assert client.wait(job, 10) == {"n": 1}
        assert 0.15 < time.monotonic() - began < 1

    def test_who_waits_gets_the_typed_error(self, client: TaskClient) -> None:
        job = client.short_jobs.create("embed")
        client.short_jobs.finish(job.id, "failed", error=NotFinite("NaN at 7", index=7).to_dict())
        with pytest.raises(NotFinite, match="NaN at 7") as raised:
            client.wait(job, 1)
        assert raised.value.details == {"index": 7}

    def test_waiting_ends_when_the_time_runs_out(self, client: TaskClient) -> None:
        began = time.monotonic()
        assert client.wait(client.short_jobs.create("embed"), 0.3) is None
        assert 0.25 < time.monotonic() - began < 1
        assert client.wait(client.short_jobs.create("embed"), 0) is None

    def test_a_canceled_job_cannot_start(self, client: TaskClient) -> None:
        job = client.short_jobs.create("embed")
        assert client.cancel(job.id).state == "canceled"
        assert not client.short_jobs.start(job.id)
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

    def test_two_requests_with_the_same_recording_do_not_take_it_from_each_other(self, client: TaskClient) -> None:
        first, second = client.audio.put(b"same"), client.audio.put(b"same")
        client.audio.delete(first)
        assert client.audio.get(second) == b"same"
        with pytest.raises(PayloadGone):
            client.audio.get(first)

    def test_payloads_expire(self, client: TaskClient) -> None:
        key = client.audio.put(b"sound")
        assert 0 < client.redis.ttl(key) <= client.settings.payload_ttl


class TestOutbox:
    def test_a_message_that_lies_nowhere_is_sent_again(self, client: TaskClient) -> None:
        job = client.embed(AUDIO)
        lost = Lost(client.outbox, 0.1, QUEUES)
        time.sleep(0.15)
        lost.look(0)
        assert client.outbox.missing(0.1, QUEUES) == set(), "it lies in its queue"
        client.redis.delete("recognize")
        lost.look(1)
        assert client.redis.llen("recognize") == 0, "one look is not enough: it may just be changing hands"
        lost.look(2)
        assert client.redis.llen("recognize") == 1
        assert job.id.encode() in client.redis.lrange("recognize", 0, 0)[0]
        lost.look(3)
        assert client.redis.llen("recognize") == 1

    def test_a_message_in_a_workers_hands_is_not_lost(self, client: TaskClient) -> None:
        client.embed(AUDIO)
        with client.celery.connection_for_read() as connection:
            queue = client.celery.amqp.queues["recognize"].bind(connection.channel())
            message = queue.get()
            time.sleep(0.05)
            assert client.redis.hlen("unacked") == 1
            assert client.outbox.missing(0.01, QUEUES) == set()
            message.ack()
        assert len(client.outbox.missing(0.01, QUEUES)) == 1

    def test_a_task_that_began_is_not_sent_again(self, client: TaskClient) -> None:
        job = client.embed(AUDIO)
        client.redis.delete("recognize")
        client.outbox.begun(job.id)
        assert client.outbox.missing(-1, QUEUES) == set()
        assert not client.outbox.send_again(job.id, -1)

    def test_what_nobody_wants_any_more_is_dropped(self, client: TaskClient) -> None:
        client.outbox.put(Message("m", "speaker_tasks.embed", "recognize", {}, expires=time.time() - 1))
        assert not client.outbox.send_again("m", -1)
        assert client.outbox.missing(-1, QUEUES) == set()

    def test_two_workers_that_miss_it_send_it_once(self, client: TaskClient) -> None:
        job = client.embed(AUDIO)
        client.redis.delete("recognize")
        time.sleep(0.06)
        assert [client.outbox.send_again(job.id, 0.05) for _ in range(2)] == [True, False]


class TestWorkers:
    RECORD = WorkerRecord("a", "host", 1, "compact-0123456789ab", "cpu", "openvino", "bf16", 0.0, ("recognize",))

    def test_a_worker_that_is_silent_is_gone(self, client: TaskClient) -> None:
        registry = WorkerRegistry(client.redis, interval=0.1)
        registry.beat(self.RECORD)
        assert client.workers() == [self.RECORD]
        assert client.model() == self.RECORD.model
        time.sleep(0.4)
        assert client.workers() == []
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

    def test_what_runs_long_is_not_given_to_others(self, client: TaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
        client.redis.zadd("unacked_index", {"mine": 1, "another's": 1})
        held = [SimpleNamespace(message=SimpleNamespace(delivery_tag=tag)) for tag in ("mine", "acknowledged just now")]
        monkeypatch.setattr(state, "reserved_requests", held)
        touch_running(client.redis)
        scores = dict(client.redis.zrange("unacked_index", 0, -1, withscores=True))
        assert scores[b"mine"] == pytest.approx(time.time(), abs=5)
        assert scores[b"another's"] == 1
        assert len(scores) == 2
