"""Procfile, docker-compose.yml and Dockerfile start the same processes on the same ports as the settings name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from speaker_tasks.launcher.procfile import read_procfile
from speaker_tasks.settings import Settings
from speaker_tasks.variables import OTHERS
from tests.conftest import ROOT

OURS = ("web", "worker", "flower", "worker-gpu")
SECONDS = re.compile(r"(\d+)s")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return compose["services"]


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


@pytest.fixture
def defaults(monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"SPEAKER_{name.upper()}", raising=False)
    return Settings()


def seconds(text: str) -> int:
    match = SECONDS.fullmatch(text)
    assert match
    return int(match[1])


def test_each_process_of_the_procfile_is_a_service_with_the_same_command(services: dict[str, Any]) -> None:
    wanted = {name: ["sh", "-c", f"exec {line}"] for name, line in read_procfile().items()}
    commands = {name: services[name]["command"] for name in wanted}
    assert commands == wanted
    assert services["worker-gpu"]["command"] == wanted["worker"]
    assert not any("profiles" in services[name] for name in [*wanted, "redis"])
    assert all("profiles" in services[name] for name in set(services) - set(wanted) - {"redis"})


def test_the_processes_are_told_by_the_settings_alone() -> None:
    assert list(read_procfile().values()) == ["speaker-tasks web", "speaker-tasks worker", "speaker-tasks flower"]


def test_published_and_exposed_ports_are_those_of_the_settings(
    services: dict[str, Any], dockerfile: str, defaults: Settings
) -> None:
    port, flower = str(defaults.port), str(defaults.flower_port)
    assert services["web"]["ports"] == [f"{port}:{port}"]
    assert services["flower"]["ports"] == [f"127.0.0.1:{flower}:{flower}"]
    public = {name for name, one in services.items() for port in one.get("ports", ()) if not port.startswith("127.")}
    assert public == {"web", "proxy"}
    assert f"EXPOSE {port} {flower}\n" in dockerfile
    assert f"SPEAKER_PORT={port} " in dockerfile
    assert f"SPEAKER_FLOWER_PORT={flower} " in dockerfile


def test_every_variable_that_a_container_is_given_is_a_setting(services: dict[str, Any], dockerfile: str) -> None:
    given = set(re.findall(r"(SPEAKER_\w+)=", dockerfile))
    for name in OURS:
        given |= set(services[name]["environment"])
    known = {f"SPEAKER_{name.upper()}" for name in Settings.model_fields} | OTHERS
    assert given <= known


def test_every_setting_reaches_the_containers_and_stands_in_the_example(services: dict[str, Any]) -> None:
    assert all(services[name]["env_file"] == [{"path": ".env", "required": False}] for name in OURS)
    example = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"^# SPEAKER_(\w+)=", example, re.MULTILINE))
    assert {name.upper() for name in Settings.model_fields} == named - {"GPUS", "RECORDINGS"}
    of_compose = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())) - {"$"}
    assert of_compose <= set(re.findall(r"^# (\w+)=", example, re.MULTILINE))


def test_the_example_says_what_holds_without_it(defaults: Settings) -> None:
    for name, value in re.findall(r"^# SPEAKER_(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE):
        if name in ("GPUS", "RECORDINGS"):
            continue
        expected = getattr(defaults, name.lower())
        if expected in (None, (), ""):
            assert value == ""
        elif isinstance(expected, bool):
            assert value == str(expected).lower()
        elif isinstance(expected, (int, float)):
            assert float(value) == expected
        else:
            assert value == str(expected)


def test_one_build_makes_the_image_that_all_use(services: dict[str, Any]) -> None:
    built = {name for name, one in services.items() if "build" in one and not one.get("profiles")}
    assert built == {"web"}
    images = {services[name]["image"] for name in ("web", "worker", "flower")}
    assert len(images) == 1
    assert all("BASE" in services[name]["build"]["args"] for name in ("web", "worker-gpu"))


def test_redis_is_reached_by_the_service_name_with_a_password_and_published_nowhere(services: dict[str, Any]) -> None:
    assert "ports" not in services["redis"]
    command = services["redis"]["command"][-1]
    assert "/run/secrets/redis_password" in command
    assert "--maxmemory-policy noeviction" in command
    assert "--maxmemory $${REDIS_MEMORY}" in command
    for name in OURS:
        assert services[name]["environment"]["SPEAKER_REDIS_URL"] == "redis://redis:6379/0"
        assert services[name]["environment"]["SPEAKER_REDIS_PASSWORD_FILE"] == "/run/secrets/redis_password"
        assert "redis_password" in services[name]["secrets"]


def test_every_container_is_locked_down_and_watched(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["logging"]["options"]["max-size"], name
        assert service.get("cap_add", []) in ([], ["NET_BIND_SERVICE"]), name
    for name in ("redis", *OURS):
        assert services[name]["healthcheck"], name
    for name in ("redis", "web", "worker", "flower"):
        assert services[name]["deploy"]["resources"]["limits"]["memory"], name


def test_a_worker_that_is_stopped_is_unhealthy_within_half_a_minute(services: dict[str, Any]) -> None:
    for name in ("worker", "worker-gpu", "web", "flower"):
        check = services[name]["healthcheck"]
        took = (seconds(check["interval"]) + seconds(check["timeout"])) * check["retries"]
        assert took <= 30, name


def test_processes_have_the_time_that_they_need_to_end(services: dict[str, Any]) -> None:
    assert seconds(services["web"]["stop_grace_period"]) >= 35
    assert seconds(services["worker"]["stop_grace_period"]) >= 30


def test_a_gpu_worker_reserves_the_devices(services: dict[str, Any], dockerfile: str) -> None:
    (device,) = services["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert services["worker-gpu"]["build"]["target"] == "gpu"
    assert re.search(r"^FROM runtime AS gpu$", dockerfile, re.MULTILINE)
    assert "--require-hashes --requirement requirements-gpu.lock" in dockerfile


def test_secrets_and_files_that_services_mount_are_there_or_are_asked_for(compose: dict[str, Any]) -> None:
    used = {secret for service in compose["services"].values() for secret in service.get("secrets", ())}
    assert used == set(compose["secrets"])
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
            elif not source.startswith("$"):
                assert source in compose["volumes"]
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {"secrets/", ".env"} <= set(ignored)


def test_the_image_does_not_run_as_root_and_installs_by_hash(dockerfile: str) -> None:
    assert re.search(r"^USER (?!root)\w+$", dockerfile, re.MULTILINE)
    assert "--require-hashes --requirement requirements.lock" in dockerfile


def test_the_image_holds_every_package_of_the_project(dockerfile: str) -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks", "tools"}
    assert packages == set(re.findall(r"^COPY (\w+) \1$", dockerfile, re.MULTILINE))


def test_a_password_file_is_put_into_the_url(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("a/b#c\n")
    settings = Settings(redis_url="redis://redis:6379/0", redis_password_file=file)
    assert settings.redis_url == "redis://:a%2Fb%23c@redis:6379/0"
    given = Settings(redis_url="redis://:own@redis:6379/0", redis_password_file=file)
    assert given.redis_url == "redis://:own@redis:6379/0", "the URL's own goes before"
    with pytest.raises(ValueError, match="SPEAKER_REDIS_PASSWORD_FILE cannot be read"):
        Settings(redis_url="redis://redis:6379/0", redis_password_file=tmp_path / "none")
