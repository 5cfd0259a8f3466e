"""Every snippet of docs/api.md runs, in the order of the page, against the real service."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from banks.active import ActiveMode
from banks.store import BankStore
from tests.conftest import ROOT
from tests.integration.speaking import enroll
from tests.integration.stack import PROGRAMS, Stack, Web, output_of

PAGE = ROOT / "docs" / "api.md"
_SNIPPET = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(language: str) -> list[str]:
    return [code for kind, code in _SNIPPET.findall(PAGE.read_text("utf-8")) if kind == language]


@pytest.fixture(scope="module")
def service(stack: Stack, shared_web: Web, demo_speakers: Path) -> Iterator[Web]:
    """The demo's speakers are enrolled as `demo`."""
    enroll(stack, shared_web, demo_speakers, "demo", clips=4)
    yield shared_web
    store = BankStore(stack.client().redis)
    ActiveMode(store).reset()
    for name in {"demo", "copy", "back"} & set(store.names()):
        store.delete(name)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_shell_snippets_run(stack: Stack, service: Web, tmp_path: Path) -> None:
    script = "\n".join(snippets("bash")).replace("/tmp/", f"{tmp_path}/")
    assert script.count("curl") > 20
    environment = stack.environment(URL=service.url, SPEAKER_URL=service.url, PATH=f"{PROGRAMS}:/usr/bin:/bin")
    assert "event: end" in output_of(
        ["bash", "-euxo", "pipefail", "-c", script], cwd=ROOT, env=environment, seconds=120
    )


def test_the_python_snippets_run(service: Web) -> None:
    code = "\n".join(snippets("python")).replace("http://127.0.0.1:6001", service.url)
    assert "not_found" in output_of([sys.executable, "-c", code], cwd=ROOT, seconds=120)


def test_every_setting_that_the_page_names_is_one() -> None:
    from speaker_tasks.settings import Settings

    named = set(re.findall(r"SPEAKER_([A-Z_]+)", PAGE.read_text("utf-8"))) - {"URL", "KEY"}
    assert named <= {name.upper() for name in Settings.model_fields}
