"""Ask: a recording in, a name in words out, by file, by microphone and by keyboard alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import soundfile as sf

from speaker_tasks.client import TaskClient
from tests.browser.conftest import ARGUMENTS, CHROMIUM, Open, Visits
from tests.integration.stack import Web


def test_first_steps_lead_from_nobody_to_the_first_right_name(open_page: Open) -> None:
    page = open_page("/")
    assert page.url.endswith("/ask")
    page.get_by_role("heading", name="Nobody is enrolled yet").wait_for()
    page.get_by_role("button", name="Use the demo's voices").click()
    page.get_by_role("button", name="Carol").click()
    page.locator("#verdict").wait_for()
    assert page.locator("#verdict").inner_text().split() == ["Carol", "sure"]
    assert page.locator(".bars li").count() == 5
    assert "is needed" in page.locator(".verdict").inner_text()


def test_a_file_of_a_stranger_is_nobody(open_page: Open, demo_bank: TaskClient, web: Web, demo_speakers: Path) -> None:
    assert requests.delete(web.url + "/v1/banks/demo/speakers/Brian", timeout=30).ok
    page = open_page("/ask")
    page.set_input_files("#file", demo_speakers / "Brian" / "5.ogg")
    page.get_by_text("Nobody in this bank").wait_for()
    assert "Nearest is" in page.locator(".verdict").inner_text()
    assert page.locator(".bars li.named").count() == 0


def test_too_little_speech_and_what_is_no_sound_are_said_in_sentences(
    open_page: Open, demo_bank: TaskClient, demo_speakers: Path, tmp_path: Path
) -> None:
    samples, rate = sf.read(demo_speakers / "Alice" / "5.ogg")
    short = tmp_path / "short.wav"
    sf.write(short, samples[rate : rate + rate // 2], rate)
    text = tmp_path / "notes.wav"
    text.write_text("this is no recording")
    page = open_page("/ask")
    page.set_input_files("#file", short)
    page.get_by_text("Too little speech").wait_for()
    assert "are needed" in page.locator(".verdict").inner_text()
    page.set_input_files("#file", text)
    page.get_by_role("alert").filter(has_text="holds no sound that can be read").wait_for()


def test_this_is_alice_adds_the_recording_and_nothing_is_added_by_itself(
    open_page: Open, demo_bank: TaskClient, web: Web
) -> None:
    page = open_page("/ask")
    page.get_by_role("button", name="Alice").click()
    page.locator("#verdict").wait_for()
    assert recordings(web, "Alice") == 4
    page.get_by_role("button", name="Add to their recordings").click()
    page.locator("#added .notice", has_text="was added to Alice in demo, version 2").wait_for()
    assert recordings(web, "Alice") == 5
    page.get_by_label("This is").fill("Brian")
    page.get_by_role("button", name="Add to their recordings").click()
    page.locator("dialog", has_text="was recognised as Alice's").get_by_role("button", name="Cancel").click()
    assert recordings(web, "Brian") == 4


def recordings(web: Web, name: str) -> int:
    found = web.get("/v1/banks/demo/speakers").json()["speakers"]
    return int(next(one["recordings"] for one in found if one["label"] == name))


@pytest.fixture
def fake_microphone(playwright: Any, demo_speakers: Path, tmp_path: Path) -> Any:
    """A Chromium whose microphone hears Alice's fifth recording, over and over."""
    samples, rate = sf.read(demo_speakers / "Alice" / "5.ogg")
    sound = tmp_path / "microphone.wav"
    sf.write(sound, np.tile(samples, 3), rate, subtype="PCM_16")
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    browser = playwright.chromium.launch(
        executable_path=CHROMIUM, args=[*ARGUMENTS, *fake, f"--use-file-for-fake-audio-capture={sound}"]
    )
    yield browser
    browser.close()


def test_the_microphone_by_keyboard_alone(fake_microphone: Any, demo_bank: TaskClient, web: Web) -> None:
    visits = Visits(fake_microphone, web.url)
    page = visits.open("/ask", permissions=["microphone"])
    page.locator("#bank-field").wait_for()
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "record":
            break
    page.keyboard.press("Enter")
    page.get_by_text(re.compile(r"Stop and ask · ([4-9]|\d\d)")).wait_for()
    page.keyboard.press("Enter")
    page.locator("#verdict").wait_for()
    assert page.locator("#verdict").inner_text().startswith("Alice")
    visits.close()


def test_a_microphone_that_is_refused_is_explained(open_page: Open, demo_bank: TaskClient) -> None:
    page = open_page("/ask")
    page.get_by_role("button", name="Record", exact=True).click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "microphone" in alert.inner_text().lower()
    assert "drop a file" in alert.inner_text()
