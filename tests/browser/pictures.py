"""`python -m tests.browser.pictures [URL]`: the pictures of docs/pages.md, of a service that runs.

Without an address a service is started on the demo's voices. Every page is taken in English and 繁體中文, light and
dark, on a desk and a phone, into a folder to look at; those of the docs go to docs/images.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM, enroll
from tests.conftest import ROOT
from tests.integration.stack import Web, running_stack

IMAGES = ROOT / "docs" / "images"
PAGES = ("ask", "people", "enroll", "meetings", "jobs")
LOOKS = {
    "en-light-desk": {"locale": "en", "color_scheme": "light", "viewport": {"width": 1180, "height": 860}},
    "zh-dark-desk": {"locale": "zh-TW", "color_scheme": "dark", "viewport": {"width": 1180, "height": 860}},
    "zh-light-phone": {"locale": "zh-TW", "color_scheme": "light", "viewport": {"width": 375, "height": 812}},
    "en-dark-phone": {"locale": "en", "color_scheme": "dark", "viewport": {"width": 375, "height": 812}},
}
KEPT = {f"{page}-en-light-desk": f"pages-{page}" for page in PAGES} | {"ask-zh-dark-phone": "pages-ask-phone"}


def settled(page: Page, name: str) -> None:
    """Bring the page to what its picture shows."""
    if name == "ask":
        page.locator("#samples button", has_text="Carol").click()
        page.locator("#verdict").wait_for()
    if name == "people":
        page.locator("#table button", has_text="Brian").click()
        page.locator("#person table").wait_for()
    if name == "enroll":
        page.locator("#use-demo").click()
        page.locator("#preview table").wait_for()
    if name == "meetings":
        page.get_by_role("button", name=re.compile("demo's meeting|示範會議")).click()
        page.locator(".board .lane-wave").wait_for(timeout=120_000)
        page.wait_for_timeout(1500)
    if name == "jobs":
        page.locator("#audit table").wait_for()
    page.wait_for_timeout(500)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


def take(browser: Browser, url: str, name: str, look: dict[str, Any], file: Path) -> None:
    """One picture, as high as the page, up to 1,100 pixels."""
    context = browser.new_context(**look)
    page = context.new_page()
    page.goto(f"{url}/{name}")
    settled(page, name)
    height = int(page.evaluate("document.documentElement.scrollHeight"))
    page.set_viewport_size({"width": look["viewport"]["width"], "height": min(height, 1100)})
    page.screenshot(path=file)
    context.close()


def everything(url: str, folder: Path) -> None:
    """All pictures into the folder, and those of the docs to their place."""
    looks = {**LOOKS, "zh-dark-phone": LOOKS["zh-light-phone"] | {"color_scheme": "dark"}}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for name in PAGES:
            for look, options in looks.items():
                take(browser, url, name, options, folder / f"{name}-{look}.png")
        browser.close()
    for taken, kept in KEPT.items():
        shutil.copy(folder / f"{taken}.png", IMAGES / f"{kept}.png")


class _Folders:
    """What `running_stack` asks for a folder."""

    def mktemp(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=name))


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="pictures-"))
    if len(sys.argv) > 1:
        everything(sys.argv[1].rstrip("/"), folder)
    else:
        with running_stack(_Folders()) as stack:  # type: ignore[arg-type]
            stack.worker()
            web: Web = stack.web(workers=1)
            enroll(web, "demo", web.get("/pages/demo.zip").content)
            everything(web.url, folder)
    print(f"look at them in {folder}")


if __name__ == "__main__":
    main()
