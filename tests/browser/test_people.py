"""People: looking at banks and changing them, each change with its way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Page, expect

from speaker_tasks.client import TaskClient
from tests.browser.conftest import Open
from tests.integration.stack import Stack, Web, wait_for


def names(web: Web) -> list[str]:
    return [one["label"] for one in web.get("/v1/banks/demo/speakers").json()["speakers"]]


def open_person(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()
    page.locator("#person table").wait_for()


def expect_notice(page: Page, text: str) -> None:
    expect(page.locator("#notices .notice")).to_contain_text(text)


def answer(page: Page, text: str, action: str) -> None:
    """Fill the dialog and agree."""
    page.locator("dialog input").fill(text)
    page.locator("dialog").get_by_role("button", name=action, exact=True).click()


def test_rename_merge_move_and_remove_and_the_way_back(open_page: Open, demo_bank: TaskClient, web: Web) -> None:
    page = open_page("/people?bank=demo")
    open_person(page, "Alice")
    page.get_by_role("button", name="Rename").click()
    answer(page, "Alicia", "Rename")
    expect_notice(page, "Alice is called Alicia now")
    assert "Alicia" in names(web)

    page.locator("#notices").get_by_role("button", name="Undo").click()
    expect_notice(page, "version 3 serves now")
    assert "Alice" in names(web)

    open_person(page, "Brian")
    page.get_by_role("button", name="Move 1.ogg to another person").click()
    answer(page, "David", "Move")
    expect_notice(page, "belongs to David now")

    page.locator("#person").get_by_role("button", name="Merge").click()
    page.locator("dialog select").select_option("David")
    page.locator("dialog").get_by_role("button", name="Merge").click()
    expect_notice(page, "The recordings of Brian belong to David now")
    assert "Brian" not in names(web)

    page.get_by_text("Versions and undo").click()
    page.get_by_role("button", name="What changed").first.click()
    expect(page.locator("#diff")).to_contain_text("David")


def test_delete_for_good_says_what_goes_and_asks(open_page: Open, demo_bank: TaskClient, web: Web) -> None:
    page = open_page("/people?bank=demo")
    open_person(page, "Carol")
    page.get_by_role("button", name="Delete for good").click()
    dialog = page.locator("dialog")
    expect(dialog).to_contain_text("the voice of 4 recordings")
    expect(dialog).to_contain_text("This cannot be undone")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert "Carol" in names(web)
    page.get_by_role("button", name="Delete for good").click()
    dialog.get_by_role("button", name="Delete for good").click()
    expect_notice(page, "Carol is deleted for good")
    assert "Carol" not in names(web)
    for version in web.get("/v1/banks/demo").json()["bank"]["versions"]:
        kept = web.get(f"/v1/banks/demo/speakers?version={version}").json()["speakers"]
        assert "Carol" not in {one["label"] for one in kept}


def test_who_would_not_be_recognised(open_page: Open, demo_bank: TaskClient, web: Web) -> None:
    pair = ("李明", "王芳")
    given = [web.get(f"/v1/banks/demo/clips?speaker={name}").json()["clips"][:2] for name in pair]
    for clips, taker in zip(given, reversed(pair), strict=True):
        for clip in clips:
            where = f"{web.url}/v1/banks/demo/clips/{clip['key']}"
            assert requests.patch(where, json={"speaker": taker}, timeout=30).ok
    page = open_page("/people?bank=demo")
    page.get_by_role("button", name="Who would not be recognised?").click()
    expect(page.locator("#checked .notice")).to_be_visible()
    rows = page.locator("#table tbody tr")
    expect(rows.first.locator(".chip.doubt")).to_be_visible()
    assert rows.last.locator(".chip.good").count() == 1


def test_a_kept_recording_is_played_from_its_place(
    open_page: Open, stack: Stack, web: Web, demo_speakers: Path
) -> None:
    folder = stack.folder / "data" / "kept"
    for name in ("Alice", "Brian"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for clip in ("1.ogg", "2.ogg"):
            (folder / name / clip).write_bytes((demo_speakers / name / clip).read_bytes())
    body = {"path": str(folder)}
    job = web.post("/v1/banks/kept/enrollments", json=body).json()["job"]["id"]
    wait_for("the enrollment", lambda: web.get(f"/v1/jobs/{job}").json()["job"]["finished"])
    page = open_page("/people?bank=kept")
    open_person(page, "Alice")
    page.get_by_role("button", name="Play 1.ogg").click()
    sound = page.locator("audio")
    expect(sound).to_have_js_property("error", None)
    seconds: Any = sound.evaluate(
        "sound => new Promise((done, fail) => { setTimeout(fail, 10000);"
        " sound.readyState ? done(sound.duration) : sound.onloadedmetadata = () => done(sound.duration) })"
    )
    assert 3 < seconds < 6


def test_an_empty_service_offers_the_first_step(open_page: Open) -> None:
    page = open_page("/people")
    page.get_by_role("heading", name="Nobody is enrolled yet").wait_for()
    page.get_by_role("button", name="Use the demo's voices").click()
    expect(page.get_by_role("button", name="Alice", exact=True)).to_be_visible()
