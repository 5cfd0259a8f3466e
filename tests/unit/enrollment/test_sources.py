"""Each source of recordings becomes the same manifest; rows that cannot be used are named, never lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import openpyxl
import pytest
import xlwt

from enrollment import dictionary, folder, parts, sources, table, workbook
from enrollment.manifest import Manifest
from enrollment.places import Places, content_hash
from enrollment.report import Reason
from enrollment.roots import OutsideRoots
from enrollment.sources import Options
from enrollment.workbook import Layout
from speaker_tasks.errors import Malformed, NotFound, TooLarge, Unusable

HEADER = ["录音", "b", "c", "d", "e", "说话人"]
Sheets = dict[str, list[list[Any]]]


def touch(root: Path, *files: str) -> None:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def xlsx(path: Path, sheets: Sheets, merged: dict[str, str] | None = None) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
        if merged and name in merged:
            sheet.merge_cells(merged[name])
    book.save(path.with_suffix(".xlsx"))
    return path.with_suffix(".xlsx")


def xls(path: Path, sheets: Sheets, merged: dict[str, str] | None = None) -> Path:
    book = xlwt.Workbook()
    for name, rows in sheets.items():
        sheet = book.add_sheet(name)
        block = _block(merged[name]) if merged and name in merged else None
        for i, row in enumerate(rows):
            for j, value in enumerate(row):
                if value is not None and not (block and block[0] <= i <= block[1] and block[2] <= j <= block[3]):
                    sheet.write(i, j, value)
        if block:
            sheet.write_merge(*block, rows[block[0]][block[2]])
    book.save(str(path.with_suffix(".xls")))
    return path.with_suffix(".xls")


def _block(cells: str) -> tuple[int, int, int, int]:
    first, last = cells.split(":")
    return int(first[1:]) - 1, int(last[1:]) - 1, ord(first[0]) - 65, ord(last[0]) - 65


@pytest.fixture(params=[xlsx, xls], ids=["xlsx", "xls"])
def make(request: pytest.FixtureRequest) -> Callable[..., Path]:
    return request.param  # type: ignore[no-any-return]


def row(recording: Any, speaker: Any) -> list[Any]:
    return [recording, None, None, None, None, speaker]


def reasons(manifest: Manifest) -> dict[str, Reason]:
    return {outcome.row: outcome.reason for outcome in manifest.skipped}


REST: Sheets = {"统计": [["x"]], "说明": [["y"]]}


def test_a_workbook_names_the_recordings_of_each_day_and_its_last_two_sheets_are_no_data(make, tmp_path: Path) -> None:
    touch(tmp_path, "1月2日/wav/a.wav", "1月2日/wav/b.wav", "1月3日/wav/a.wav")
    book = make(
        tmp_path / "会议",
        {
            "1月2日": [HEADER, row("a", "林一"), row("b", "Ann")],
            "1月3日": [HEADER, row("a", "林一")],
            "统计": [HEADER, row("a", "nobody")],
            "说明": [["text"]],
        },
    )
    manifest = workbook.read(book)
    assert [(one.speaker, one.path, one.row) for one in manifest.entries] == [
        ("林一", str(tmp_path / "1月2日/wav/a.wav"), "sheet '1月2日', row 2"),
        ("Ann", str(tmp_path / "1月2日/wav/b.wav"), "sheet '1月2日', row 3"),
        ("林一", str(tmp_path / "1月3日/wav/a.wav"), "sheet '1月3日', row 2"),
    ]
    assert manifest.skipped == ()


def test_odd_rows_are_handled_or_reported_by_sheet_and_row(make, tmp_path: Path) -> None:
    touch(tmp_path, "d/wav/a.wav", "d/wav/7.wav", "d/wav/rec01.wav")
    book = make(
        tmp_path / "book",
        {
            "d": [
                HEADER,
                row("  a ", "\u3000林一 "),
                row(None, None),
                row("   ", ""),
                row(7, 1024.0),
                row("ｒｅｃ０１", "Ａｎｎ"),
                row("a.wav", "Ann"),
                row("a", None),
                row(None, "Bob"),
                row("missing", "Bob"),
                row("../../etc/passwd", "Bob"),
                row("a", "x" * 200),
            ],
            **REST,
        },
    )
    manifest = workbook.read(book)
    found = [(one.speaker, Path(one.path).name) for one in manifest.entries]
    assert found == [("林一", "a.wav"), ("1024", "7.wav"), ("Ann", "rec01.wav"), ("Ann", "a.wav")]
    assert reasons(manifest) == {
        "sheet 'd', row 8": Reason.BAD_ROW,
        "sheet 'd', row 9": Reason.BAD_ROW,
        "sheet 'd', row 10": Reason.MISSING,
        "sheet 'd', row 11": Reason.OUTSIDE_ROOTS,
        "sheet 'd', row 12": Reason.BAD_NAME,
    }


def test_a_recording_is_looked_for_as_it_is_written_first(make, tmp_path: Path) -> None:
    touch(tmp_path, "d/wav/錄音（上）.wav", "d/wav/錄音　下.wav", "d/wav/ｂ.wav", "d/wav/b.wav", "d/wav/c(1).wav")
    names = ["錄音（上）", "錄音　下", "ｂ", "ｃ（１）", "（沒有）"]
    book = make(tmp_path / "book", {"d": [HEADER, *(row(name, "林一") for name in names)], **REST})
    manifest = workbook.read(book)
    found = [Path(one.path).name for one in manifest.entries]
    assert found == ["錄音（上）.wav", "錄音　下.wav", "ｂ.wav", "c(1).wav"]
    (missing,) = manifest.skipped
    assert (missing.row, missing.reason) == ("sheet 'd', row 6", Reason.MISSING)


def test_behind_a_url_nobody_can_look_and_the_usual_width_is_taken(make, tmp_path: Path) -> None:
    book = make(tmp_path / "book", {"d": [HEADER, row("ｒｅｃ０１", "Ann")], **REST})
    (entry,) = workbook.read(book, root="s3://bucket").entries
    assert entry.path == "s3://bucket/d/wav/rec01.wav"


def test_a_cell_whose_formula_failed_is_no_speaker_and_no_recording(tmp_path: Path) -> None:
    touch(tmp_path, "d/wav/a.wav", "d/wav/b.wav")
    rows = [HEADER, row("a", "#N/A"), row("b", "Ann"), row("#REF!", "Ann")]
    old, codes = xlwt.Workbook(), {"#N/A": 42, "#REF!": 23}
    for name, cells in {"d": rows, **REST}.items():
        sheet = old.add_sheet(name)
        for i, values in enumerate(cells):
            for j, value in enumerate(values):
                if value in codes:
                    sheet.row(i).set_cell_error(j, codes[value])
                else:
                    sheet.write(i, j, value)
    old.save(str(tmp_path / "old.xls"))
    for book in (xlsx(tmp_path / "new", {"d": rows, **REST}), tmp_path / "old.xls"):
        manifest = workbook.read(book)
        assert manifest.speakers == ("Ann",)
        assert reasons(manifest) == {"sheet 'd', row 2": Reason.BAD_ROW, "sheet 'd', row 4": Reason.BAD_ROW}
        assert [one.message for one in manifest.skipped] == [
            "a cell holds the error #N/A",
            "a cell holds the error #REF!",
        ]


def test_a_merged_cell_names_the_speaker_of_all_its_rows(make, tmp_path: Path) -> None:
    touch(tmp_path, "d/wav/a.wav", "d/wav/b.wav", "d/wav/c.wav")
    rows = [HEADER, row("a", "林一"), row("b", None), row("c", "Ann")]
    book = make(tmp_path / "book", {"d": rows, **REST}, {"d": "F2:F3"})
    assert [one.speaker for one in workbook.read(book).entries] == ["林一", "林一", "Ann"]


def test_columns_are_found_by_header_and_other_layouts_are_options(make, tmp_path: Path) -> None:
    touch(tmp_path, "audio/d_a.flac")
    book = make(tmp_path / "book", {"d": [["Who ", "File"], ["Ann", "a"]], "notes": [["z"]]})
    layout = Layout("file", "WHO", skip_sheets=("notes",), skip_last=0, pattern="{root}/audio/{sheet}_{recording}.flac")
    (entry,) = workbook.read(book, layout=layout).entries
    assert (entry.speaker, entry.path) == ("Ann", str(tmp_path / "audio/d_a.flac"))


def test_a_sheet_without_the_column_is_reported(make, tmp_path: Path) -> None:
    touch(tmp_path, "d/wav/a.wav")
    book = make(tmp_path / "book", {"d": [["rec", "who"], ["a", "Ann"]], "e": [["x"], ["a"]]})
    manifest = workbook.read(book, layout=Layout("rec", "who", skip_last=0))
    assert len(manifest.entries) == 1
    assert reasons(manifest) == {"sheet 'e', row 1": Reason.BAD_ROW}


def test_a_workbook_without_data_sheets_says_what_to_do(make, tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="skip-last"):
        workbook.read(make(tmp_path / "book", {"a": [HEADER], "b": [HEADER]}))
    with pytest.raises(Unusable, match="3 sheets, and the last 5"):
        workbook.read(make(tmp_path / "more", {name: [HEADER] for name in "abc"}), layout=Layout(skip_last=5))


def test_a_plain_list_of_names_and_files_is_read_by_its_first_row(make, tmp_path: Path) -> None:
    touch(tmp_path, "陳_1.wav", "d/b.mp3", "c.m4a")
    rows = [["備註", "姓名", "檔名"], ["", "陳怡君", "陳_1.wav"], ["", "林志明", "b.mp3"], ["", "林志明", "c"]]
    manifest = workbook.read(make(tmp_path / "book", {"d": rows, "e": [["合計", 3]], "f": [["x"]], "g": [["y"]]}))
    assert [(one.speaker, one.path) for one in manifest.entries] == [
        ("陳怡君", str(tmp_path / "陳_1.wav")),
        ("林志明", str(tmp_path / "d/b.mp3")),
        ("林志明", str(tmp_path / "c.m4a")),
    ]
    unread = {f"sheet {name!r}": Reason.MISPLACED for name in "efg"}
    assert reasons(manifest) == {"sheet 'd', row 1": Reason.HEADER, **unread}
    assert manifest.skipped[0].message.endswith("the people are in the column '姓名', the recordings in '檔名'")


def test_of_several_columns_the_one_is_taken_that_messages_advise(make, tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    rows = [["name", "speaker", "file", "recording"], ["x", "Ann", "a.wav", "7"]]
    assert workbook.read(make(tmp_path / "book", {"d": rows})).speakers == ("Ann",)
    with pytest.raises(Unusable, match="'speaker' and 'file'"):
        workbook.read(make(tmp_path / "unclear", {"d": [["name", "person", "file"], ["x", "Ann", "a.wav"]]}))


def test_the_first_row_of_a_plain_list_is_nobody_whatever_lies_beside_it(make, tmp_path: Path) -> None:
    touch(tmp_path, "Recording.m4a", "a.wav")
    manifest = workbook.read(make(tmp_path / "book", {"d": [["Name", "Recording"], ["Ann", "a.wav"]]}))
    assert manifest.speakers == ("Ann",)


def test_a_workbook_whose_recordings_lie_as_a_conferences_do_is_one(make, tmp_path: Path) -> None:
    """Its other columns may well be called as those of a list: who wrote the minutes, what a recorder called a file."""
    touch(tmp_path, "d/wav/0001.wav", "old.wav", "poster.wav")
    day = [["編號", "員工", "檔案", "", "", "與會者"], ["0001", "Minutes", "old.wav", "", "", "Ann"]]
    listed = [["姓名", "檔案"], ["Bob", "poster.wav"]]
    manifest = workbook.read(make(tmp_path / "book", {"d": day, "e": listed, "f": [["y"]]}))
    assert [(one.speaker, one.path) for one in manifest.entries] == [("Ann", str(tmp_path / "d/wav/0001.wav"))]
    day[0][0], day[0][5] = "錄音", "姓名"
    away = workbook.read(make(tmp_path / "away", {"d": day, "e": listed, "f": [["y"]]}), root="s3://bucket")
    assert [(one.speaker, one.path) for one in away.entries] == [("Ann", "s3://bucket/d/wav/0001.wav")]


def test_only_the_seconds_that_a_plain_list_names_are_enrolled(make, tmp_path: Path) -> None:
    touch(tmp_path, "meeting.wav")
    rows = [
        ["姓名", "檔案", "開始", "結束"],
        ["Ann", "meeting.wav", 0, 4.5],
        ["Bob", "meeting.wav", "4,5", 9],
        ["Eve", "meeting.wav", "0:09", "0:12"],
    ]
    manifest = workbook.read(make(tmp_path / "book", {"d": rows}))
    assert [(one.speaker, one.start, one.end) for one in manifest.entries] == [("Ann", 0, 4.5), ("Bob", 4.5, 9)]
    assert manifest.skipped[0].message.endswith("only the seconds that 開始, 結束 say")
    assert reasons(manifest)["sheet 'd', row 4"] is Reason.BAD_ROW
    rows = [["姓名", "檔案", "開始", "開始時間"], ["Ann", "meeting.wav", 3, 4]]
    with pytest.raises(Unusable):
        workbook.read(make(tmp_path / "unclear", {"d": rows}))
    (tmp_path / "unclear.csv").write_text("姓名,檔案,開始,開始時間\nAnn,meeting.wav,3,4\n")
    with pytest.raises(Unusable, match="several columns for the start"):
        table.read(tmp_path / "unclear.csv")


def test_a_recording_that_may_be_either_of_two_is_nobodys(make, tmp_path: Path) -> None:
    touch(tmp_path, "1.wav", "d/1.wav", "d/2.wav", "d/2.mp3")
    rows = [["name", "file"], ["Ann", "1.wav"], ["Bob", "2"]]
    manifest = workbook.read(make(tmp_path / "book", {"d": rows}))
    assert [(one.speaker, one.path) for one in manifest.entries] == [("Bob", str(tmp_path / "d/2.wav"))]
    assert reasons(manifest)["sheet 'd', row 2"] is Reason.BAD_ROW


def test_a_sheet_that_is_to_be_skipped_is_skipped_as_its_tab_is_written(make, tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    rows = [["name", "file"], ["Ann", "a.wav"]]
    book = make(tmp_path / "book", {"１月": rows, "2": rows})
    (entry,) = workbook.read(book, layout=Layout(skip_sheets=("１月",))).entries
    assert entry.row == "sheet '2', row 2"


def test_a_conference_workbook_stays_one_whatever_its_columns_are_called(make, tmp_path: Path) -> None:
    touch(tmp_path, "d/wav/a.wav", "d/wav/b.wav")
    day = [["錄音", "檔案", "b", "c", "d", "姓名"], row("a", "Ann"), row("b", "Bob")]
    manifest = workbook.read(make(tmp_path / "book", {"d": day, **REST}))
    assert [one.speaker for one in manifest.entries] == ["Ann", "Bob"]


def test_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    for name in ("x.xlsx", "x.xls"):
        (tmp_path / name).write_bytes(b"not a workbook")
        with pytest.raises(Unusable, match="not an"):
            workbook.read(tmp_path / name)
    with pytest.raises(NotFound):
        workbook.read(tmp_path / "none.xlsx")
    for pattern in ("{root}/{other}", "{root", "{root}/fixed.wav"):
        with pytest.raises(Malformed):
            Layout(pattern=pattern)


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = xlsx(tmp_path / "book", {"d": [HEADER, *(row("a", "b") for _ in range(100))], **REST})
    monkeypatch.setattr(parts, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(TooLarge):
        workbook.read(book)


def test_the_dictionary_is_written_as_the_first_server_wrote_it_and_read_back(tmp_path: Path) -> None:
    touch(tmp_path, "d/wav/a.wav", "d/wav/b.wav")
    book = xlsx(tmp_path / "book", {"d": [HEADER, row("a", "林一"), row("b", "林一")], **REST})
    manifest = workbook.read(book)
    dictionary.write(manifest, tmp_path / "morning_speaker_dict.json")
    text = (tmp_path / "morning_speaker_dict.json").read_text(encoding="utf-8")
    paths = [str(tmp_path / "d/wav/a.wav"), str(tmp_path / "d/wav/b.wav")]
    assert text == json.dumps({"林一": paths}, ensure_ascii=False, indent=4)
    assert [one.path for one in dictionary.read(tmp_path / "morning_speaker_dict.json").entries] == paths


def test_a_dictionary_with_odd_entries(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text(
        json.dumps({"Ann": ["a.wav", 3, "s3://b/c.wav"], " ": ["x"], "Bob": "b.wav", "Eve": []}), encoding="utf-8"
    )
    manifest = dictionary.read(tmp_path / "d.json")
    assert [one.path for one in manifest.entries] == [str(tmp_path / "a.wav"), "s3://b/c.wav"]
    assert manifest.speakers == ("Ann", "Bob", "Eve")
    assert set(reasons(manifest).values()) == {Reason.BAD_ROW, Reason.BAD_NAME}
    for text in ("[1]", "{", ""):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(Unusable):
            dictionary.read(tmp_path / "bad.json")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_with_parts_of_recordings(tmp_path: Path, encoding: str, separator: str) -> None:
    lines = [
        ["Speaker", "Path", "Start", "End"],
        ["林一", "a.wav", "", ""],
        ["Ann", "long.wav", "10", "12.5"],
        [],
        ["Ann", "long.wav", "5", "5"],
        ["Ann", "long.wav", "x", ""],
        ["", "b.wav", "", ""],
        ["Ann", "", "", ""],
    ]
    text = "\n".join(separator.join(line) for line in lines)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    manifest = table.read(tmp_path / "t.csv")
    assert [(one.speaker, Path(one.path).name, one.start, one.end) for one in manifest.entries] == [
        ("林一", "a.wav", None, None),
        ("Ann", "long.wav", 10, 12.5),
    ]
    assert list(reasons(manifest)) == ["line 5", "line 6", "line 7", "line 8"]


@pytest.mark.parametrize("names", [("林一", "王小明", "許功蓋"), ("陳怡君",), ("Ann", "黃志豪")])
def test_a_table_that_excel_wrote_in_taiwan(tmp_path: Path, names: tuple[str, ...]) -> None:
    lines = ["speaker,path", *(f"{name},錄音（{number}）.wav" for number, name in enumerate(names))]
    (tmp_path / "t.csv").write_bytes("\r\n".join(lines).encode("cp950"))
    manifest = sources.read(str(tmp_path / "t.csv"))
    assert manifest.speakers == names
    assert Path(manifest.entries[0].path).name == "錄音（0）.wav"


def test_a_table_of_unclear_encoding_is_refused_until_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("speaker,path\n陳,a.wav\n".encode("cp950"))
    with pytest.raises(Unusable, match=r"t\.csv is not UTF-8"):
        sources.read(str(tmp_path / "t.csv"))
    assert sources.read(str(tmp_path / "t.csv"), Options.from_dict({"encoding": "big5"})).speakers == ("陳",)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-32", "utf-8"])
@pytest.mark.parametrize("first", ["", "sep=;\r\n", '"sep=;"\n', "SEP=;\r"])
def test_a_table_as_excel_saves_it_in_its_dialects(tmp_path: Path, encoding: str, first: str) -> None:
    text = first + "speaker;path;start;end\r\nAlice;a.wav;0,5;5,5\r\n林一;b.wav;0;6\r\n"
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    manifest = sources.read(str(tmp_path / "t.csv"))
    assert [(one.speaker, one.start, one.end) for one in manifest.entries] == [("Alice", 0.5, 5.5), ("林一", 0, 6)]
    assert manifest.skipped == ()


def test_a_decimal_comma_in_a_table_with_commas_is_a_bad_row_and_not_another_time(tmp_path: Path) -> None:
    rows = ["Ann,a.wav,0,5,5,5", 'Ann,a.wav,"0,5","5,5"', "Ann,a.wav,1_0,20"]
    (tmp_path / "t.csv").write_text("\n".join(["speaker,path,start,end", *rows]))
    manifest = table.read(tmp_path / "t.csv")
    assert manifest.entries == ()
    assert manifest.speakers == ("Ann",), "who comes out empty"
    assert [one.message for one in manifest.skipped] == [
        "6 cells, but 4 in the header: quote what holds a separator",
        "not a time in seconds: 0,5",
        "not a time in seconds: 1_0",
    ]


def test_quotes_that_do_not_match_are_refused_in_our_words_instead_of_swallowing_rows(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('speaker,path\nAnn,a.wav\n"Bob,b.wav\nEve,c.wav\n')
    with pytest.raises(Unusable, match=r"t\.csv, line 3: the quotes .* do not match; mend it"):
        table.read(tmp_path / "t.csv")


def test_a_cell_of_several_lines_is_one_cell_and_later_rows_keep_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('speaker,note,path\nAnn,"one\ntwo",a.wav\nBob,,\n')
    manifest = table.read(tmp_path / "t.csv")
    assert [one.speaker for one in manifest.entries] == ["Ann"]
    assert list(reasons(manifest)) == ["line 4"]


def test_a_table_with_two_columns_of_one_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("speaker,path,Speaker\nAnn,a.wav,Bob\n")
    with pytest.raises(Unusable, match="several columns 'speaker'"):
        table.read(tmp_path / "t.csv")


def test_backslashes_in_paths_are_understood_and_drives_of_windows_are_named(tmp_path: Path) -> None:
    paths = [r"Ann,D1\wav\a.wav", r"Ann,.\b.wav", r"Bob,C:\wav\c.wav", r"Bob,\\nas\c.wav"]
    (tmp_path / "t.csv").write_text("\n".join(["speaker,path", *paths]))
    manifest = table.read(tmp_path / "t.csv")
    assert [one.path for one in manifest.entries] == [f"{tmp_path}/D1/wav/a.wav", f"{tmp_path}/b.wav"]
    assert set(reasons(manifest).values()) == {Reason.MISSING}
    assert manifest.speakers == ("Ann", "Bob")
    (tmp_path / "d.json").write_text(json.dumps({"Ann": [r"D1\wav\a.wav", r"C:\c.wav"]}))
    manifest = sources.read(str(tmp_path / "d.json"))
    assert [one.path for one in manifest.entries] == [f"{tmp_path}/D1/wav/a.wav"]
    assert "write it relative" in manifest.skipped[0].message


def test_a_speaker_who_stands_twice_in_a_dictionary_has_both_lists(tmp_path: Path) -> None:
    (tmp_path / "d.json").write_text('{"Ann": ["a.wav"], "Bob": ["b.wav"], "Ann": ["c.wav"]}')
    manifest = sources.read(str(tmp_path / "d.json"))
    found = [(one.speaker, Path(one.path).name) for one in manifest.entries]
    assert found == [("Ann", "a.wav"), ("Bob", "b.wav"), ("Ann", "c.wav")]


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, '{"Ann": [' + "[]," * 300_000 + "1]}"],
    ids=["lists in lists", "objects in objects", "empty lists"],
)
def test_a_dictionary_that_is_a_bomb_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "d.json").write_text(text)
    with pytest.raises((Unusable, TooLarge)):
        sources.read(str(tmp_path / "d.json"))


def test_a_dictionary_in_utf_16_or_gb_18030_is_read(tmp_path: Path) -> None:
    text = json.dumps({"王伟": ["录音.wav"], "李娜": []}, ensure_ascii=False)
    for encoding in ("utf-16", "gb18030"):
        (tmp_path / "d.json").write_bytes(text.encode(encoding))
        assert sources.read(str(tmp_path / "d.json")).speakers == ("王伟", "李娜")


def test_a_failed_formula_in_a_table_is_no_speaker(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("speaker,path\n#N/A,a.wav\nAnn,b.wav\nAnn,#REF!\n")
    manifest = table.read(tmp_path / "t.csv")
    assert manifest.speakers == ("Ann",)
    assert reasons(manifest) == {"line 2": Reason.BAD_ROW, "line 4": Reason.BAD_ROW}


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("title,file\nAnn,a.wav\n")
    with pytest.raises(Unusable, match=r"no column 'speaker' .*title, file"):
        sources.read(str(tmp_path / "t.csv"))


def test_an_rttm_file_beside_a_recording_gives_its_parts_to_their_speakers(tmp_path: Path) -> None:
    touch(tmp_path, "meeting.wav", "other.wav", "Eve/e.wav")
    (tmp_path / "meeting.rttm").write_text(
        "SPKR-INFO meeting 1 <NA> <NA> <NA> unknown Ann <NA> <NA>\n"
        "SPEAKER meeting 1 0.5 2.25 <NA> <NA> Ann <NA> <NA>\n"
        "SPEAKER meeting 1 3.0 1.0 <NA> <NA> 林一 <NA> <NA>\n"
        "SPEAKER elsewhere 1 3.0 1.0 <NA> <NA> Bob <NA> <NA>\n"
        "SPEAKER meeting 1 x 1.0 <NA> <NA> Bob <NA> <NA>\n"
        "SPEAKER meeting 1 9\n"
    )
    manifest = folder.scan(tmp_path)
    parts = [(one.speaker, Path(one.path).name, one.start, one.end) for one in manifest.entries]
    assert parts == [("Ann", "meeting.wav", 0.5, 2.75), ("林一", "meeting.wav", 3, 4), ("Eve", "e.wav", None, None)]
    assert reasons(manifest) == {
        "meeting.rttm, line 5": Reason.BAD_ROW,
        "meeting.rttm, line 6": Reason.BAD_ROW,
        "other.wav": Reason.MISPLACED,
    }


def test_an_rttm_file_that_is_of_another_recording_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "meeting.wav", "Eve/e.wav")
    (tmp_path / "meeting.rttm").write_text("SPEAKER meeting-2020 1 0.5 2.25 <NA> <NA> Ann <NA> <NA>\n")
    (outcome,) = folder.scan(tmp_path).skipped
    assert (outcome.row, outcome.reason) == ("meeting.rttm", Reason.BAD_ROW)
    assert "no SPEAKER line is of 'meeting'; there is meeting-2020" in outcome.message


def test_a_folder_behind_a_url_is_read_like_a_local_one() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("林一/a.wav", "Ann/b.flac", "Ann/.c.wav", "Ann/notes.txt", "loose.wav"):
        memory.pipe(f"/speakers/{name}", b"sound")
    manifest = sources.read("memory://speakers")
    assert {(one.speaker, one.path) for one in manifest.entries} == {
        ("林一", "memory://speakers/林一/a.wav"),
        ("Ann", "memory://speakers/Ann/b.flac"),
    }
    assert set(reasons(manifest).values()) == {Reason.HIDDEN, Reason.NOT_AUDIO, Reason.MISPLACED}
    places = Places(urls=("memory://speakers",))
    with places.local("memory://speakers/Ann/b.flac") as path:
        assert path.read_bytes() == b"sound"
        assert content_hash(path) == content_hash(path)
    assert not path.exists()
    with pytest.raises(NotFound), places.local("memory://speakers/Ann/gone.wav"):
        pass
    with (
        pytest.raises(TooLarge),
        Places(urls=("memory://speakers",), max_bytes=3).local("memory://speakers/Ann/b.flac"),
    ):
        pass


@pytest.mark.parametrize(
    "url",
    [
        "s3://other/a.wav",
        "s3://bucket2/a.wav",
        "s3://bucket/../other/a.wav",
        "s3://bucket/%2e%2e/other/a.wav",
        "simplecache::s3://bucket/a.wav",
        "s3://bucket/a.zip::file:///etc/passwd",
        "file:///etc/passwd",
    ],
)
def test_urls_outside_the_allowed_ones_are_refused(url: str) -> None:
    with pytest.raises(OutsideRoots), Places(urls=("s3://bucket",)).local(url):
        pass


def test_unknown_kinds_and_options_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "x.doc", "x.zip")
    with pytest.raises(Unusable, match=r"none of.*\.xlsx"):
        sources.read(str(tmp_path / "x.doc"))
    with pytest.raises(Unusable, match="upload"):
        sources.read(str(tmp_path / "x.zip"))
    with pytest.raises(NotFound):
        sources.read(str(tmp_path / "none"))
    with pytest.raises(Malformed, match="rooot"):
        Options.from_dict({"rooot": "/x"})
    for bad in ({"skip_last": "2"}, {"recording": 1.5}, {"skip_sheets": "a"}, {"root": 1}, {"skip_last": True}):
        with pytest.raises(Malformed):
            Options.from_dict(bad)
    with pytest.raises(Malformed, match="no encoding 'klingon'"):
        Options.from_dict({"encoding": "klingon"})
    assert Options.from_dict({"skip_sheets": ["a"], "root": None}).skip_sheets == ("a",)


def test_a_table_with_the_words_that_people_write_is_read(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_bytes("姓名;檔案名稱;開始時間;備註\n陳怡君;a.wav;0,5;好\n".encode("cp950"))
    manifest = table.read(tmp_path / "people.csv")
    (entry,) = manifest.entries
    assert (entry.speaker, entry.path, entry.start) == ("陳怡君", str(tmp_path / "a.wav"), 0.5)
    assert reasons(manifest) == {"line 1": Reason.HEADER}
    assert "'姓名', the recordings in '檔案名稱', and of these only" in manifest.skipped[0].message
    (tmp_path / "two.csv").write_text("Name,Person,File\nAnn,Bob,a.wav\n")
    with pytest.raises(Unusable, match=r"no column 'speaker' .*its header is name, person, file"):
        table.read(tmp_path / "two.csv")


def test_names_of_recordings_are_no_people(tmp_path: Path) -> None:
    """`name` may be what a recording is called: then it is no list of people."""
    (tmp_path / "files.csv").write_text("name,path,bytes\n1.wav,Ann/1.wav,9\n")
    with pytest.raises(Unusable, match="has recordings in the column 'name'"):
        table.read(tmp_path / "files.csv")
    (tmp_path / "moods.csv").write_text("file,label\nAnn/1.wav,happy\n")
    with pytest.raises(Unusable, match="no column 'speaker'"):
        table.read(tmp_path / "moods.csv")
