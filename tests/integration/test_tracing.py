"""Traces: a request, the message that it sends and the worker's task are spans of one trace, without names.

Needs the extra `otlp`; skipped without, but for what is said then.
"""

from __future__ import annotations

import gzip
import importlib.util
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from speaker_tasks import tracing
from speaker_tasks.errors import ConfigurationError
from speaker_tasks.settings import Settings
from tests.integration.stack import Stack, wait_for

INSTALLED = importlib.util.find_spec("opentelemetry.sdk") if importlib.util.find_spec("opentelemetry") else None
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.skipif(INSTALLED is not None, reason="the extra `otlp` is installed")
def test_an_endpoint_without_the_extra_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigurationError, match=r"speaker-tasks\[otlp\]"):
        tracing.start(Settings(otlp_endpoint="http://127.0.0.1:1"), "here")


class Collector:
    """Takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []
        """Each with the name of its service."""
        self.bodies: list[bytes] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def take(self, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.spans += [(named["service.name"], span) for scope in resource.scope_spans for span in scope.spans]

    def named(self, name: str) -> list[tuple[str, Any]]:
        return [(service, span) for service, span in self.spans if span.name == name]


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="pip install 'speaker-tasks[otlp]'")
    collector = Collector()
    yield collector
    collector.server.shutdown()


def test_a_question_is_one_trace_from_its_caller_to_the_workers_task(
    fresh: Stack, collector: Collector, demo_speakers: Path
) -> None:
    given = {"SPEAKER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    fresh.worker(**given)
    web = fresh.web(workers=1, **given)
    clip = (demo_speakers / "Alice" / "1.ogg").read_bytes()
    web.get("/readyz")
    headers = {"Content-Type": "audio/ogg", "traceparent": f"00-{TRACE}-{CALLER}-01"}
    answer = web.post("/v1/embed", data=clip, headers=headers)
    assert answer.status_code == 200
    names = ("POST /v1/embed", "send speaker_tasks.embed", "run speaker_tasks.embed")
    wait_for("both services' spans", lambda: all(map(collector.named, names)), 20)
    (web_service, request), (_, message), (worker_service, task) = (collector.named(name)[0] for name in names)
    assert (web_service, worker_service) == ("speaker-web", "speaker-worker")
    assert {span.trace_id.hex() for span in (request, message, task)} == {TRACE}
    assert request.parent_span_id.hex() == CALLER
    assert (message.parent_span_id, task.parent_span_id) == (request.span_id, message.span_id)
    said = {one.key: one.value for one in task.attributes}
    assert said["speaker.ms.network"].double_value > 0
    assert said["speaker.job"].string_value
    assert not collector.named("GET /readyz"), "machines ask every few seconds"


def test_a_path_with_a_name_is_sent_as_its_route(fresh: Stack, collector: Collector) -> None:
    web = fresh.web(workers=1, SPEAKER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="200")
    assert web.get("/v1/banks/Zaphod/check?speaker=Beeblebrox").status_code == 404
    wait_for("the span", lambda: collector.spans, 20)
    assert "/v1/banks/<name>/check" in collector.spans[0][1].name
    assert not any(name in body for body in collector.bodies for name in (b"Zaphod", b"Beeblebrox"))


@pytest.mark.usefixtures("collector")
def test_a_collector_that_never_answers_delays_nobody(fresh: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        web = fresh.web(workers=1, SPEAKER_OTLP_ENDPOINT=endpoint, OTEL_BSP_SCHEDULE_DELAY="50")
        took = []
        for _ in range(3):
            took.append(web.get("/v1/banks").elapsed.total_seconds())
            time.sleep(0.1)  # the exporter waits for the collector meanwhile
        assert min(took) < 1
        assert max(took) < 5, "it waits for ten"
        assert web.process.stop() == 0
