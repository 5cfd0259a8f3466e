"""A service with keys: the sign-in, and no button that the key may not press."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from speaker_tasks.apikeys import new_key
from speaker_tasks.client import TaskClient
from tests.browser.conftest import Visits, violations
from tests.integration.stack import Stack, Web, entries

KEYS = {scope: new_key() for scope in ("read", "recognize", "admin")}


@pytest.fixture(scope="module")
def keyed(stack: Stack) -> Iterator[Web]:
    web = stack.web(workers=1, threads=8, SPEAKER_API_KEYS=entries(KEYS))
    yield web
    web.process.stop()


@pytest.fixture
def locked(chromium: Any, keyed: Web) -> Iterator[Visits]:
    found = Visits(chromium, keyed.url)
    yield found
    found.close()


def sign_in(visits: Visits, scope: str, path: str) -> Any:
    page = visits.open(path)
    page.get_by_label("API key").fill(KEYS[scope])
    with page.expect_event("load"):  # the sign-in has a heading too, and no button works before its script is there
        page.keyboard.press("Enter")
    return page


def sign_out(page: Any) -> None:
    with page.expect_event("load"):
        page.get_by_role("button", name="Sign out (admin-key)").click()
    page.get_by_label("API key").wait_for()


def test_a_read_key_sees_no_button_that_it_may_not_press(locked: Visits, demo_bank: TaskClient) -> None:
    page = sign_in(locked, "read", "/")  # leads to the first page that the key may use
    page.get_by_role("button", name="Alice", exact=True).click()
    page.locator("#person table").wait_for()
    for name in ("Rename", "Merge", "Remove", "Delete", "Move", "default"):
        assert page.get_by_role("button", name=name).count() == 0, name
    assert page.locator(".nav a").all_inner_texts() == ["People", "Jobs"]
    page.goto(locked.url + "/enroll")
    expect(page.get_by_role("heading", level=1)).to_have_text("Your key may not use this page")
    assert violations(page) == []


def test_an_admin_changes_a_bank_and_signs_out(locked: Visits, demo_bank: TaskClient) -> None:
    page = sign_in(locked, "admin", "/people")
    page.get_by_role("button", name="Make it the default").click()
    expect(page.locator("#notices")).to_contain_text("ask demo now")
    sign_out(page)
    assert violations(page) == []
    page.goto(locked.url + "/people")
    assert page.url.endswith("/sign-in?next=people")


def test_a_sign_out_leaves_no_names_of_meetings_in_the_browser(locked: Visits, demo_bank: TaskClient) -> None:
    page = sign_in(locked, "admin", "/meetings")
    page.evaluate("localStorage.setItem('speaker_meetings', JSON.stringify({job: 'dismissals.ogg'}))")
    sign_out(page)
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]
    assert page.url.endswith("/sign-in"), "a reload forgets nothing more"


def test_a_wrong_key_is_told_and_a_recognize_key_asks_the_default(locked: Visits, demo_bank: TaskClient) -> None:
    page = locked.open("/")
    page.get_by_label("API key").fill("spk_wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not one of the service's")
    page.get_by_label("API key").fill(KEYS["recognize"])
    page.keyboard.press("Enter")
    page.locator("#record").wait_for()
    assert not page.locator("#bank-field").is_visible()
