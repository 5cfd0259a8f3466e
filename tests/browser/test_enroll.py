"""Enrol: what people have (a folder, a zip, a workbook, a CSV) into a bank, with a preview and a report."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path

import numpy as np
import openpyxl
import soundfile as sf
from playwright.sync_api import Page, expect

from tests.browser.conftest import Open
from tests.integration.stack import Web


def people_folder(demo_speakers: Path, folder: Path, clips: int = 2) -> Path:
    """A folder of two people, and a clip of Alice that is too short."""
    for name in ("Alice", "王芳"):
        (folder / name).mkdir(parents=True)
        for number in range(1, clips + 1):
            source = demo_speakers / name / f"{number}.ogg"
            (folder / name / source.name).write_bytes(source.read_bytes())
    samples, rate = sf.read(demo_speakers / "Alice" / "4.ogg")
    sf.write(folder / "Alice" / "short.wav", samples[: int(0.7 * rate)], rate)
    return folder


def enrolled(page: Page, bank: str) -> None:
    page.fill("#bank", bank)
    page.locator("#preview button.primary").click()
    page.locator("#report .notice").first.wait_for()


def test_a_folder_with_a_preview_a_report_and_what_was_left_out(
    open_page: Open, web: Web, demo_speakers: Path, tmp_path: Path
) -> None:
    folder = people_folder(demo_speakers, tmp_path / "people")
    page = open_page("/enroll")
    page.set_input_files("#folder", folder)
    expect(page.locator("#preview")).to_contain_text("2 people, 5 recordings. Nothing is enrolled yet.")
    assert web.get("/v1/banks").json()["banks"] == []
    enrolled(page, "team")
    expect(page.locator("#report .notice").first).to_contain_text("4 recordings of 2 people are enrolled in team")
    first = page.locator("#report tbody tr").first
    expect(first).to_contain_text("too little speech")
    page.select_option("#outcome", "enrolled")
    expect(page.locator("#report tbody tr")).to_have_count(4)
    with page.expect_download() as saved:
        page.get_by_role("link", name="Download for Excel").click()
    assert saved.value.path().read_bytes().startswith(b"\xef\xbb\xbf"), "the mark by which Excel knows UTF-8"
    page.get_by_role("button", name="Enrol what was left out (1)").click()
    expect(page.locator("dialog")).to_contain_text("too little speech: 1")
    page.get_by_role("button", name="Enrol them all the same").click()
    expect(page.locator("#report .notice").first).to_contain_text("5 recordings of 2 people are enrolled in team")


def test_a_workbook_with_its_recordings_by_sheet(open_page: Open, demo_speakers: Path, tmp_path: Path) -> None:
    folder = tmp_path / "conference"
    folder.mkdir()
    book = openpyxl.Workbook()
    book.remove(book.active)
    for day, clip in (("Day 1", "1"), ("Day 2", "2")):
        sheet = book.create_sheet(day)
        sheet.append(["speaker", "recording"])
        for name in ("Alice", "王芳"):
            place = folder / day / name
            place.mkdir(parents=True)
            (place / f"{clip}.ogg").write_bytes((demo_speakers / name / f"{clip}.ogg").read_bytes())
            sheet.append([name, f"{name}/{clip}"])
    book.save(folder / "list.xlsx")
    page = open_page("/enroll")
    page.set_input_files("#folder", folder)
    row = page.locator("#preview tbody tr", has_text="王芳")
    expect(row).to_have_text("王芳112")  # by the columns' names
    expect(page.locator("#preview .notice").first).to_contain_text("names from the column 'speaker'")
    page.get_by_text("Is the workbook laid out otherwise?").click()
    page.get_by_label("Column of the recording").fill("recording")
    page.get_by_label("Column of the speaker").fill("speaker")
    page.get_by_label("Where a recording lies").fill("{root}/{sheet}/{recording}.ogg")
    page.get_by_label("Last sheets without data").fill("0")
    page.get_by_role("button", name="Preview again").click()
    expect(row).to_have_text("王芳112")
    expect(page.locator("#preview thead")).to_contain_text("Sheet Day 1")
    enrolled(page, "conference")
    expect(page.locator("#report .notice").first).to_contain_text("4 recordings of 2 people are enrolled")


def test_a_table_that_names_a_recording_which_is_not_there(
    open_page: Open, demo_speakers: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "table"
    (folder / "clips").mkdir(parents=True)
    for name in ("Alice", "Brian"):
        (folder / "clips" / f"{name}.ogg").write_bytes((demo_speakers / name / "1.ogg").read_bytes())
    with (folder / "people.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["speaker", "path"])
        writer.writerows([["Alice", "clips/Alice.ogg"], ["Brian", "clips/Brian.ogg"], ["Eve", "/etc/passwd"]])
        writer.writerow(["Carol", "clips/Carol.ogg"])
    page = open_page("/enroll")
    page.set_input_files("#folder", folder)
    preview = page.locator("#preview")
    expect(preview).to_contain_text("4 people, 2 recordings")
    page.get_by_text("What is left out (2)").click()
    expect(preview).to_contain_text("outside of what may be read")
    expect(preview).to_contain_text("file missing")
    enrolled(page, "listed")
    expect(page.locator("#report .notice").first).to_contain_text("no recording could be used: Eve, Carol")


def test_a_zip_and_a_trial_that_writes_nothing(open_page: Open, web: Web, demo_speakers: Path, tmp_path: Path) -> None:
    folder = people_folder(demo_speakers, tmp_path / "people")
    packed = tmp_path / "people.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for path in folder.rglob("*.*"):
            file.write(path, path.relative_to(folder))
    page = open_page("/enroll", language="zh-TW")
    page.set_input_files("#files", packed)
    page.get_by_text("試跑").click()
    enrolled(page, "試")
    expect(page.locator("#report .notice").first).to_contain_text("未寫入任何資料")
    assert web.get("/v1/banks").json()["banks"] == []


def test_what_cannot_be_enrolled_is_said_before_anything_is_sent(
    open_page: Open, demo_speakers: Path, tmp_path: Path
) -> None:
    page = open_page("/enroll")
    table, note = tmp_path / "people.csv", tmp_path / "note.txt"
    table.write_text("speaker,path\nAlice,1.ogg\n")
    note.write_text("Alice")
    page.set_input_files("#files", table)
    expect(page.get_by_role("alert")).to_contain_text("people.csv came without its recordings")
    page.set_input_files("#files", note)
    expect(page.get_by_role("alert")).to_contain_text("no recording among these files")
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"PK\x03\x04 nothing")
    page.set_input_files("#files", broken)
    expect(page.get_by_role("alert")).to_contain_text("archive is broken")


def test_loose_recordings_are_those_of_one_person_whom_the_reader_names(open_page: Open, demo_speakers: Path) -> None:
    page = open_page("/enroll", language="zh-TW")
    page.set_input_files("#files", [demo_speakers / "Alice" / f"{number}.ogg" for number in (1, 2)])
    page.locator("dialog input").fill("林志明")
    page.locator("dialog .primary").click()
    expect(page.locator("#preview tbody tr")).to_have_text("林志明2")


def test_progress_and_cancel(open_page: Open, web: Web, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    folder = tmp_path / "many"
    for person in range(3):
        (folder / f"person {person}").mkdir(parents=True)
        for clip in range(5):
            sound = noise.normal(0, 0.1, 60 * 16_000).astype(np.float32)
            sf.write(folder / f"person {person}" / f"{clip}.flac", sound, 16_000)
    page = open_page("/enroll")
    page.set_input_files("#folder", folder)
    page.fill("#bank", "many")
    page.locator("#preview button.primary").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#report .notice").first).to_contain_text("Canceled. The bank is as it was.")
    assert web.get("/v1/banks").json()["banks"] == []
