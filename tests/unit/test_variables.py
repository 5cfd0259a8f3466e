"""Variables of the environment: ours that are misspelt are named, other programs' do not reach ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from speaker_tasks.settings import Settings
from speaker_tasks.variables import forget_foreign, misspelt

PROGRAM = Path(sys.executable).with_name("speaker-tasks")


def test_a_misspelt_variable_is_named_with_the_one_that_is_meant() -> None:
    assert misspelt(["SPEAKER_MODLE", "SPEAKER_PORT", "SPEAKER_URL", "PATH"]) == [
        "there is no setting SPEAKER_MODLE; is SPEAKER_MODEL meant?"
    ]
    assert misspelt(["SPEAKER_XYZZY"]) == ["there is no setting SPEAKER_XYZZY"]


def test_it_is_named_once_when_a_command_starts() -> None:
    environment = {**os.environ, "SPEAKER_REDIS_ULR": "redis://127.0.0.1:1/0", "SPEAKER_PORT": "1"}
    done = subprocess.run([PROGRAM, "models"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    warning, *_ = done.stderr.splitlines()
    assert warning == "warning: there is no setting SPEAKER_REDIS_ULR; is SPEAKER_REDIS_URL meant?"
    assert done.stderr.count("warning") == 1


def test_what_kubernetes_makes_of_a_service_called_speaker_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {
        "SPEAKER_PORT": "tcp://10.0.0.5:6001",
        "SPEAKER_FLOWER_PORT": "tcp://10.0.0.6:5555",
        "SPEAKER_PORT_6001_TCP": "tcp://10.0.0.5:6001",
        "SPEAKER_PORT_6001_TCP_ADDR": "10.0.0.5",
        "SPEAKER_SERVICE_HOST": "10.0.0.5",
        "SPEAKER_SERVICE_PORT_HTTP": "6001",
        "SPEAKER_REDIS_PORT": "tcp://10.0.0.7:6379",
    }
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert (Settings().port, Settings().flower_port) == (6001, 5555)
    assert misspelt(names) == []


def test_variables_of_celery_and_flower_are_forgotten() -> None:
    environment = {
        "CELERY_BROKER_URL": "redis://elsewhere",
        "FLOWER_PORT": "tcp://10.0.0.5:5555",
        "FLASK_DEBUG": "1",
        "SPEAKER_FLOWER_PORT": "5555",
        "HOME": "/",
    }
    forget_foreign(environment)
    assert environment == {"SPEAKER_FLOWER_PORT": "5555", "HOME": "/"}


def test_a_command_talks_to_our_broker_whatever_celery_s_own_variable_says(tmp_path: Path) -> None:
    code = (
        "import os, sys; from speaker_tasks import cli; sys.argv = ['x', '--version']\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "from speaker_tasks.celery_app import make_celery; from speaker_tasks.settings import Settings\n"
        "print(make_celery(Settings(redis_url='redis://127.0.0.1:1/0')).connection_for_write().port)"
    )
    environment = {**os.environ, "CELERY_BROKER_URL": "redis://127.0.0.1:6390/0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "1"
