"""The Helm chart, rendered by Helm itself: what it makes is valid for Kubernetes, and says what the settings say.

Needs the extra `charts` (Helm as a library, and Kubernetes' schemas: a hundred megabytes); skipped without.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from speaker_tasks.settings import Settings
from tests.conftest import ROOT

helm = pytest.importorskip("helm_python", reason="pip install 'speaker-tasks[charts]'")
CHART = ROOT / "deploy" / "helm"
EVERYTHING: dict[str, Any] = {
    "worker": {"scaling": {"enabled": True, "min": 0}},
    "bulk": {"enabled": True, "scaling": {"enabled": True}},
    "gpu": {"enabled": True},
    "web": {"ingress": {"enabled": True, "className": "nginx", "tlsSecret": "tls"}},
    "recordings": {"claim": "recordings"},
    "settings": {"MODEL": "campplus", "WEB_THREADS": 32},
}
THEIR_REDIS: dict[str, Any] = {"valkey": {"enabled": False}, "redisUrl": "rediss://redis.example:6379/0"}
KINDS_OF_OTHERS = {"ScaledObject", "TriggerAuthentication"}
"""Of KEDA, which has schemas of its own."""


def rendered(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    with helm.Chart.load(str(CHART)) as chart:
        for name, text in chart.render(values, name="demo", namespace="prod").items():
            if name.endswith(".yaml"):
                yield from (found for found in yaml.safe_load_all(text) if found)


def containers(values: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name of the workload, the pod, and its container."""
    for found in rendered(values):
        if found["kind"] in ("Deployment", "StatefulSet"):
            pod = found["spec"]["template"]["spec"]
            yield found["metadata"]["name"], pod, pod["containers"][0]


def names(values: dict[str, Any]) -> set[str]:
    return {f"{found['kind']}/{found['metadata']['name']}" for found in rendered(values)}


def test_helm_finds_nothing_wrong() -> None:
    report = helm.lint(str(CHART))
    assert not report["errors"], report


@pytest.mark.parametrize("values", [{}, EVERYTHING, THEIR_REDIS], ids=["as it is", "everything", "another server"])
def test_what_it_makes_is_valid_for_kubernetes(values: dict[str, Any]) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="pip install 'speaker-tasks[charts]'")
    for found in rendered(values):
        if found["kind"] not in KINDS_OF_OTHERS:
            validate.validate(found, "1.30", strict=True)


def test_it_makes_what_the_values_ask_for() -> None:
    plain = names({})
    assert {
        "Deployment/demo-web",
        "Deployment/demo-worker",
        "Deployment/demo-flower",
        "StatefulSet/demo-valkey",
    } <= plain
    assert {"PodDisruptionBudget/demo-web", "PodDisruptionBudget/demo-worker"} <= plain
    assert not any("Scaled" in name or "gpu" in name or "bulk" in name for name in plain)
    more = names(EVERYTHING)
    assert {"Deployment/demo-gpu", "Deployment/demo-bulk", "ScaledObject/demo-worker", "Ingress/demo-web"} <= more
    assert "StatefulSet/demo-valkey" not in names(THEIR_REDIS)
    with pytest.raises(helm.HelmError, match="redisUrl"):
        list(rendered({"valkey": {"enabled": False}}))


@pytest.mark.parametrize("values", [{}, EVERYTHING, THEIR_REDIS])
def test_every_variable_is_a_setting_and_every_pod_is_locked_down(values: dict[str, Any]) -> None:
    known = {f"SPEAKER_{name.upper()}" for name in Settings.model_fields}
    for name, pod, container in containers(values):
        given = {one["name"] for one in container.get("env", ())}
        assert given <= known, name
        assert len(given) == len(container.get("env", ())), f"{name}: a variable stands twice"
        assert pod["enableServiceLinks"] is False, "SPEAKER_PORT=tcp://... would be one"
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"startupProbe", "livenessProbe"} <= set(container), name
        mounted = {one["name"] for one in container["volumeMounts"]}
        claimed = {"data"} if name.endswith("valkey") else set()
        assert mounted == {one["name"] for one in pod["volumes"]} | claimed, name


def test_processes_have_the_time_that_they_need_to_end() -> None:
    grace = {name: pod["terminationGracePeriodSeconds"] for name, pod, _ in containers({}) if "flower" not in name}
    assert grace["demo-web"] >= 35
    assert grace["demo-worker"] >= 30


def test_queues_are_shared_out_and_scaled_by_their_length() -> None:
    queues = {name: one["args"][-1] for name, _, one in containers(EVERYTHING) if "worker" in one["args"]}
    assert queues == {"demo-worker": "recognize", "demo-bulk": "enroll", "demo-gpu": "recognize"}
    assert [one["args"][-1] for name, _, one in containers({}) if name == "demo-worker"] == ["recognize,enroll"]
    scaled = {one["metadata"]["name"]: one["spec"] for one in rendered(EVERYTHING) if one["kind"] == "ScaledObject"}
    lists = {name: spec["triggers"][0]["metadata"]["listName"] for name, spec in scaled.items()}
    assert lists == {"demo-worker": "recognize", "demo-bulk": "enroll"}
    assert all(spec["minReplicaCount"] >= 1 for spec in scaled.values())
    assert scaled["demo-worker"]["triggers"][0]["metadata"]["address"] == "demo-valkey:6379"
