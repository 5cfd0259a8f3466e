"""The lock files hold what `pyproject.toml` asks for, by hash, and name no registry and no path."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

BASE, TEST = ROOT / "requirements.lock", ROOT / "requirements-test.lock"


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned(lock: Path) -> dict[str, set[str]]:
    """Versions by package; several where Python versions differ."""
    versions: dict[str, set[str]] = {}
    for line in re.sub(r"\\\n\s*", " ", lock.read_text()).splitlines():
        requirement = Requirement(line.partition(" --hash")[0])
        assert "--hash=sha256:" in line, f"{requirement} has no hash"
        versions.setdefault(canonicalize_name(requirement.name), set()).add(str(requirement.specifier)[2:])
    return versions


def wanted(requirements: list[str]) -> list[Requirement]:
    return [requirement for text in requirements if (requirement := Requirement(text)).name != "speaker-tasks"]


@pytest.mark.parametrize(
    ("lock", "extras"), [(BASE, ["build"]), (TEST, ["build", "tensorflow", "test", "dev"])], ids=["base", "test"]
)
def test_every_dependency_is_pinned_in_its_range(lock: Path, extras: list[str], project: dict[str, Any]) -> None:
    asked = wanted(project["dependencies"])
    for extra in extras:
        asked += wanted(project["optional-dependencies"][extra])
    versions = pinned(lock)
    missing = [
        str(requirement)
        for requirement in asked
        if not any(requirement.specifier.contains(v) for v in versions.get(canonicalize_name(requirement.name), ()))
    ]
    assert missing == [], f"{missing} not in {lock.name}: run `make lock`"


def test_what_users_run_is_what_the_tests_run_on() -> None:
    base, test = pinned(BASE), pinned(TEST)
    assert {name: versions for name, versions in base.items() if test.get(name) != versions} == {}


def test_users_install_neither_tensorflow_nor_torch_nor_librosa() -> None:
    assert not {"tensorflow", "tensorflow-cpu", "torch", "librosa", "numba"} & pinned(BASE).keys()


def test_the_locks_name_no_registry_and_no_path() -> None:
    for lock in (BASE, TEST):
        assert not re.search(r"https?:|file:|--index|--find-links|@ ", lock.read_text())
