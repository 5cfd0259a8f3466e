"""The programs of docs/celery.md, in processes that have Celery and nothing of this project."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from banks.store import BankStore
from tests.conftest import ROOT
from tests.integration.stack import PROGRAMS, Stack, output_of, wait_for
from tests.integration.test_celery_tasks import INSPECT_SECONDS

PAGE = (ROOT / "docs" / "celery.md").read_text("utf-8")
ALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"speaker_tasks", "web", "banks", "enrollment", "flask"}:
            raise ImportError(f"{name} is not here")

sys.meta_path.insert(0, Blocked())
"""
DJANGO = """
import json, time
from django.test import RequestFactory
import django_app

ask = RequestFactory().post("/who", data=open(sys.argv[1], "rb").read(), content_type="audio/ogg")
task = json.loads(django_app.who(ask).content)["task"]
answer = django_app.answer(ask, task)
while answer.status_code == 202:
    time.sleep(0.1)
    answer = django_app.answer(ask, task)
print(answer.status_code, json.loads(answer.content)["speaker"])
"""
FASTAPI = """
from fastapi.testclient import TestClient
import fastapi_app

client = TestClient(fastapi_app.app)
answer = client.post("/who", content=open(sys.argv[1], "rb").read())
print(answer.status_code, answer.json()["speaker"])
wrong = client.post("/who", content=b"no sound")
print(wrong.status_code, wrong.json()["detail"])
"""


@pytest.fixture(scope="module")
def service(stack: Stack, demo_speakers: Path) -> Iterator[Stack]:
    """The shared stack with the bank `demo`."""
    from enrollment.folder import scan

    client = stack.client()
    if "demo" not in BankStore(client.redis).names():
        data = shutil.copytree(demo_speakers, stack.folder / "data" / "demo", dirs_exist_ok=True)
        job = client.enroll_manifest(scan(data).to_dict(), bank="demo", force=True)
        wait_for("the bank", lambda: client.job(job.id).over)
    yield stack
    BankStore(client.redis).delete("demo")


def run(stack: Stack, folder: Path, code: str, *arguments: str) -> str:
    """What a program prints that runs beside the page's files, without this project."""
    for name, text in re.findall(r"^```python\n# (\S+\.py)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        (folder / name).write_text(text)
    return output_of(
        [sys.executable, "-c", ALONE + code, *arguments],
        env={"REDIS_URL": stack.redis_url, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder)},
        cwd=folder,
        seconds=180,
    )


@pytest.fixture
def alice(demo_speakers: Path) -> str:
    return str(demo_speakers / "Alice" / "5.ogg")


def test_a_plain_application(service: Stack, tmp_path: Path, alice: str) -> None:
    assert run(service, tmp_path, "import runpy; runpy.run_path('plain.py')", alice).startswith("match Alice 0.9")


def test_django(service: Stack, tmp_path: Path, alice: str) -> None:
    assert run(service, tmp_path, DJANGO, alice).split() == ["200", "Alice"]


def test_fastapi(service: Stack, tmp_path: Path, alice: str) -> None:
    right, wrong = run(service, tmp_path, FASTAPI, alice).splitlines()
    assert right == "200 Alice"
    assert wrong.startswith("422 UnsupportedAudio: ")


def test_nothing_of_this_project_is_there_to_be_imported(service: Stack, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="speaker_tasks is not here"):
        run(service, tmp_path, "import speaker_tasks")


def test_the_shell_snippets_run(service: Stack) -> None:
    (script,) = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    path = f"{PROGRAMS}:/usr/bin:/bin"
    environment = service.environment(PATH=path, CELERY_INSPECT_TIMEOUT=INSPECT_SECONDS)
    assert "pong" in output_of(["bash", "-euo", "pipefail", "-c", script], cwd=ROOT, env=environment, seconds=240)
