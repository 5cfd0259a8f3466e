"""The built wheels without the repository: the service with all its files, and the HTTP client alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.integration.stack import Web

PARTS = ("speaker_tasks", "web", "banks", "enrollment", "sdk")
FILES = ("pyproject.toml", "README.md", "LICENSE", "NOTICE")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the wheels are built from: a build leaves files behind."""
    copy = tmp_path_factory.mktemp("sources")
    for name in PARTS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    return copy


def installed(project: Path, place: Path) -> Path:
    """Build the project's wheel and unpack it, as an installer does."""
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(place)], cwd=project, check=True, capture_output=True, timeout=120)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(place / "site")
    return place / "site"


def run(site: Path, program: str, cwd: Path, *arguments: str) -> str:
    """What a program prints that imports from `site` before anything else."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


SERVICE = """
import speaker_tasks, web, sys
from pathlib import Path
from speaker_tasks.embedding import weights
from speaker_tasks.launcher.procfile import PROCFILE, read_procfile
from speaker_tasks.settings import Settings
from web import create_app
from web.pages import demo
site = Path(sys.argv[1])
assert Path(speaker_tasks.__file__).is_relative_to(site) and Path(web.__file__).is_relative_to(site)
client = create_app(Settings(redis_url="redis://127.0.0.1:1/0")).test_client()
for page in ("ask", "people", "enroll", "meetings", "jobs", "sign-in", "docs"):
    assert client.get(f"/{page}").status_code == 200, page
for file in ("css/pages.css", "js/ask.js", "vendor/wavesurfer.js/wavesurfer.js", "icon.svg"):
    assert client.get(f"/pages/static/{file}").status_code == 200, file
assert len(demo.archive()) > 100_000
assert not PROCFILE.exists() and list(read_procfile()) == ["web", "worker", "flower"]
for model in ("compact", "campplus"):
    assert weights.load(model, data_dir=Path("nowhere")).card.model_id.startswith(model)
print("complete")
"""


def test_the_service_is_complete_without_the_repository(sources: Path, tmp_path: Path) -> None:
    site = installed(sources, tmp_path)
    assert run(site, SERVICE, tmp_path, str(site)).strip() == "complete"


CLIENT = """
import sys
from pathlib import Path
from speaker_tasks.sdk.client import SpeakerTasks
assert Path(sys.modules["speaker_tasks"].__file__).is_relative_to(sys.argv[1])
heavy = {"celery", "flask", "numpy", "pydantic", "redis"} & set(sys.modules)
assert not heavy, heavy
print(SpeakerTasks(sys.argv[2]).models()[0]["id"])
"""


def test_the_client_alone_asks_a_service_with_httpx_and_nothing_else(sources: Path, tmp_path: Path, web: Web) -> None:
    site = installed(sources / "sdk", tmp_path)
    assert sorted(path.name for path in site.iterdir())[0] == "speaker_tasks"
    assert {path.name for path in (site / "speaker_tasks").iterdir()} == {"__init__.py", "errors.py", "sdk"}
    model = web.get("/v1/models").json()["models"][0]["id"]
    assert run(site, CLIENT, tmp_path, str(site), web.url).strip() == model
