"""The command line: an error is one line and its own exit status."""

from __future__ import annotations

import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from speaker_tasks.cli import app, commands
from speaker_tasks.commands.edge import connected_settings, load_settings
from speaker_tasks.errors import ConfigurationError, Conflict, NotFound
from speaker_tasks.launcher.claim import Claim
from speaker_tasks.launcher.readiness import require_free_port
from speaker_tasks.sdk.client import SpeakerTasks

PROGRAM = Path(sys.executable).with_name("speaker-tasks")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_help_names_the_commands() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("up", "demo", "worker", "flower"))


def test_each_command_has_an_example_that_it_would_take() -> None:
    untaken = {}
    for name, info in commands(app):
        command: Any = typer.main.get_command(app)
        context = None
        for word in name.split():
            context = command.context_class(command, parent=context, info_name=word)
            command = command.get_command(context, word)
        words = shlex.split(str(info.epilog).removeprefix(f"Example: speaker-tasks {name}"))
        try:
            command.make_context(name, words)
        except Exception as error:
            untaken[name] = str(error)
    assert untaken == {}


def test_a_wrong_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEAKER_PORT", "six thousand")
    done = run("up")
    assert done.returncode == ConfigurationError.exit_status
    assert done.stderr.startswith("error: SPEAKER_PORT: ")
    assert "'six thousand'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = run("demo", "--data", str(tmp_path / "nobody"))
    assert done.returncode == 3
    assert done.stderr == f"error: there is no folder {tmp_path / 'nobody'}\n"


def test_settings_given_on_the_command_line_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEAKER_PORT", "7001")
    assert load_settings().port == 7001
    assert load_settings(port=7002).port == 7002
    assert load_settings(port=None).port == 7001


def test_without_a_url_and_without_a_running_stack_there_is_no_url(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SPEAKER_REDIS_URL", raising=False)
    with Claim(tmp_path):
        pass
    assert connected_settings(data_dir=tmp_path).redis_url is None


def test_the_interpreter_runs_the_commands_as_the_program_does(tmp_path: Path) -> None:
    """`train --export` depends on it."""
    command = ["weights", "export", str(tmp_path), str(tmp_path / "x"), "--config", "none.toml", "--shared", "none"]
    done = subprocess.run(
        [sys.executable, "-m", "speaker_tasks", *command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == NotFound.exit_status
    assert done.stderr.splitlines() == [f"error: no training run at {tmp_path}: it holds no best.npz"]


@pytest.mark.parametrize("command", [[], ["identify"], ["enroll"], ["banks", "list"], ["jobs", "show"], ["doctor"]])
def test_every_command_tells_the_version(command: list[str]) -> None:
    done = run(*command, "--version")
    assert (done.returncode, done.stdout) == (0, f"speaker-tasks {version('speaker-tasks')}\n")


@pytest.mark.parametrize("command", [["enroll", "x", "--bank", "b"], ["banks", "list"]])
def test_a_command_that_does_not_work_over_http_says_what_it_wants_instead(command: list[str]) -> None:
    done = run(*command, "--url", "http://127.0.0.1:6001")
    assert done.returncode == ConfigurationError.exit_status
    assert "does not work over HTTP: SPEAKER_REDIS_URL names" in done.stderr
    assert len(done.stderr.splitlines()) == 1


PROXIES = {
    "socks5": {"ALL_PROXY": "socks5://127.0.0.1:1080"},
    "socks": {"ALL_PROXY": "socks://me:secret@127.0.0.1:1080"},
    "http": {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"},
}


@pytest.fixture
def answering() -> Iterator[int]:
    """A port of this machine on which something answers with no banks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"banks": [], "models": []}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_no_proxy_stands_before_a_service_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, answering: int, proxy: str, host: str
) -> None:
    for name, value in PROXIES[proxy].items():
        monkeypatch.setenv(name, value)
    with SpeakerTasks(f"http://{host}:{answering}", attempts=1) as client:
        assert client.banks() == []


@pytest.mark.parametrize("proxy", ["socks5", "socks"])
def test_a_proxy_that_cannot_be_used_is_one_line_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", PROXIES[proxy]["ALL_PROXY"])
    done = run("identify", "x.wav", "--url", "http://speaker.example:6001")
    assert done.returncode == ConfigurationError.exit_status
    assert done.stderr.startswith("error: the proxy of the environment (ALL_PROXY) cannot be used: ")
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr


def test_an_ipv6_address_is_asked_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEAKER_HOST", "::1")
    monkeypatch.setenv("SPEAKER_PORT", "1")
    assert "no answer from http://[::1]:1" in run("models").stderr
    done = run("models", "--url", "http://::1:6151")
    assert done.returncode == ConfigurationError.exit_status
    assert "an IPv6 address stands in brackets: http://[::1]:6001" in done.stderr


def test_a_port_of_an_ipv6_address_can_be_looked_at() -> None:
    with socket.socket(socket.AF_INET6) as taken:
        try:
            taken.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
        taken.listen()
        with pytest.raises(Conflict, match=r"taken by another program; .*SPEAKER_PORT="):
            require_free_port("::1", taken.getsockname()[1], "SPEAKER_PORT")
    require_free_port("::1", 0, "SPEAKER_PORT")
