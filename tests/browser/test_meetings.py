"""Meetings: who spoke when, with names to correct. The answers are of the form that `/v1/timelines` describes."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Open, overflow, violations
from tests.browser.meeting import JOB, Service
from tests.integration.stack import Web, wait_for


def test_a_meeting_is_named_corrected_undone_and_enrolled_from(
    open_page: Open, demo_speakers: Path, tmp_path: Path
) -> None:
    page = open_page("/meetings")
    service = Service(page)
    page.reload()
    page.set_input_files("#file", demo_speakers / "Alice" / "5.ogg")
    expect(page.locator("#timeline")).to_contain_text("3 people in")
    assert page.locator(".lane").count() == 3
    assert page.locator(".turn").count() == 24
    expect(page.locator("#timeline")).to_contain_text("5.ogg")
    expect(page.locator("#past")).to_contain_text("5.ogg")  # what this browser sent, it calls by its name
    assert page.locator(".board .lane-wave").count() == 1

    page.get_by_role("button", name="Name unknown-1").click()
    page.locator("dialog input").fill("Eve")
    page.locator("dialog").get_by_role("button", name="Name", exact=True).click()
    expect(page.locator("#notices")).to_contain_text("unknown-1 is called Eve now")
    page.get_by_role("button", name="Undo the last correction").click()
    expect(page.locator("#timeline")).to_contain_text("unknown-1")

    first = page.locator("#turns select").first
    first.select_option("王芳")
    expect(page.locator("#notices")).to_contain_text("is 王芳's now")
    assert service.sent[-1] == {"action": "reassign", "turn": 1, "speaker": "王芳", "revision": 0}

    page.get_by_role("button", name="Enrol unknown-1").click()
    page.locator("dialog input").fill("Eve")
    page.get_by_role("button", name="Next").click()
    page.locator("dialog input").fill("staff")
    page.locator("dialog").get_by_role("button", name="Enrol", exact=True).click()
    expect(page.locator("#notices")).to_contain_text("Eve is enrolled in staff, version 2, with 12 clips")

    page.get_by_role("button", name="Play Alice 00:01").or_(page.get_by_role("button", name="Play 王芳 00:01")).click()
    sound = page.locator("audio")
    assert sound.evaluate("sound => sound.src").startswith("blob:")
    sound.evaluate("sound => { sound.pause(); sound.currentTime = 0 }")
    page.locator(".board .lane-wave").click(position={"x": 200, "y": 20})
    wait_for("the sound from where the click was", lambda: sound.evaluate("sound => sound.currentTime > 0.1"))
    forms = page.get_by_role("group", name="Download").get_by_role("link")
    assert [link.get_attribute("href") for link in forms.all()] == [
        f"/v1/timelines/{JOB}?format={form}" for form in ("rttm", "srt", "vtt", "json", "png")
    ]


@pytest.mark.parametrize(("language", "dark", "phone"), [("en", False, False), ("zh-TW", True, True)])
def test_a_timeline_is_readable_by_everybody(open_page: Open, language: str, dark: bool, phone: bool) -> None:
    page = open_page("/meetings", language=language, dark=dark, phone=phone)
    Service(page)
    page.goto(page.url + f"?job={JOB}")
    page.locator(".turn").first.wait_for()
    page.locator("#zoom").fill("4")
    assert overflow(page) <= 0
    assert violations(page) == []


def test_the_real_service_names_the_speakers(open_page: Open, web: Web, demo_bank: object, demo_speakers: Path) -> None:
    if "/v1/timeline" not in web.get("/openapi.json").json()["paths"]:
        pytest.skip("this service has no /v1/timeline")
    page = open_page("/meetings")
    page.select_option("#bank", "demo")
    page.set_input_files("#file", demo_speakers / "Alice" / "5.ogg")
    expect(page.locator("#timeline .voice").first).to_contain_text("Alice", timeout=120_000)
