"""What an archive unpacked to: folders of speakers, or a list with its recordings beside it."""

from __future__ import annotations

import json
from pathlib import Path

import openpyxl
import pytest

from enrollment.report import Reason
from enrollment.sources import Options, read_unpacked
from speaker_tasks.errors import Malformed, Unusable


def recording(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"RIFF....WAVE")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Alice", "王芳"):
        recording(tmp_path / "clips" / f"{name}.wav")
    return tmp_path


def test_a_table_at_the_top_says_whose_the_recordings_are(folder: Path) -> None:
    (folder / "people.csv").write_text("speaker,path\nAlice,clips/Alice.wav\n王芳,clips/王芳.wav\n")
    found = read_unpacked(folder)
    assert [entry.speaker for entry in found.entries] == ["Alice", "王芳"]
    assert found.skipped == ()


def test_what_a_list_names_outside_of_the_archive_is_left_out(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.wav"
    recording(secret)
    rows = ["speaker,path", "Alice,clips/Alice.wav", f"Eve,{secret}", "Eve,../../etc/passwd", "Bob,clips/Bob.wav"]
    (folder / "people.csv").write_text("\n".join(rows))
    found = read_unpacked(folder)
    assert [entry.speaker for entry in found.entries] == ["Alice"]
    assert [one.reason for one in found.skipped] == [Reason.OUTSIDE_ROOTS, Reason.OUTSIDE_ROOTS, Reason.MISSING]
    assert found.speakers == ("Alice", "Eve", "Bob")
    assert found.skipped[2].path == "clips/Bob.wav"


def test_a_link_out_of_the_folder_is_not_followed(folder: Path) -> None:
    (folder / "clips" / "link.wav").symlink_to("/etc/hostname")
    (folder / "people.json").write_text(json.dumps({"Alice": ["clips/Alice.wav"], "Eve": ["clips/link.wav"]}))
    found = read_unpacked(folder)
    assert [entry.speaker for entry in found.entries] == ["Alice"]
    assert found.skipped[0].reason is Reason.OUTSIDE_ROOTS


def test_another_list_beside_the_speakers_folders_is_no_matter(folder: Path) -> None:
    (folder / "sizes.csv").write_text("file,bytes\nx,1\n")
    assert read_unpacked(folder).speakers == ("clips",)


def test_a_list_alone_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("who,where\nAlice,a.wav\n")
    with pytest.raises(Unusable, match=r"no column 'path' .*who, where"):
        read_unpacked(tmp_path)


def test_a_workbook_that_names_what_is_not_there_says_so_without_the_place_it_was_unpacked_to(folder: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["姓名", "檔案"], ["Alice", "clips/Alice.wav"], ["Bob", "Bob.wav"]):
        book.active.append(row)
    book.save(folder / "list.xlsx")
    _header, missing = read_unpacked(folder).skipped
    assert missing.message.startswith("there is no file Bob.wav, nor Sheet/Bob.wav")
    assert str(folder) not in str(missing)


def test_a_layout_is_for_workbooks(folder: Path) -> None:
    with pytest.raises(Malformed, match="for workbooks"):
        read_unpacked(folder, Options(skip_last=0))
