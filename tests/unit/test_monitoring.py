"""The alert rules and the dashboard ask for figures that there are, and every alert has its cure in the docs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from speaker_tasks import metrics as of_workers
from speaker_tasks.embedding.batchfigures import Metrics
from speaker_tasks.gpus import Gpu
from speaker_tasks.jobs.fleet import Fleet
from speaker_tasks.jobs.heartbeat import WorkerRecord, WorkerRegistry
from speaker_tasks.tasks.figures import Figures, batch_sizes
from tests.conftest import ROOT
from web.http import metrics as of_web

PROMETHEUS = ROOT / "deploy" / "prometheus"
OF_PROMETHEUS = {"up", "process_resident_memory_bytes"}
NAME = re.compile(r"\b(?:speaker|process)_[a-z_]+\b|\bup\b")
SUFFIXES = ("_total", "_bucket", "_sum", "_count")


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    return json.loads((ROOT / "deploy/grafana/dashboards/speaker-tasks.json").read_text())


def expressions() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def names_of(families: Iterator[Metric]) -> set[str]:
    return {family.name for family in families}


@pytest.fixture
def there_are(redis: Any) -> set[str]:
    """The names of all families that web and workers show."""
    assert of_workers.JOBS
    assert of_web.REQUESTS
    gpu = Gpu(0, "GPU-1", 1, 2, 0.5)
    counted = names_of(iter(REGISTRY.collect())) | names_of(Figures(Metrics, lambda: [gpu]).collect())
    return counted | names_of(Fleet(redis, WorkerRegistry(redis, 1)).collect()) | {"speaker_web_resident_memory_bytes"}


def asked(expression: str) -> set[str]:
    plain = re.sub(r'"[^"]*"', "", expression)
    return set(NAME.findall(plain))


def base(name: str, there_are: set[str]) -> str:
    for suffix in SUFFIXES:
        if name.endswith(suffix) and name.removesuffix(suffix) in there_are:
            return name.removesuffix(suffix)
    return name


def test_rules_and_panels_ask_for_figures_that_there_are(rules: list[dict[str, Any]], there_are: set[str]) -> None:
    for expression in [*(rule["expr"] for rule in rules), *expressions()]:
        names = asked(expression)
        assert names, expression
        missing = {name for name in names if base(name, there_are) not in there_are} - OF_PROMETHEUS
        assert not missing, expression


def test_every_figure_of_ours_is_shown(there_are: set[str]) -> None:
    shown = {base(name, there_are) for expression in expressions() for name in asked(expression)}
    ours = {name for name in there_are if name.startswith("speaker_")}
    left_out = {  # beside what is shown they say little
        "speaker_job_seconds",
        "speaker_enrollments_running",
        "speaker_clock_skew_seconds",
        "speaker_redis_memory_max_bytes",
        "speaker_network_requests",
        "speaker_network_wait_seconds",
        "speaker_network_rejected",
        "speaker_network_expired",
        "speaker_network_failed",
        "speaker_network_running_seconds",
    }
    assert ours - shown == left_out


def test_each_alert_says_how_bad_it_is_and_has_its_cure_in_the_docs(rules: list[dict[str, Any]]) -> None:
    assert len(rules) >= 8
    text = (ROOT / "docs" / "operations.md").read_text()
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert f"`{rule['alert']}`" in text, "docs/operations.md has to say what to do"


def test_prometheus_reads_the_rules_and_they_fire_when_they_should() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool; it is in Debian's package `prometheus`")
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run([promtool, *command], cwd=PROMETHEUS, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_panels_lie_beside_each_other() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places)


def test_batch_sizes_are_a_histogram() -> None:
    figures = Metrics()
    figures.sizes.update([1, 1, 3, 100])
    (family,) = [batch_sizes(figures)]
    counts = {sample.labels.get("le"): sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    assert (counts["1.0"], counts["2.0"], counts["4.0"], counts["64.0"], counts["+Inf"]) == (2, 2, 3, 3, 4)
    assert next(sample.value for sample in family.samples if sample.name.endswith("_sum")) == 105


def test_queues_workers_and_enrollments_are_read_from_redis(redis: Any) -> None:
    registry = WorkerRegistry(redis, 2.0)
    registry.beat(WorkerRecord("w", "host", 1, "compact-0", "cpu", "openvino", "bf16", 0.0, skew=-120.5))
    redis.zadd("speaker:tasks:waiting:enroll", {"j.0": redis.time()[0] - 100})
    redis.hset("speaker:task:j.0", mapping={"job": "j"})
    redis.hset("speaker:job:j", mapping={"kind": "enroll", "total": 9, "done": 4, "failed": 1})
    from prometheus_client import CollectorRegistry, generate_latest

    page = CollectorRegistry()
    page.register(Fleet(redis, registry))
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(generate_latest(page).decode())
        for sample in family.samples
    }
    assert samples["speaker_redis_up",] == 1
    assert samples["speaker_queue_depth", "enroll"] == 1
    assert 99 <= samples["speaker_queue_oldest_seconds", "enroll"] < 110
    assert samples["speaker_queue_oldest_seconds", "recognize"] == 0
    assert samples["speaker_workers", "cpu", "compact-0"] == 1
    assert samples["speaker_worker_skew_seconds", "w"] == -120.5
    assert [samples["speaker_enrollment_recordings", one] for one in ("total", "done", "failed")] == [9, 4, 1]
