"""`make up` and the embedded server, with real processes: what starts, what stops, what is left."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.launcher.server import EmbeddedServer, free_port, server_binary
from tests.integration.sounds import voice

PROGRAM = Path(sys.executable).with_name("speaker-tasks")
READY_SECONDS = 90.0
STOP_SECONDS = 20.0
SLOW_MACHINE_SECONDS = 20.0
"""What the tests grant beyond the ten seconds of the promise: they run beside others."""


def processes_of(folder: Path) -> list[str]:
    """The command lines of all processes that run in `folder` or whose environment names it."""
    found = []
    for process in psutil.process_iter():
        try:
            is_named = any(str(folder) in value for value in process.environ().values())
            if (is_named or Path(process.cwd()).is_relative_to(folder)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    return found


def wait_until_gone(folder: Path) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert left == []


class TestEmbeddedServer:
    def test_it_keeps_its_data_and_lets_nobody_in_without_the_password(self, tmp_path: Path) -> None:
        with EmbeddedServer(tmp_path / "a folder") as server:
            redis.Redis.from_url(server.url).set("name", "李明")
        with EmbeddedServer(tmp_path / "a folder") as server:
            assert redis.Redis.from_url(server.url).get("name") == "李明".encode()
            with pytest.raises(redis.AuthenticationError):
                redis.Redis.from_url(re.sub(r"//.*@", "//", server.url)).ping()
        assert server.pid is None

    def test_it_ends_with_a_launcher_that_was_killed(self, tmp_path: Path) -> None:
        code = (
            "import sys, time; from pathlib import Path; from speaker_tasks.launcher.server import EmbeddedServer\n"
            "print(EmbeddedServer(Path(sys.argv[1])).start(), flush=True); time.sleep(60)"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "redis")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as launcher:
            assert launcher.stdout is not None
            url = launcher.stdout.readline().strip()
            assert redis.Redis.from_url(url).ping()
            launcher.kill()
        wait_until_gone(tmp_path)

    def test_a_server_that_does_not_come_up_is_one_line_with_its_log(self, tmp_path: Path) -> None:
        (tmp_path / "appendonlydir").write_text("a file where its folder should be")
        with pytest.raises(ConfigurationError, match=r"did not start: .*appendonlydir.*server\.log\)$"):
            EmbeddedServer(tmp_path).start()

    def test_a_redis_server_on_the_path_is_the_second_choice(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "redis-server").symlink_to(server_binary())
        monkeypatch.setattr("importlib.metadata.files", lambda _name: None)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert server_binary() == str(tmp_path / "redis-server")
        monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
        with pytest.raises(ConfigurationError, match="set SPEAKER_REDIS_URL"):
            server_binary()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The URL of a server in cluster mode. Its bus would take `port + 10000`, which a high port has not."""
    port = free_port()
    ports = ["--port", str(port), "--cluster-port", str(free_port())]
    command = [server_binary(), *ports, "--cluster-enabled", "yes", "--dir", str(tmp_path), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        client = redis.Redis(port=port, retry=Retry(ConstantBackoff(0.05), 200))
        assert client.info("cluster")["cluster_enabled"]
        yield f"redis://127.0.0.1:{port}/0"
        server.terminate()


def test_a_redis_cluster_is_refused_in_one_line(cluster: str, tmp_path: Path) -> None:
    settings = {"SPEAKER_REDIS_URL": cluster, "SPEAKER_DATA_DIR": str(tmp_path / "var")}
    ports = {"SPEAKER_PORT": str(free_port()), "SPEAKER_FLOWER_PORT": str(free_port())}
    done = subprocess.run(
        [PROGRAM, "up"],
        env={**os.environ, **settings, **ports},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ConfigurationError.exit_status
    assert "cannot be a Celery broker" in done.stderr
    assert len(done.stderr.splitlines()) == 1


class Up:
    """A running `speaker-tasks up` and what it has printed."""

    def __init__(self, folder: Path, **more: str) -> None:
        self.port, self.folder = free_port(), folder
        self.environment = {
            **os.environ,
            "SPEAKER_DATA_DIR": str(folder),
            "SPEAKER_PORT": str(self.port),
            "SPEAKER_FLOWER_PORT": str(free_port()),
            "SPEAKER_WAIT_SECONDS": "60",
            **more,
        }
        self.environment.pop("SPEAKER_REDIS_URL", None)
        self.log = folder.with_suffix(".log")
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [PROGRAM, "up"], stdout=out, stderr=subprocess.STDOUT, env=self.environment, start_new_session=True
            )

    def wait_until_ready(self) -> str:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            if "curl" in (printed := self.log.read_text()):
                return printed
            time.sleep(0.1)
        raise AssertionError(f"not ready:\n{self.log.read_text()}")


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    started = Up(tmp_path / "var")
    started.wait_until_ready()
    yield started
    if started.process.poll() is None:
        started.process.terminate()
        started.process.wait(STOP_SECONDS)


def test_up_prints_the_urls_refuses_a_second_start_and_stops_all_at_ctrl_c(up: Up) -> None:
    printed = up.log.read_text()
    assert f"ready  web http://127.0.0.1:{up.port} " in printed, "as programs that start the stack look for it"
    assert f"open http://127.0.0.1:{up.port} in a browser" in printed
    assert printed.count("curl ") == 1
    with urllib.request.urlopen(f"http://127.0.0.1:{up.port}/readyz") as answer:
        assert json.load(answer)["status"] == "ready"

    second = subprocess.run([PROGRAM, "up"], env=up.environment, capture_output=True, text=True, check=False)
    assert second.returncode == 4
    assert second.stderr.startswith(f"error: already running at http://127.0.0.1:{up.port}")
    assert len(second.stderr.splitlines()) == 1

    os.killpg(up.process.pid, signal.SIGINT)  # as a terminal does
    assert up.process.wait(STOP_SECONDS) == 0
    assert processes_of(up.folder) == []


def test_up_starts_as_many_workers_as_share_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEAKER_WORKERS", "2")
    started = Up(tmp_path / "var")
    try:
        started.wait_until_ready()
        deadline, found = time.monotonic() + READY_SECONDS, []
        while len(found) < 2 and time.monotonic() < deadline:
            with urllib.request.urlopen(f"http://127.0.0.1:{started.port}/v1/workers") as answer:
                found = json.load(answer)["workers"]
            time.sleep(0.2)
        assert len(found) == 2
    finally:
        started.process.terminate()
        started.process.wait(STOP_SECONDS)
    assert processes_of(started.folder) == []


def child_of(up: Up, words: str) -> psutil.Process:
    """The direct child of the launcher whose command line holds these words."""
    for child in psutil.Process(up.process.pid).children():
        with suppress(psutil.NoSuchProcess):
            if words in " ".join(child.cmdline()):
                return child
    raise AssertionError(f"no {words}")


def ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def ask(port: int) -> int:
    """The status of a recognition; it has a whole minute."""
    body = json.dumps({"speaker": voice(1).tolist()}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/SpeakerFeats", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=90) as answer:
        return int(answer.status)


def leave_jobs(port: int, count: int) -> list[str]:
    """Jobs that were accepted (202) and that nobody waits for."""
    ids = []
    for number in range(count):
        body = json.dumps({"samples": voice(number).tolist(), "rate": 16000}).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/embed?wait=0", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 202
            ids.append(json.load(answer)["job"]["id"])
    return ids


def state_of(port: int, job: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/jobs/{job}", timeout=60) as answer:
        return str(json.load(answer)["job"]["state"])


def remember(client: redis.Redis) -> None:
    """Have the server write down all that it knows: its file is on the disk once a second, or when that has time."""
    client.set("kept", "李明")
    assert client.waitaof(1, 0, 30_000)[0] == 1


def test_whichever_process_is_killed_the_service_comes_back_with_its_data_and_its_jobs(up: Up) -> None:
    note = json.loads((up.folder / "stack.json").read_text())
    client = redis.Redis.from_url(note["redis_url"], retry=Retry(ConstantBackoff(0.2), 100))
    remember(client)
    names = ["speaker-tasks web", "speaker-tasks worker", "speaker-tasks flower", "valkey-server"]
    accepted = []
    for words in random.sample(names, len(names)):
        victim = child_of(up, words)
        accepted += leave_jobs(up.port, 3)
        if words == "valkey-server":
            remember(client)
        victim.kill()
        victim.wait(5)
        deadline = time.monotonic() + 10 + SLOW_MACHINE_SECONDS
        while time.monotonic() < deadline and not ready(up.port):
            time.sleep(0.1)
        assert ready(up.port), f"{words} is not back:\n{up.log.read_text()}"
        assert ask(up.port) == 200
    assert client.get("kept") == "李明".encode()
    deadline = time.monotonic() + 30 + SLOW_MACHINE_SECONDS
    while (states := {job: state_of(up.port, job) for job in accepted}) and time.monotonic() < deadline:
        if set(states.values()) == {"succeeded"}:
            break
        time.sleep(0.5)
    assert set(states.values()) == {"succeeded"}, states
    assert up.log.read_text().count("ended with status -9: started again in 0.2 s") == 4
    up.process.terminate()
    assert up.process.wait(STOP_SECONDS) == 0


def test_a_process_that_does_not_stay_ends_the_stack_with_its_last_words(tmp_path: Path) -> None:
    started = Up(tmp_path / "var", SPEAKER_RATE_LIMIT="lots")
    assert started.process.wait(READY_SECONDS) == 5
    last = started.log.read_text().strip().splitlines()[-1]
    assert last.startswith("error: web ended with status 2: error: SPEAKER_RATE_LIMIT=lots cannot be read")
    wait_until_gone(started.folder)


def test_nothing_is_left_of_a_stack_whose_launcher_was_killed(up: Up) -> None:
    assert len(processes_of(up.folder)) >= 4
    up.process.kill()
    up.process.wait()
    wait_until_gone(up.folder)
