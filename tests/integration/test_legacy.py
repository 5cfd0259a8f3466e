"""The first server's endpoints, asked over HTTP of the real stack."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import requests

from banks.bank import Bank
from banks.store import BankStore
from speaker_tasks.jobs.heartbeat import WorkerRecord
from tests.integration.sounds import voice
from tests.integration.stack import Stack, Web, wait_for

LEGACY_ENDPOINTS = (
    "/speaker",
    "/SpeakerFeats",
    "/InitSpeakerFeats",
    "/GetSpeakerList",
    "/ModifyFeatsMode",
    "/ModifyFeatsCustom",
)


def body(speaker: int = 1, **options: float) -> dict[str, list[float]]:
    return {"speaker": voice(speaker, **options).tolist()}  # type: ignore[arg-type]


def feats(web: Web, speaker: int) -> list[float]:
    return web.post("/SpeakerFeats", json=body(speaker)).json()["feats"][0]


def assert_error(answer: requests.Response, status: int, code: str) -> dict[str, object]:
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["Content-Type"].startswith("application/json")
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    return error


def add_bank(stack: Stack, name: str, *, labels: tuple[str, ...], model: str, seed: int = 0) -> None:
    vectors = np.random.default_rng(seed).normal(size=(len(labels), 512)).astype(np.float32)
    BankStore(stack.client().redis).put(name, Bank(labels, vectors, model=model))


@pytest.fixture
def worker(stack: Stack) -> WorkerRecord:
    return stack.client().workers()[0]


class TestSpeakerFeats:
    def test_gives_one_vector_of_unit_length(self, web: Web) -> None:
        answer = web.post("/SpeakerFeats", json=body())
        assert answer.status_code == 200
        assert list(answer.json()) == ["feats"]
        vectors = np.array(answer.json()["feats"])
        assert vectors.shape == (1, 512)
        assert np.linalg.norm(vectors) == pytest.approx(1, abs=1e-4)

    def test_needs_no_content_type_and_takes_get(self, web: Web) -> None:
        answer = web.get("/SpeakerFeats", data=json.dumps(body()))
        assert answer.status_code == 200
        assert answer.json() == web.post("/SpeakerFeats", json=body()).json()


class TestSpeaker:
    def test_names_the_nearest_with_the_score_as_text(self, web: Web) -> None:
        custom = {"label": ["张三", "Ann"], "feats": [feats(web, 1), feats(web, 2)]}
        assert web.post("/ModifyFeatsCustom", json=custom).json() == {"label": ["张三", "Ann"], "feats_mode": "custom"}
        answer = web.post("/speaker", json=body(1))
        assert answer.status_code == 200
        assert list(answer.json())[:2] == ["name", "score"]
        assert answer.json()["name"] == "张三"
        assert answer.json()["score"] == "1.00"
        assert web.post("/speaker", json=body(2)).json()["name"] == "Ann"

    def test_scores_are_bare_dot_products_with_means_that_are_not_normalised(self, web: Web) -> None:
        halved = (0.5 * np.array(feats(web, 1))).tolist()
        web.post("/ModifyFeatsCustom", json={"label": ["half"], "feats": [halved]})
        assert web.post("/speaker", json=body(1)).json()["score"] == "0.50"

    def test_an_empty_list_of_speakers_is_a_conflict(self, web: Web) -> None:
        assert_error(web.post("/speaker", json=body()), 409, "empty_bank")

    def test_a_bank_of_another_model_is_refused_with_both_ids(
        self, stack: Stack, web: Web, worker: WorkerRecord
    ) -> None:
        add_bank(stack, "old", labels=("a", "b"), model="other-0123456789ab")
        web.post("/ModifyFeatsMode", json={"feats_mode": "old"})
        error = assert_error(web.post("/speaker", json=body()), 409, "model_mismatch")
        assert error["details"]["bank_model"] == "other-0123456789ab"  # type: ignore[index]
        assert error["details"]["model"] == worker.model  # type: ignore[index]

    def test_many_at_once_all_get_their_own_answer(self, web: Web) -> None:
        vectors = [feats(web, speaker) for speaker in range(4)]
        web.post("/ModifyFeatsCustom", json={"label": list("0123"), "feats": vectors})
        with ThreadPoolExecutor(12) as pool:
            answers = pool.map(lambda number: web.post("/speaker", json=body(number % 4)).json(), range(24))
            assert [answer["name"] for answer in answers] == [str(number % 4) for number in range(24)]


class TestBadRecordings:
    @pytest.mark.parametrize("path", ["/speaker", "/SpeakerFeats"])
    @pytest.mark.parametrize(
        ("data", "status", "code"),
        [
            (b"", 400, "malformed"),
            (b"speaker=1,2,3", 400, "malformed"),
            (b'{"speaker": [0.1, 0.2', 400, "malformed"),
            (b"\xff\xfe\x00", 400, "malformed"),
            (b"[0.1, 0.2]", 400, "malformed"),
            (b"{}", 400, "malformed"),
            (b'{"speaker": null}', 400, "malformed"),
            (b'{"speaker": "abc"}', 400, "malformed"),
            (b'{"speaker": {"0": 1}}', 400, "malformed"),
            (b'{"speaker": ["0.1", "0.2"]}', 400, "malformed"),
            (b'{"speaker": [[0.1], [0.2]]}', 400, "malformed"),
            (b'{"speaker": [[0.1], 0.2]}', 400, "malformed"),
            (b'{"speaker": [0.1, null]}', 400, "malformed"),
            (b'{"speaker": ' + b"[" * 100_000, 400, "malformed"),
            (b'{"speaker": []}', 422, "unusable"),
            (b'{"speaker": [0.1, NaN, 0.2]}', 422, "not_finite"),
            (b'{"speaker": [0.1, -Infinity]}', 422, "not_finite"),
            (b'{"speaker": [0.1, 1e300]}', 422, "not_finite"),
            (b'{"speaker": [0.1, 0.2, 0.3]}', 422, "unusable_audio"),
            (b'{"speaker": [' + b"0," * 32_000 + b"0]}", 422, "unusable_audio"),
        ],
    )
    def test_is_told_what_is_wrong(self, web: Web, path: str, data: bytes, status: int, code: str) -> None:
        assert_error(web.post(path, data=data), status, code)

    @pytest.mark.parametrize("number", [b"0", b"0.12345678901234567"])
    def test_ten_minutes_are_too_long(self, web: Web, number: bytes) -> None:
        samples = b",".join([number] * (600 * 16_000))
        error = assert_error(web.post("/speaker", data=b'{"speaker": [' + samples + b"]}"), 413, "too_large")
        assert "limit" in error["details"]  # type: ignore[operator]

    def test_ten_minutes_sent_in_chunks_of_unknown_length_are_too_long(self, web: Web) -> None:
        def chunks():  # type: ignore[no-untyped-def]
            yield b'{"speaker": [0'
            for _ in range(600):
                yield b", 0.1234567" * 16_000
            yield b"]}"

        assert_error(web.post("/speaker", data=chunks()), 413, "too_large")


class TestModes:
    def test_all_is_the_union_of_the_banks(self, stack: Stack, web: Web, worker: WorkerRecord) -> None:
        add_bank(stack, "one", labels=("甲", "乙"), model=worker.model)
        add_bank(stack, "two", labels=("丙",), model=worker.model)
        answer = web.post("/InitSpeakerFeats")
        assert answer.json() == {"label": ["甲", "乙", "丙"], "feats_mode": "all"}
        assert "甲" in answer.text, "names are readable"
        listed = web.get("/GetSpeakerList").json()
        assert list(listed) == ["label", "feats", "feats_mode"]
        assert listed["label"] == ["甲", "乙", "丙"]
        assert np.array(listed["feats"]).shape == (3, 512)
        assert web.post("/GetSpeakerList").json() == listed

    def test_any_bank_is_a_mode(self, stack: Stack, web: Web, worker: WorkerRecord) -> None:
        add_bank(stack, "one", labels=("甲",), model=worker.model)
        add_bank(stack, "two", labels=("丙",), model=worker.model)
        assert web.post("/ModifyFeatsMode", json={"feats_mode": "two"}).json() == {"label": ["丙"], "feats_mode": "two"}
        assert web.get("/GetSpeakerList").json()["feats_mode"] == "two"

    def test_morning_is_another_name_of_moring(self, stack: Stack, web: Web, worker: WorkerRecord) -> None:
        add_bank(stack, "moring", labels=("早",), model=worker.model)
        for name in ("morning", "moring"):
            answer = web.get("/ModifyFeatsMode", json={"feats_mode": name})
            assert answer.json() == {"label": ["早"], "feats_mode": "moring"}

    def test_an_unknown_mode_lists_the_known_ones_and_changes_nothing(
        self, stack: Stack, web: Web, worker: WorkerRecord
    ) -> None:
        add_bank(stack, "one", labels=("甲",), model=worker.model)
        web.post("/ModifyFeatsMode", json={"feats_mode": "one"})
        error = assert_error(web.post("/ModifyFeatsMode", json={"feats_mode": "none such"}), 404, "not_found")
        assert error["details"]["known"] == ["all", "one"]  # type: ignore[index]
        assert web.get("/GetSpeakerList").json()["feats_mode"] == "one"

    @pytest.mark.parametrize("data", [b"", b"all", b"[]", b"{}", b'{"feats_mode": 1}', b'{"feats_mode": ["all"]}'])
    def test_a_body_of_another_form_is_malformed(self, web: Web, data: bytes) -> None:
        assert_error(web.post("/ModifyFeatsMode", data=data), 400, "malformed")

    def test_both_web_processes_agree_within_a_second(self, stack: Stack, web: Web, worker: WorkerRecord) -> None:
        names = ["one", "two"]
        for name in names:
            add_bank(stack, name, labels=(f"speaker of {name}",), model=worker.model)
        pids = set[int]()

        def both_answered() -> bool:
            pids.add(web.get("/healthz", headers={"Connection": "close"}).json()["pid"])
            return len(pids) == 2

        wait_for("answers of both processes", both_answered, 60)
        for name in names * 3:
            assert web.post("/ModifyFeatsMode", json={"feats_mode": name}).ok
            changed = time.monotonic()
            modes = [web.get("/GetSpeakerList").json()["feats_mode"] for _ in range(20)]
            assert modes == [name] * 20, f"seen {time.monotonic() - changed:.2f} s after the change"
            assert web.post("/speaker", json=body()).json()["name"] == f"speaker of {name}"


class TestCustom:
    @pytest.mark.parametrize(
        ("wrong", "status"),
        [
            ({"label": ["a"]}, 400),
            ({"feats": [[0.0] * 512]}, 400),
            ({"label": "a", "feats": [[0.0] * 512]}, 400),
            ({"label": ["a"], "feats": "b"}, 400),
            ({"label": ["a", "b"], "feats": [[0.0] * 512]}, 422),
            ({"label": ["a"], "feats": [[0.0] * 511]}, 422),
            ({"label": ["a"], "feats": [0.0] * 512}, 422),
            ({"label": ["a", "b"], "feats": [[0.0] * 512, [0.0]]}, 422),
            ({"label": ["a"], "feats": [["x"] * 512]}, 422),
            ({"label": ["a"], "feats": [[None] * 512]}, 422),
            ({"label": [1], "feats": [[0.0] * 512]}, 422),
            ({"label": [], "feats": []}, 422),
        ],
    )
    def test_a_list_that_does_not_fit_changes_nothing(
        self, stack: Stack, web: Web, worker: WorkerRecord, wrong: dict[str, object], status: int
    ) -> None:
        add_bank(stack, "one", labels=("甲",), model=worker.model)
        web.post("/ModifyFeatsMode", json={"feats_mode": "one"})
        answer = web.post("/ModifyFeatsCustom", json=wrong)
        assert answer.status_code == status, answer.text[:300]
        assert answer.json()["error"]["code"] in ("malformed", "unusable", "not_finite")
        listed = web.get("/GetSpeakerList").json()
        assert (listed["feats_mode"], listed["label"]) == ("one", ["甲"])

    def test_not_finite_vectors_are_refused(self, web: Web) -> None:
        data = json.dumps({"label": ["a"], "feats": [[float("nan")] * 512]})
        assert_error(web.post("/ModifyFeatsCustom", data=data), 422, "not_finite")

    def test_init_leaves_the_custom_list(self, web: Web) -> None:
        web.post("/ModifyFeatsCustom", json={"label": ["a"], "feats": [feats(web, 1)]})
        assert web.get("/GetSpeakerList").json()["feats_mode"] == "custom"
        assert web.get("/InitSpeakerFeats").json() == {"label": [], "feats_mode": "all"}


class TestOtherRequests:
    @pytest.mark.parametrize("path", LEGACY_ENDPOINTS)
    def test_other_methods_are_not_allowed(self, web: Web, path: str) -> None:
        answer = requests.put(web.url + path, timeout=10)
        assert_error(answer, 405, "method_not_allowed")
        assert {"GET", "POST"} <= set(answer.headers["Allow"].replace(" ", "").split(","))

    def test_an_unknown_path_is_not_found(self, web: Web) -> None:
        assert_error(web.get("/none/such"), 404, "not_found")

    def test_an_unknown_job_is_not_found(self, web: Web) -> None:
        assert_error(web.get("/v1/jobs/0123456789abcdef"), 404, "not_found")


class TestHealth:
    def test_the_process_is_alive(self, web: Web) -> None:
        assert web.get("/healthz").json()["status"] == "ok"

    def test_ready_names_the_model_and_the_device(self, web: Web, worker: WorkerRecord) -> None:
        ready = web.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["model"] == worker.model
        assert ready.json()["device"] == worker.device
        assert ready.json()["workers"][0]["warm"] is True
