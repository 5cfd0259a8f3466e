"""What is counted and logged: two workers and two web processes, against what the client saw."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from speaker_tasks.apikeys import entry, new_key
from speaker_tasks.launcher.server import free_port
from tests.integration.sounds import voice
from tests.integration.stack import Stack, Web, running_stack, wait_for

REQUESTS = 60
KEY, WRONG, METRICS = new_key(), new_key(), new_key()
ENTRIES = f"{entry('phone', ['recognize'], KEY)} {entry('prometheus', ['metrics'], METRICS)}"


class Seen:
    """Two workers, web with keys, and where the workers show their figures."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.ports = stack, [free_port(), free_port()]
        self.workers = [
            stack.start_worker(SPEAKER_METRICS_PORT=str(port), SPEAKER_LOG_FORMAT="json") for port in self.ports
        ]
        self.web: Web = stack.web(SPEAKER_API_KEYS=ENTRIES, SPEAKER_LEGACY="open", SPEAKER_RATE_LIMIT="")
        for worker in self.workers:
            stack.wait_warm(worker)

    def samples(self, *, of_web: bool = False) -> Counter[str]:
        """All samples, of all workers or of web, by `name{label=value,...}`."""
        headers = {"Authorization": f"Bearer {METRICS}"}
        pages = [self.web.url] if of_web else [f"http://127.0.0.1:{port}" for port in self.ports]
        found: Counter[str] = Counter()
        for page in pages:
            answer = requests.get(f"{page}/metrics", headers=headers, timeout=10)
            assert answer.status_code == 200, answer.text
            for family in text_string_to_metric_families(answer.text):
                for sample in family.samples:
                    labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                    found[f"{sample.name}{{{labels}}}"] += sample.value
        return found

    def ended(self) -> int:
        """How many jobs' ends stand in the workers' logs."""
        return sum(worker.log.read_text().count('"message":"job"') for worker in self.workers)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    with running_stack(tmp_path_factory) as stack:
        yield Seen(stack)


def test_the_counters_equal_what_the_client_saw(seen: Seen) -> None:
    body = {"speaker": voice(1).tolist()}

    def ask(number: int) -> tuple[str, int]:
        if number % 3:
            return "/SpeakerFeats", seen.web.post("/SpeakerFeats", json=body).status_code
        path = ("/v1/embed", "/v1/identify", "/v1/banks")[number % 9 // 3]
        key = WRONG if path == "/v1/banks" else KEY
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        answer = seen.web.post(path, data=json.dumps({"samples": voice(1).tolist(), "rate": 16000}), headers=headers)
        return path, answer.status_code

    with ThreadPoolExecutor(4) as threads:
        answers = Counter(threads.map(ask, range(REQUESTS)))
    jobs = sum(count for (path, _), count in answers.items() if path != "/v1/banks")
    wait_for("the jobs' lines, which come after their counts", lambda: seen.ended() == jobs, 30)
    web, workers = seen.samples(of_web=True), seen.samples()
    counted = {
        (route, int(status)): int(value)
        for name, value in web.items()
        if (match := re.fullmatch(r"speaker_http_requests_total\{method=POST,route=(.*),status=(\d+)\}", name))
        for route, status in [match.groups()]
    }
    assert counted == dict(answers)
    feats, embeds = answers["/SpeakerFeats", 200], answers["/v1/embed", 200]
    assert workers["speaker_jobs_total{kind=embed,state=succeeded}"] == feats == REQUESTS - REQUESTS // 3
    assert workers["speaker_jobs_total{kind=vector,state=succeeded}"] == embeds
    assert answers["/v1/identify", 409], answers
    assert workers["speaker_job_errors_total{code=empty_bank,kind=identify}"] == answers["/v1/identify", 409]
    assert web["speaker_http_errors_total{code=empty_bank}"] == answers["/v1/identify", 409]
    assert workers["speaker_job_seconds_count{kind=embed}"] == feats
    for step in ("queue", "decode", "network"):
        assert workers[f"speaker_step_seconds_count{{step={step}}}"] >= feats
    assert workers["speaker_network_requests_total{}"] == feats + embeds
    assert workers["speaker_batch_size_sum{}"] == feats + embeds
    assert workers["process_resident_memory_bytes{}"] > 1e7


def test_the_web_page_shows_queues_workers_and_redis(seen: Seen) -> None:
    found = seen.samples(of_web=True)
    assert found["speaker_redis_up{}"] == 1
    assert found["speaker_queue_depth{queue=recognize}"] == 0
    assert sum(value for name, value in found.items() if name.startswith("speaker_workers{")) == 2

    def ages() -> list[float]:
        shown = seen.samples(of_web=True).items()
        return [value for name, value in shown if name.startswith("speaker_heartbeat_age_seconds{")]

    assert len(ages()) == 2
    wait_for("two hearts that have just beaten", lambda: max(ages()) < seen.stack.client().registry.life / 3)
    assert found["speaker_web_resident_memory_bytes{}"] > 1e7
    text = " ".join(found)
    assert "phone" not in text
    assert KEY not in text


def test_the_web_page_asks_for_a_key_of_its_scope(seen: Seen) -> None:
    assert seen.web.get("/metrics").status_code == 401
    assert seen.web.get("/metrics", headers={"X-API-Key": KEY}).status_code == 403
    assert seen.web.get("/v1/banks", headers={"X-API-Key": METRICS}).status_code == 403


def test_one_id_finds_the_lines_of_web_and_worker(seen: Seen) -> None:
    headers = {"X-Request-ID": "call-4711", "X-API-Key": KEY}
    audio = {"samples": voice(2).tolist(), "rate": 16000}
    assert seen.web.post("/v1/embed", json=audio, headers=headers).status_code == 200
    legacy = {"X-Request-ID": "call-4712"}
    assert seen.web.post("/SpeakerFeats", json={"speaker": voice(2).tolist()}, headers=legacy).status_code == 200

    def lines(wanted: str) -> list[str]:
        logs = [seen.web.process.log, *(worker.log for worker in seen.workers)]
        return [line for log in logs for line in log.read_text().splitlines() if wanted in line]

    for wanted, kind in (("call-4711", "vector"), ("call-4712", "embed")):
        wait_for("both lines", lambda wanted=wanted: len(lines(wanted)) == 2, 5)
        of_web, of_worker = lines(wanted)
        assert re.search(
            r" request request_id=.* method=POST route=/\S+ status=200 ms=[\d.]+ job=[0-9a-f]{32}$", of_web
        )
        job = json.loads(of_worker)
        assert (job["message"], job["kind"]) == ("job", kind)
        assert job["job"] in of_web
        assert set(job) == {"time", "level", "logger", "message", "job", "request_id", "kind", "state", "ms"}


def test_every_refused_key_is_in_the_log_and_no_key_ever(seen: Seen) -> None:
    assert seen.web.get("/v1/banks", headers={"X-API-Key": WRONG, "X-Request-ID": "refused-1"}).status_code == 401
    assert seen.web.get("/v1/nothing", headers={"X-API-Key": KEY, "X-Request-ID": "refused-2"}).status_code == 403
    assert seen.web.get("/v1/ba\nnks", headers={"X-API-Key": KEY, "X-Request-ID": "refused-3"}).status_code in (
        403,
        404,
    )
    log = wait_for("the lines", lambda: (text := seen.web.process.log.read_text()).count("refused-") >= 3 and text, 5)
    assert isinstance(log, str)
    (line,) = [line for line in log.splitlines() if "refused-1" in line]
    assert "key=none method=GET route=/v1/banks status=401" in line
    assert 'error=unauthorized address=127.0.0.1 refused="the key is not known"' in line
    (line,) = [line for line in log.splitlines() if "refused-2" in line]
    assert "key=phone" in line
    assert "status=403" in line
    assert not any(key in log for key in (KEY, WRONG, METRICS))
