"""Every page in both languages, light and dark, on a phone and on a desk: readable by everybody, quiet to the net."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from speaker_tasks.client import TaskClient
from tests.browser.conftest import Open, overflow, violations

PAGES = ("ask", "people", "enroll", "meetings", "jobs")


def settled(page: Page, name: str) -> Page:
    """The page with everything on it that a reader may see."""
    if name == "ask":
        page.get_by_role("button", name="Alice").click()
        page.locator("#verdict").wait_for()
    if name == "people":
        page.get_by_role("button", name="王芳", exact=True).click()
        page.locator("#person table").wait_for()
        page.locator("summary").click()
    if name == "enroll":
        page.locator("#use-demo").click()
        page.locator("#preview table").wait_for()
    if name == "jobs":
        page.locator("#audit table").wait_for()
    return page


@pytest.mark.parametrize("name", PAGES)
def test_nothing_stands_in_the_way_of_a_screen_reader_or_a_phone(
    open_page: Open, demo_bank: TaskClient, name: str
) -> None:
    for language, dark, phone in (("en", False, False), ("zh-TW", True, True)):
        page = settled(open_page(f"/{name}", language=language, dark=dark, phone=phone), name)
        assert page.locator("html").get_attribute("lang") == language
        assert overflow(page) <= 0, "it scrolls sideways"
        assert violations(page) == [], f"{language}, dark {dark}, phone {phone}"


def test_the_buttons_change_language_and_theme_for_good(open_page: Open, demo_bank: TaskClient) -> None:
    page = open_page("/people")
    expect(page.get_by_role("heading", level=1)).to_have_text("People")
    with page.expect_event("load"):  # the heading is there before the script that the next button needs
        page.locator("#language").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("人員")
    page.locator("#theme").click()
    page.goto(page.url.replace("people", "jobs"))
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("heading", level=1)).to_have_text("工作與狀態")


def test_the_keyboard_reaches_everything_and_shows_where_it_is(open_page: Open, demo_bank: TaskClient) -> None:
    page = open_page("/people")
    page.locator("#table").wait_for()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        where = page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return [e.tagName, e.textContent.trim(), s.outlineStyle !== 'none'] })()"
        )
        assert where[2] or where[0] == "BODY", f"no focus is seen on {where[1]!r}"
        seen.add(where[1])
    assert {"People", "Who would not be recognised?", "Alice", "陈静", "Versions and undo"} <= seen
    page.get_by_role("button", name="Alice", exact=True).focus()
    page.keyboard.press("Enter")
    page.locator("#person table").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Alice", "the focus stays where it was"
