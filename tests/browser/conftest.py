"""A real Chromium on the shared stack: what a page asks of others, or complains about, fails the test.

Debian's Chromium is taken (`apt-get install chromium fonts-noto-cjk`; `make test` does so for root); without one the
tests are skipped.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from speaker_tasks.client import TaskClient
from tests.integration.stack import Stack, Web, wait_for

sync_api = pytest.importorskip("playwright.sync_api")
AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--force-color-profile=srgb",
    "--autoplay-policy=no-user-gesture-required",
]
TIMEOUT_MS = 60_000
"""For what a page does, enrolling the demo's voices included, on a machine that is busy."""
PHONE = {"width": 375, "height": 720}
DESKTOP = {"width": 1280, "height": 860}
ALLOWED_ERRORS = ("Failed to load resource: the server responded with a status of",)
"""What Chromium writes to its console for answers that a test asks for."""

sync_api.expect.set_options(timeout=TIMEOUT_MS)
Open = Callable[..., Any]


@pytest.fixture(scope="package")  # its event loop runs in this thread until it ends
def playwright() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here: apt-get install chromium fonts-noto-cjk")
    with sync_api.sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def chromium(playwright: Any) -> Iterator[Any]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield browser
    browser.close()


class Visits:
    """The pages that a test opens, each in a browser profile of its own, and what they did that they must not."""

    def __init__(self, browser: Any, url: str) -> None:
        self.browser, self.url = browser, url
        self.contexts: list[Any] = []
        self.outside: list[str] = []
        self.complaints: list[str] = []

    def open(
        self, path: str = "/", *, language: str = "en", dark: bool = False, phone: bool = False, **more: Any
    ) -> Any:
        """A page of the service in a fresh profile."""
        scheme = "dark" if dark else "light"
        size = PHONE if phone else DESKTOP
        context = self.browser.new_context(locale=language, color_scheme=scheme, viewport=size, **more)
        context.set_default_timeout(TIMEOUT_MS)
        self.contexts.append(context)
        page = context.new_page()
        page.on("request", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._listen)
        page.goto(self.url + path)
        return page

    def _note(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("blob", "data") and f"{parts.scheme}://{parts.netloc}" != self.url:
            self.outside.append(request.url)

    def _listen(self, message: Any) -> None:
        complains = message.type in ("error", "warning") and not message.text.startswith(ALLOWED_ERRORS)
        if complains and message.location["url"].startswith(self.url):  # axe, which the tests run, is of no address
            self.complaints.append(f"{message.location['url']}: {message.text}")

    def close(self) -> None:
        for context in self.contexts:
            context.close()
        assert not self.outside, "a page asked another place than the service"
        assert not self.complaints, "the browser's console has errors"


@pytest.fixture
def visits(chromium: Any, web: Web) -> Iterator[Visits]:
    """Visits of the shared service, whose banks are empty at first."""
    found = Visits(chromium, web.url)
    yield found
    found.close()


@pytest.fixture
def open_page(visits: Visits) -> Open:
    return visits.open


@pytest.fixture
def demo_bank(stack: Stack, web: Web) -> TaskClient:
    """The bank `demo` with the demo's people, as a page makes it."""
    enroll(web, "demo", web.get("/pages/demo.zip").content)
    return stack.client()


def enroll(web: Web, bank: str, archive: bytes) -> None:
    """Enroll an archive over HTTP and wait for the end."""
    made = web.post(f"/v1/banks/{bank}/enrollments", data=archive, headers={"Content-Type": "application/zip"})
    job = made.json()["job"]["id"]
    wait_for("the enrollment", lambda: web.get(f"/v1/jobs/{job}").json()["job"]["finished"])


def violations(page: Any) -> list[str]:
    """What axe has against the page, by WCAG 2.2 A and AA and its best practices."""
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['help']}: {node['target']} {node['html'][:120]}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


def overflow(page: Any) -> int:
    """By how many pixels the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
