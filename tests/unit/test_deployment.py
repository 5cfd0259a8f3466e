"""Procfile, docker-compose.yml and Dockerfile start the same processes on the same ports as the settings name."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from speaker_tasks.launcher.procfile import read_procfile
from speaker_tasks.settings import Settings
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SPEAKER_{name.upper()}", raising=False)
    return Settings()


def test_each_process_of_the_procfile_is_a_service_with_the_same_command(compose: dict[str, Any]) -> None:
    services = {name: service for name, service in compose["services"].items() if name != "redis"}
    commands = {name: service["command"] for name, service in services.items()}
    wanted = {name: ["sh", "-c", f"exec {line}".replace("$", "$$")] for name, line in read_procfile().items()}
    assert commands == wanted


def test_the_procfile_defaults_are_those_of_the_settings(defaults: Settings) -> None:
    named = {
        name.lower(): value
        for line in read_procfile().values()
        for name, value in re.findall(r"\$\{SPEAKER_(\w+):-([^}]*)\}", line)
    }
    assert named.keys() >= {"host", "port", "web_threads"}
    known = {name: value for name, value in named.items() if name in Settings.model_fields}
    assert known == {name: str(getattr(defaults, name)) for name in known}


def test_published_and_exposed_ports_are_those_of_the_settings(
    compose: dict[str, Any], dockerfile: str, defaults: Settings
) -> None:
    port, flower = str(defaults.port), str(defaults.flower_port)
    assert compose["services"]["web"]["ports"] == [f"{port}:{port}"]
    assert compose["services"]["flower"]["ports"] == [f"127.0.0.1:{flower}:{flower}"]
    assert f"EXPOSE {port} {flower}\n" in dockerfile
    assert f"SPEAKER_PORT={port} " in dockerfile
    assert f"SPEAKER_FLOWER_PORT={flower} " in dockerfile


def test_every_variable_that_a_container_is_given_is_a_setting(compose: dict[str, Any], dockerfile: str) -> None:
    given = set(re.findall(r"SPEAKER_(\w+)=", dockerfile))
    for name, service in compose["services"].items():
        if name != "redis":
            given |= {variable.removeprefix("SPEAKER_") for variable in service["environment"]}
    assert {name.lower() for name in given} <= set(Settings.model_fields)


def test_redis_is_reached_by_the_service_name_and_published_nowhere(compose: dict[str, Any]) -> None:
    assert "ports" not in compose["services"]["redis"]
    assert compose["services"]["worker"]["environment"]["SPEAKER_REDIS_URL"] == "redis://redis:6379/0"


def test_the_image_does_not_run_as_root_and_installs_by_hash(dockerfile: str) -> None:
    assert re.search(r"^USER (?!root)\w+$", dockerfile, re.MULTILINE)
    assert "--require-hashes --requirement requirements.lock" in dockerfile


def test_the_image_holds_every_package_of_the_project(dockerfile: str) -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks", "tools"}
    assert packages == set(re.findall(r"^COPY (\w+) \1$", dockerfile, re.MULTILINE))
