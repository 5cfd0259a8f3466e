"""The processes that `make up` and `make demo` start, and their arguments."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from speaker_tasks.errors import Conflict
from speaker_tasks.launcher.procfile import environment, flower_url, read_procfile, web_url
from speaker_tasks.launcher.readiness import require_free_port
from speaker_tasks.settings import Settings


def test_web_worker_and_flower_are_started() -> None:
    assert list(read_procfile()) == ["web", "worker", "flower"]


def test_an_installed_package_runs_what_the_checkouts_procfile_names(tmp_path: Path) -> None:
    assert read_procfile(tmp_path / "Procfile") == read_procfile()


def test_the_children_read_back_the_settings_of_the_launcher(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings = Settings(
        redis_url="redis://:p@127.0.0.1:7/0",
        data_dir=tmp_path,
        data_roots=(tmp_path / "a", tmp_path / "b"),
        port=7001,
        flower_port=7002,
    )
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert Settings() == settings


def test_urls_that_are_shown_can_be_opened() -> None:
    assert web_url(Settings(host="0.0.0.0", port=6001)) == "http://127.0.0.1:6001"
    assert flower_url(Settings(host="0.0.0.0", flower_host="::1", flower_port=5555)) == "http://[::1]:5555"


def test_a_port_that_another_program_has_is_named_with_the_setting_to_change() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            Conflict, match=f"port {port} is taken by another program; .*SPEAKER_PORT={port + 1} make up"
        ):
            require_free_port("127.0.0.1", port, "SPEAKER_PORT")
    require_free_port("127.0.0.1", port, "SPEAKER_PORT")
