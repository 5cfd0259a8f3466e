"""Who may see Flower, and where it lies."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.launcher.flower import arguments
from speaker_tasks.launcher.procfile import flower_url
from speaker_tasks.launcher.server import EmbeddedServer, free_port
from speaker_tasks.settings import Settings


def test_on_this_machine_it_asks_for_no_password() -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        assert not any("auth" in one for one in arguments(Settings(flower_host=host)))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "flower.example", ""])
def test_a_public_address_without_a_password_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match="set SPEAKER_FLOWER_AUTH"):
        arguments(Settings(flower_host=host))
    assert "--basic-auth=ann:secret" in arguments(Settings(flower_host=host, flower_auth="ann:secret"))
    assert arguments(Settings(flower_host=host, open_to_all=True))


@pytest.mark.parametrize("given", ["secret", "ann:", ":secret"])
def test_an_entry_that_is_none_is_refused_and_not_shown(given: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        arguments(Settings(flower_auth=given))
    assert "secret" not in str(refused.value)


def test_entries_come_from_a_file_as_well(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("# who\nann:a secret\n\nbob:another\n")
    assert "--basic-auth=ann:a secret,bob:another" in arguments(Settings(flower_auth_file=file))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        arguments(Settings(flower_auth_file=tmp_path / "missing"))


def test_the_path_prefix_is_in_its_address() -> None:
    settings = Settings(flower_path_prefix="/flower/", flower_port=5000)
    assert "--url-prefix=flower" in arguments(settings)
    assert flower_url(settings) == "http://127.0.0.1:5000/flower"


def test_flower_asks_for_the_password_under_its_prefix_whatever_kubernetes_says(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path / "redis") as server:
        port = free_port()
        given = {
            "SPEAKER_REDIS_URL": server.url,
            "SPEAKER_FLOWER_PORT": str(port),
            "SPEAKER_FLOWER_AUTH": "ann:secret",
            "SPEAKER_FLOWER_PATH_PREFIX": "/flower",
            "FLOWER_PORT": "tcp://10.0.0.5:5555",
            "FLOWER_BASIC_AUTH": "eve:hers",
            "CELERY_BROKER_URL": "redis://10.0.0.5",
        }
        command = [str(Path(sys.executable).with_name("speaker-tasks")), "flower"]
        with subprocess.Popen(command, env={**os.environ, **given}, cwd=tmp_path) as process:
            try:
                status = until_it_answers(port, "ann:secret", process)
                assert status == 200
                assert ask(port, "eve:hers") == 401
                assert ask(port, None) == 401
                assert b"secret" not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
            finally:
                process.terminate()


def until_it_answers(port: int, who: str, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, "Flower ended"
        try:
            return ask(port, who)
        except OSError:  # refused, or taken before it can answer
            time.sleep(0.1)
    raise AssertionError("Flower does not answer")


def ask(port: int, who: str | None) -> int:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/flower/workers")
    if who is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(who.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
