"""`/v1` questions over HTTP on the real stack: every form of a recording, every kind of answer, jobs."""

from __future__ import annotations

import base64
import gzip
import io
import json
import socket
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import requests
import soundfile

from banks.store import BankStore
from speaker_tasks.embedding.audio import decode
from tests.integration.sounds import voice
from tests.integration.speaking import enroll
from tests.integration.stack import Stack, Web, wait_for

OGG = {"Content-Type": "audio/ogg"}


@pytest.fixture(scope="module")
def people(stack: Stack, shared_web: Web, demo_speakers: Path) -> Iterator[Path]:
    """Six of the demo's speakers are enrolled in `team`; the other two are strangers."""
    names = sorted(path.name for path in demo_speakers.iterdir())[:6]
    enroll(stack, shared_web, demo_speakers, "team", labels=names)
    yield demo_speakers
    BankStore(stack.client().redis).delete("team")


def clip(people: Path, name: str = "Alice", take: int = 5) -> bytes:
    return (people / name / f"{take}.ogg").read_bytes()


def assert_error(answer: requests.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["X-Request-ID"]
    error: dict[str, Any] = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    return error


class TestCheck:
    def test_a_bank_says_who_would_be_recognised(self, shared_web: Web, people: Path) -> None:
        answer = shared_web.get("/v1/banks/team/check")
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["bank"], found["version"], len(found["speakers"])) == ("team", 1, 6)
        alice = next(one for one in found["speakers"] if one["speaker"] == "Alice")
        assert alice["clips"] == 3
        assert 0 <= alice["named"] <= 3
        assert f"{alice['named']} of 3" in alice["message"]
        assert len(found["warnings"]) == sum(one["doubtful"] for one in found["speakers"])
        (one,) = shared_web.get("/v1/banks/team/check?speaker=Alice").json()["speakers"]
        assert one == alice
        assert shared_web.get("/v1/banks/team/check?wait=0").status_code == 202

    def test_what_cannot_be_checked_is_told(self, shared_web: Web, people: Path) -> None:
        assert_error(shared_web.get("/v1/banks/nowhere/check"), 404, "not_found")
        assert_error(shared_web.get("/v1/banks/team/check?speaker=Nobody"), 404, "not_found")
        shared_web.post("/v1/banks", json={"name": "empty"})
        try:
            assert_error(shared_web.get("/v1/banks/empty/check"), 422, "unusable")
        finally:
            requests.delete(f"{shared_web.url}/v1/banks/empty", timeout=60)


class TestIdentify:
    def test_a_match_says_who_how_sure_and_what_it_rests_on(self, shared_web: Web, people: Path) -> None:
        answer = shared_web.post("/v1/identify?bank=team&top_k=3&threshold=0.7", data=clip(people), headers=OGG)
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["decision"], found["reason"], found["speaker"]) == ("match", "above_threshold", "Alice")
        assert found["score"] == pytest.approx(found["candidates"][0]["score"])
        assert found["margin"] == pytest.approx(found["score"] - found["candidates"][1]["score"], abs=1e-3)
        assert len(found["candidates"]) == 3
        assert found["threshold"] == 0.7
        assert 1 < found["speech_seconds"] <= found["seconds"]
        assert found["bank"] == {"name": "team", "version": 1, "speakers": 6}
        assert {"queue", "decode", "features", "network", "match", "total"} <= set(found["timings_ms"])

    def test_who_names_no_bank_is_told_in_the_first_lines_which_ones_were_asked(
        self, stack: Stack, shared_web: Web, people: Path
    ) -> None:
        shared_web.post("/v1/banks", json={"name": "old", "model": "vgg-0123456789ab"})
        BankStore(stack.client().redis).update("old", lambda bank: bank.__class__(("x",), np.ones((1, 512)), "vgg"))
        try:
            found = shared_web.post("/v1/identify?threshold=0.7", data=clip(people), headers=OGG).json()
        finally:
            delete(shared_web, "/v1/banks/old")
        assert found["speaker"] == "Alice", "a bank of another model stops nobody"
        assert list(found)[:6] == ["decision", "reason", "message", "speaker", "score", "bank"]
        assert (found["bank"]["name"], found["bank"]["default"]) == ("all", True)
        assert "team" in found["bank"]["banks"]
        assert "'vgg'" in found["bank"]["left_out"]["old"]

    def test_the_models_own_calibration_gives_threshold_and_probability(self, shared_web: Web, people: Path) -> None:
        found = shared_web.post("/v1/identify?bank=team", data=clip(people), headers=OGG).json()
        assert found["calibration"] == "model"
        assert found["threshold"] is not None
        assert 0 <= found["probability"] <= 1
        assert sum(one["probability"] for one in found["candidates"]) <= 1.001

    def test_a_threshold_that_nobody_reaches_is_unknown_and_names_nobody(self, shared_web: Web, people: Path) -> None:
        found = shared_web.post("/v1/identify?bank=team&threshold=1", data=clip(people, "陈静"), headers=OGG).json()
        assert found["decision"] in {"unknown", "inconclusive"}
        assert found["speaker"] is None
        assert found["candidates"]

    def test_too_little_speech_is_inconclusive(self, shared_web: Web, people: Path) -> None:
        samples = decode(clip(people))[8_000:17_600]
        found = shared_web.post("/v1/identify?bank=team", json={"samples": samples.tolist()}).json()
        assert (found["decision"], found["reason"]) == ("inconclusive", "too_little_speech")
        assert found["quality"]["warnings"]

    def test_an_empty_bank_an_unknown_bank_and_another_models_bank_are_told_apart(
        self, stack: Stack, shared_web: Web, people: Path
    ) -> None:
        body: dict[str, Any] = {"data": clip(people), "headers": OGG}
        known = assert_error(shared_web.post("/v1/identify?bank=nobody", **body), 404, "not_found")["details"]
        assert "team" in known["known"]
        shared_web.post("/v1/banks", json={"name": "fresh"})
        assert_error(shared_web.post("/v1/identify?bank=fresh", **body), 409, "empty_bank")
        shared_web.post("/v1/banks", json={"name": "other", "model": "vgg-0123456789ab"})
        BankStore(stack.client().redis).update("other", lambda bank: bank.__class__(("x",), np.ones((1, 512)), "vgg"))
        assert_error(shared_web.post("/v1/identify?bank=other", **body), 409, "model_mismatch")
        for name in ("fresh", "other"):
            assert delete(shared_web, f"/v1/banks/{name}").status_code == 200


class TestForms:
    def forms(self, people: Path, folder: Path) -> dict[str, dict[str, Any]]:
        data = clip(people)
        samples = decode(data)
        stereo = io.BytesIO()
        high = np.repeat(samples, 3)
        soundfile.write(stereo, np.stack([high, high], axis=1), 48_000, format="WAV")
        path = folder / "data" / "asked.ogg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return {
            "upload": {"files": {"audio": ("a.ogg", data)}},
            "raw": {"data": data, "headers": OGG},
            "octets": {"data": data, "headers": {"Content-Type": "application/octet-stream"}},
            "stereo at 48 kHz": {"data": stereo.getvalue(), "headers": {"Content-Type": "audio/wav"}},
            "base64": {"json": {"audio": base64.b64encode(data).decode()}},
            "base64 with line breaks": {"json": {"audio": base64.encodebytes(data).decode()}},
            "gzip": {"data": gzip.compress(data), "headers": {**OGG, "Content-Encoding": "gzip"}},
            "deflate": {"data": zlib.compress(data), "headers": {**OGG, "Content-Encoding": "deflate"}},
            "data url": {"json": {"audio": "data:audio/ogg;base64," + base64.b64encode(data).decode()}},
            "samples": {"json": {"samples": samples.tolist(), "rate": 16_000}},
            "rate as a number with a point": {"json": {"samples": samples.tolist(), "rate": 16_000.0}},
            "samples at 8 kHz": {"json": {"samples": samples[::2].tolist(), "rate": 8_000}},
            "path": {"json": {"path": str(path)}},
        }

    def test_every_form_of_a_recording_gives_the_same_speaker(
        self, stack: Stack, shared_web: Web, people: Path
    ) -> None:
        for name, request in self.forms(people, stack.folder).items():
            answer = shared_web.post("/v1/identify?bank=team&threshold=0.5", **request)
            assert answer.status_code == 200, f"{name}: {answer.text}"
            assert answer.json()["candidates"][0]["speaker"] == "Alice", name

    @pytest.mark.parametrize(
        ("request_", "status", "code"),
        [
            ({"data": b"", "headers": OGG}, 400, "malformed"),
            ({"data": b"RIFF" + b"x" * 500, "headers": OGG}, 415, "unsupported_audio"),
            ({"data": {"a": "b"}}, 415, "unsupported_audio"),
            ({"json": {}}, 400, "malformed"),
            ({"json": {"audio": "%%%"}}, 400, "malformed"),
            ({"json": {"audio": "AAAA", "samples": [0.1]}}, 400, "malformed"),
            ({"json": {"samples": [0.1] * 100}}, 422, "unusable_audio"),
            ({"json": {"samples": [0.0] * 16_000}}, 422, "unusable_audio"),
            ({"json": {"samples": [[0.1], [0.2]]}}, 400, "malformed"),
            ({"json": {"samples": [0.1] * 9000, "rate": 3}}, 400, "malformed"),
            ({"json": {"samples": [[]] * 30_000}}, 400, "malformed"),
            ({"data": b"x", "headers": {**OGG, "Content-Encoding": "br"}}, 415, "unsupported_audio"),
            ({"json": {"path": "/etc/passwd"}}, 422, "outside_roots"),
            ({"json": {"path": "relative.wav"}}, 400, "malformed"),
            ({"files": {"sound": b"x"}}, 400, "malformed"),
            ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "malformed"),
            ({"data": b'{"samples": [NaN]}', "headers": {"Content-Type": "application/json"}}, 422, "not_finite"),
        ],
    )
    def test_a_bad_body_is_told_what_is_wrong(
        self, shared_web: Web, request_: dict[str, Any], status: int, code: str
    ) -> None:
        assert_error(shared_web.post("/v1/embed", **request_), status, code)

    def test_a_name_in_the_address_may_come_unencoded(self, shared_web: Web) -> None:
        host = urlsplit(shared_web.url)
        request = "POST /v1/identify?bank=晨會 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        body = '{"samples": [0.1]}'
        with socket.create_connection((str(host.hostname), host.port or 80), 60) as connection:
            connection.sendall(f"{request}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode())
            head, _, answer = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
        assert b"application/json" in head, head
        assert "晨會" in json.loads(answer)["error"]["message"]

    def test_a_recording_that_is_too_long_is_refused(self, shared_web: Web) -> None:
        sound = io.BytesIO()
        soundfile.write(sound, np.tile(voice(1, 10.0), 31), 16_000, format="FLAC")
        answer = shared_web.post("/v1/embed", data=sound.getvalue(), headers={"Content-Type": "audio/flac"})
        assert_error(answer, 413, "too_large")

    @pytest.mark.parametrize("query", ["top_k=0", "top_k=x", "wait=-1", "wait=nan", "threshold=2", "bnak=team"])
    def test_a_bad_query_is_malformed(self, shared_web: Web, people: Path, query: str) -> None:
        assert_error(shared_web.post(f"/v1/identify?{query}", data=clip(people), headers=OGG), 400, "malformed")


class TestVerifyAndCompare:
    def test_the_claimed_speaker_alone_is_judged(self, shared_web: Web, people: Path) -> None:
        right = shared_web.post("/v1/verify?bank=team&speaker=Alice", data=clip(people), headers=OGG).json()
        wrong = shared_web.post("/v1/verify?bank=team&speaker=Brian", data=clip(people), headers=OGG).json()
        assert right["score"] > wrong["score"] + 0.2
        assert right["decision"] == "match"
        assert wrong["decision"] != "match"
        assert right["probability"] > wrong["probability"]

    def test_an_unknown_speaker_and_a_missing_claim_are_errors(self, shared_web: Web, people: Path) -> None:
        body: dict[str, Any] = {"data": clip(people), "headers": OGG}
        assert_error(shared_web.post("/v1/verify?bank=team&speaker=Nobody", **body), 404, "not_found")
        assert_error(shared_web.post("/v1/verify?bank=team", **body), 400, "malformed")

    def test_two_recordings_are_compared(self, shared_web: Web, people: Path) -> None:
        def compared(first: bytes, second: bytes) -> dict[str, Any]:
            answer = shared_web.post("/v1/compare", files={"first": first, "second": second})
            assert answer.status_code == 200, answer.text
            return dict(answer.json())

        same = compared(clip(people, take=4), clip(people, take=5))
        other = compared(clip(people, take=4), clip(people, "Brian"))
        assert same["score"] > other["score"] + 0.2
        assert len(same["recordings"]) == 2
        answer = shared_web.post("/v1/compare", json={"first": {"samples": [0.1]}})
        assert_error(answer, 400, "malformed")


class TestJobs:
    def test_who_does_not_wait_gets_a_job_and_finds_the_answer_there(self, shared_web: Web, people: Path) -> None:
        answer = shared_web.post("/v1/identify?bank=team&wait=0", data=clip(people), headers=OGG)
        assert answer.status_code == 202
        assert int(answer.headers["Retry-After"]) >= 1
        where = answer.headers["Location"]
        wait_for("the job", lambda: shared_web.get(where).json()["job"]["state"] == "succeeded", 20)
        job = shared_web.get(where).json()["job"]
        assert job["kind"] == "identify"
        assert job["about"]["bank"] == "team"
        assert job["result"]["candidates"][0]["speaker"] == "Alice"

    def test_what_was_answered_at_once_is_soon_forgotten_and_not_listed(
        self, stack: Stack, shared_web: Web, people: Path
    ) -> None:
        answer = shared_web.post("/v1/identify?bank=team", data=clip(people), headers=OGG)
        assert answer.status_code == 200
        where = answer.headers["Location"]
        assert shared_web.get(where).json()["job"]["result"] == answer.json(), "for who has lost the line"
        job_id, client = where.rpartition("/")[2], stack.client()
        assert 0 < client.redis.ttl(client.short_jobs.key_template.format(id=job_id)) <= stack.settings.answered_ttl
        assert job_id not in {job.id for job in client.jobs()[0]}

    def test_a_brief_job_that_was_not_answered_in_time_is_kept_as_others_are(self, stack: Stack) -> None:
        client = stack.client()
        key = client.short_jobs.key_template.format
        for finish_first in (False, True):
            job = client.short_jobs.create("brief", brief=15)
            if finish_first:
                client.short_jobs.finish(job.id, "succeeded", result={})
                assert client.redis.ttl(key(id=job.id)) <= 15
            client.short_jobs.keep(job.id)
            client.short_jobs.finish(job.id, "succeeded", result={})
            assert client.redis.ttl(key(id=job.id)) > 15
            assert job.id in {one.id for one in client.jobs()[0]}
        client.short_jobs.keep("none")
        assert not client.redis.exists(key(id="none"))

    def test_events_tell_of_the_job_until_it_ends(self, shared_web: Web, people: Path) -> None:
        where = shared_web.post("/v1/embed?wait=0", data=clip(people), headers=OGG).headers["Location"]
        stream = shared_web.get(where + "/events", stream=True)
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        events = [block for block in stream.text.split("\n\n") if "event:" in block]
        assert events[-1].startswith("event: end")
        last = json.loads(events[-1].split("data: ", 1)[1])["job"]
        assert last["state"] == "succeeded"

    def test_unknown_forgotten_and_bad_ids(self, stack: Stack, shared_web: Web) -> None:
        assert_error(shared_web.get("/v1/jobs/0123"), 404, "not_found")
        client = stack.client()
        job = client.short_jobs.create("embed")
        client.redis.unlink(client.short_jobs.key_template.format(id=job.id))
        assert_error(shared_web.get(f"/v1/jobs/{job.id}"), 410, "gone")

    def test_a_queued_job_is_canceled_once(self, stack: Stack, shared_web: Web) -> None:
        job = stack.client().short_jobs.create("embed")
        canceled = delete(shared_web, f"/v1/jobs/{job.id}")
        assert canceled.json()["job"]["state"] == "canceled"
        done = stack.client().short_jobs.create("embed")
        stack.client().short_jobs.finish(done.id, "succeeded", result={})
        assert_error(delete(shared_web, f"/v1/jobs/{done.id}"), 409, "conflict")

    def test_jobs_are_listed_newest_first_with_filters_and_pages(self, stack: Stack, shared_web: Web) -> None:
        jobs = stack.client().short_jobs
        made = [jobs.create("listed").id for _ in range(3)]
        jobs.finish(made[1], "failed", error={"code": "internal", "message": "x", "details": {}})
        first = shared_web.get("/v1/jobs?kind=listed&limit=2").json()
        assert [job["id"] for job in first["jobs"]] == made[:0:-1]
        second = shared_web.get(f"/v1/jobs?kind=listed&limit=2&before={first['next']}").json()
        assert [job["id"] for job in second["jobs"]] == made[:1]
        assert second["next"] is None
        failed = shared_web.get("/v1/jobs?kind=listed&state=failed").json()["jobs"]
        assert [job["id"] for job in failed] == [made[1]]


class TestIdempotency:
    def test_twenty_equal_requests_at_once_make_one_job(self, stack: Stack, shared_web: Web, people: Path) -> None:
        data = clip(people)

        def ask(_: int) -> requests.Response:
            headers = OGG | {"Idempotency-Key": "twenty"}
            return shared_web.post("/v1/identify?bank=team&wait=20", data=data, headers=headers)

        before = {job.id for job in stack.client().jobs(limit=500)[0]}
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(ask, range(20)))
        assert {answer.status_code for answer in answers} == {200}, answers[0].text
        assert len({answer.headers["Location"] for answer in answers}) == 1
        assert len({answer.text for answer in answers}) == 1
        assert len({job.id for job in stack.client().jobs(limit=500)[0]} - before) == 1

    def test_a_key_for_another_request_is_a_conflict(self, shared_web: Web, people: Path) -> None:
        headers = OGG | {"Idempotency-Key": f"k-{time.time()}"}
        assert shared_web.post("/v1/embed", data=clip(people), headers=headers).status_code == 200
        other = shared_web.post("/v1/embed", data=clip(people, take=4), headers=headers)
        assert_error(other, 409, "conflict")

    def test_the_recording_of_a_form_is_part_of_the_request(self, shared_web: Web, people: Path) -> None:
        headers = {"Idempotency-Key": f"k-{time.time()}"}

        def send(take: int) -> requests.Response:
            form = {"audio": ("a.ogg", clip(people, take=take))}
            return shared_web.post("/v1/embed", files=form, headers=headers)

        assert send(5).headers["Location"] == send(5).headers["Location"]
        assert_error(send(4), 409, "conflict")

    def test_a_refused_request_does_not_use_its_key_up(self, shared_web: Web, people: Path) -> None:
        headers = {"Idempotency-Key": f"k-{time.time()}"}
        form: dict[str, Any] = {"files": {"audio": ("a.ogg", clip(people))}, "headers": headers}
        first, second = shared_web.post("/v1/embed", **form), shared_web.post("/v1/embed", **form)
        assert first.headers["Location"] == second.headers["Location"]


def delete(web: Web, path: str) -> requests.Response:
    return requests.delete(web.url + path, timeout=30)
