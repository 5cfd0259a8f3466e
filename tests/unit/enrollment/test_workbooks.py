"""Workbooks as Excel and others really write them: read as Excel shows them, or refused in a line with a cure."""

from __future__ import annotations

import re
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import openpyxl
import psutil
import pytest
import xlwt

from enrollment import cells, parts, sources, workbook, xlsx
from enrollment.manifest import Manifest
from enrollment.report import Reason
from enrollment.roots import inside
from enrollment.workbook import Layout
from speaker_tasks.errors import Malformed, SpeakerTasksError, TooLarge, Unusable

WHO = ["Alice", "Alice", "Brian", "Brian"]
EXPECTED = [("Alice", "0001.wav"), ("Alice", "0002.wav"), ("Brian", "0003.wav"), ("Brian", "0004.wav")]
SHEET = "xl/worksheets/sheet1.xml"


def book(recording: Callable[[int], Any] = "{:04d}".format, header: bool = True) -> openpyxl.Workbook:
    """A day with four recordings, and the two sheets at the end that are no data."""
    made = openpyxl.Workbook()
    day = made.active
    day.title = "D1"
    if header:
        day.append(["rec", "b", "c", "d", "e", "speaker"])
    for number, name in enumerate(WHO, start=1):
        day.append([recording(number), 1, 2, 3, 4, name])
    made.create_sheet("stats")
    made.create_sheet("notes")
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(1, 5):
        path = tmp_path / "D1" / "wav" / f"{number:04d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def saved(made: openpyxl.Workbook, path: Path) -> Path:
    made.save(path)
    return path


def altered(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """The workbook with parts changed, as other programs write them."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: change(name, archive.read(name)) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def in_sheet(old: bytes, new: bytes) -> Callable[[str, bytes], bytes]:
    return lambda name, data: data.replace(old, new) if name == SHEET else data


def with_shared_strings(path: Path, change: Callable[[str], str] = lambda text: text) -> Path:
    """The workbook as Excel itself writes it: each text once, in a part of its own; the cells hold its number."""
    texts: list[str] = []

    def moved(match: re.Match[bytes]) -> bytes:
        texts.append(match[2].decode())
        return b'<c%s t="s"><v>%d</v></c>' % (match[1], len(texts) - 1)

    def move(name: str, data: bytes) -> bytes:
        if name.startswith("xl/worksheets/"):
            data = re.sub(rb'<c([^>]*) t="inlineStr"><is>(.*?)</is></c>', moved, data)
        if name == "xl/_rels/workbook.xml.rels":
            kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/sharedStrings"
            relationships = f'<Relationship Id="strings" Type="{kind}" Target="sharedStrings.xml"/></Relationships>'
            data = data.replace(b"</Relationships>", relationships.encode())
        return data

    altered(path, move)
    assert texts
    body = "".join(f"<si>{change(text)}</si>" for text in texts)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("xl/sharedStrings.xml", f'<sst xmlns="x">{body}</sst>')
    return path


def found(manifest: Manifest) -> list[tuple[str, str]]:
    return [(one.speaker, Path(one.path).name) for one in manifest.entries]


def test_a_recording_that_is_shown_as_0001_by_its_number_format_is_0001(folder: Path) -> None:
    made = book(recording=lambda number: number)
    for row in range(2, 6):
        made["D1"].cell(row, 1).number_format = "0000"
    assert found(workbook.read(saved(made, folder / "x.xlsx"))) == EXPECTED


def test_an_old_workbook_has_number_formats_too(folder: Path) -> None:
    made = xlwt.Workbook()
    day = made.add_sheet("D1")
    for row, (recording, speaker) in enumerate([("rec", "speaker"), *zip(range(1, 5), WHO, strict=True)]):
        day.write(row, 0, recording, xlwt.easyxf(num_format_str="0000"))
        day.write(row, 5, speaker)
    for name in ("stats", "notes"):
        made.add_sheet(name)
    made.save(str(folder / "x.xls"))
    assert found(workbook.read(folder / "x.xls")) == EXPECTED


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        (1, "0000", "0001"),
        (12345, "0000", "12345"),
        (7, '"rec"000', "rec007"),
        (7, '0000"_a"', "0007_a"),
        (1234567, "000-0000", "123-4567"),
        (7, "000-0000", "000-0007"),
        (7, "General", "7"),
        (7, 'General"号"', "7号"),
        (7, "@", "7"),
        (1234, "#,##0", "1234"),
        (2.5, "0.00", "2.50"),
        (2.5, "0.##", "2.5"),
        (3, "[Red]00;[Blue]-00", "03"),
        (-3, "00;(00)", "(03)"),
        (-3, "00", "-03"),
        (0.25, "0%", "0.25"),
        (13800138000, "General", "13800138000"),
        (43832, "yyyy-mm-dd", "2020-01-02"),
        (43832, 'm"月"d"日"', "1月2日"),
        (43832.5, "yyyy/m/d h:mm", "2020/1/2 12:00"),
        (43832.75, "h:mm AM/PM", "6:00 PM"),
        (43832, "d-mmm-yy", "2-Jan-20"),
        (1, "", "1"),
        (1, ";;;", "1"),
    ],
)
def test_a_number_reads_as_excel_shows_it(value: float, code: str, shown: str) -> None:
    assert cells.number(value, code).shown == shown


def test_a_date_is_also_looked_for_in_its_iso_form(folder: Path) -> None:
    (folder / "D1" / "wav" / "2020-01-02.wav").write_bytes(b"x")
    made = book()
    made["D1"]["A2"] = datetime(2020, 1, 2)
    made["D1"]["A2"].number_format = "d/m/yyyy"
    assert found(workbook.read(saved(made, folder / "x.xlsx")))[0] == ("Alice", "2020-01-02.wav")


@pytest.mark.parametrize("placeholder", [b"<v />", b"<v>0</v>"])
def test_formulas_that_no_program_has_calculated_are_refused_with_the_cure(folder: Path, placeholder: bytes) -> None:
    made = book()
    for row in range(2, 6):
        made["D1"].cell(row, 6).value = f'="{WHO[row - 2]}"'
    path = altered(saved(made, folder / "x.xlsx"), in_sheet(b"<v />", placeholder))
    with pytest.raises(Unusable, match=r"row 2 and 3 more: a formula without a stored result; open it in Excel.*save"):
        workbook.read(path)


def test_a_formula_with_its_result_is_read_and_one_in_another_column_does_not_matter(folder: Path) -> None:
    made = book()
    made["D1"]["F2"], made["D1"]["C3"] = '="Al"&"ice"', "=1+1"
    path = altered(
        saved(made, folder / "x.xlsx"), lambda name, data: re.sub(b'(ice"</f>)<v ?/>', rb"\1<v>Alice</v>", data)
    )
    path = altered(path, in_sheet(b'<c r="F2">', b'<c r="F2" t="str">'))
    assert found(workbook.read(path)) == EXPECTED


@pytest.mark.parametrize(
    ("part", "old", "new"),
    [
        ("xl/styles.xml", rb"<fill>.*?</fill>", b"<fill/>"),
        ("xl/styles.xml", rb"<font>", b'<font colour="mauve">'),
        ("xl/styles.xml", rb"<styleSheet", b"<styleSheet <"),
        (
            "xl/workbook.xml",
            rb"<definedNames ?/>",
            b'<definedNames><definedName name="x">#REF!</definedName></definedNames>',
        ),
        ("xl/workbook.xml", rb"<bookViews>.*?</bookViews>", b""),
        (SHEET, rb"<sheetViews>.*?</sheetViews>", b'<sheetViews><sheetView odd="1"/></sheetViews>'),
        (SHEET, rb"<dimension[^>]*>", b'<dimension ref="A1:XFD1048576"/>'),
    ],
)
def test_what_other_programs_write_oddly_beside_the_cells_does_no_harm(
    folder: Path, part: str, old: bytes, new: bytes
) -> None:
    def change(name: str, data: bytes) -> bytes:
        return re.sub(old, new, data, flags=re.DOTALL) if name == part else data

    assert found(workbook.read(altered(saved(book(), folder / "x.xlsx"), change))) == EXPECTED


def test_a_chart_is_a_tab_that_counts_and_holds_no_data(folder: Path) -> None:
    made = book()
    del made["notes"]
    made.create_chartsheet("chart")
    assert found(workbook.read(saved(made, folder / "x.xlsx"))) == EXPECTED


def test_a_hidden_sheet_does_not_count_among_the_last_and_is_named(folder: Path) -> None:
    made = book()
    made.create_sheet("_lists").sheet_state = "veryHidden"
    made["_lists"].append(["0001", 1, 2, 3, 4, "nobody"])
    manifest = workbook.read(saved(made, folder / "x.xlsx"))
    assert found(manifest) == EXPECTED
    (hidden,) = manifest.skipped
    assert (hidden.row, hidden.reason) == ("sheet '_lists'", Reason.HIDDEN)


def test_strict_open_xml_and_prefixed_names_are_read(folder: Path) -> None:
    main, relations = (
        b"http://schemas.openxmlformats.org/spreadsheetml/2006/main",
        b"schemas.openxmlformats.org/officeDocument/2006",
    )

    def strict(_: str, data: bytes) -> bytes:
        data = data.replace(main, b"http://purl.oclc.org/ooxml/spreadsheetml/main")
        return data.replace(relations, b"purl.oclc.org/ooxml/officeDocument")

    assert found(workbook.read(altered(saved(book(), folder / "x.xlsx"), strict))) == EXPECTED

    def prefixed(name: str, data: bytes) -> bytes:
        return re.sub(rb"<(/?)(?=[a-zA-Z])", rb"<\1x:", data).replace(b"xmlns=", b"xmlns:x=") if name == SHEET else data

    assert found(workbook.read(altered(saved(book(), folder / "y.xlsx"), prefixed))) == EXPECTED


def test_an_escaped_carriage_return_is_no_part_of_a_name(folder: Path) -> None:
    made = book()
    made["D1"]["F2"] = "Alice_x000D_"
    made["D1"]["A3"] = "_x0030_002"
    assert found(workbook.read(saved(made, folder / "x.xlsx"))) == EXPECTED
    assert parts.unescaped("_x005F_x000D_") == "_x000D_", "so Excel writes the text itself"


def test_readings_beside_japanese_text_are_no_part_of_a_name(folder: Path) -> None:
    made = book()
    made["D1"]["F2"] = "東京"
    reading = '<r><t>東</t></r><r><t>京</t></r><rPh sb="0" eb="2"><t>トウキョウ</t></rPh>'
    path = with_shared_strings(saved(made, folder / "x.xlsx"), lambda text: text.replace("<t>東京</t>", reading))
    assert found(workbook.read(path)) == [("東京", "0001.wav"), *EXPECTED[1:]]


@pytest.mark.parametrize("name", ["x.xls", "x.xlsm", "x.csv", "x.dat"])
def test_what_a_file_is_its_content_says_and_not_its_ending(folder: Path, name: str) -> None:
    saved(book(), folder / "x.xlsx").rename(folder / name)
    assert found(sources.read(str(folder / name))) == EXPECTED


def test_an_old_workbook_called_xlsx_and_a_table_called_xls_are_read(folder: Path) -> None:
    made = xlwt.Workbook()
    for name in ("D1", "stats", "notes"):
        sheet = made.add_sheet(name)
        sheet.write(0, 0, "rec")
        sheet.write(1, 0, "0001")
        sheet.write(1, 5, "Alice")
    made.save(str(folder / "old.xlsx"))
    assert found(sources.read(str(folder / "old.xlsx"))) == EXPECTED[:1]
    (folder / "text.xls").write_text("speaker\tpath\nAlice\tD1/wav/0001.wav\n")
    assert found(sources.read(str(folder / "text.xls"))) == EXPECTED[:1]


def test_a_workbook_whose_beginning_is_lost_is_refused(folder: Path) -> None:
    path = saved(book(), folder / "x.xlsx")
    data = path.read_bytes()
    directory = data[data.index(b"PK\x01\x02") :]
    path.write_bytes(data[:10] + directory)  # it points before the beginning
    with pytest.raises(Unusable, match="not an Excel workbook"):
        workbook.read(path)


@pytest.mark.parametrize(
    ("name", "data", "cure"),
    [
        ("x.xlsx", bytes.fromhex("d0cf11e0a1b11ae1") + bytes(4096), "if it has a password, remove it"),
        (
            "x.xlsx",
            bytes.fromhex("d0cf11e0a1b11ae1") + "EncryptedPackage".encode("utf-16-le"),
            "has a password; remove its",
        ),
        ("x.xls", b"<html><table><tr><td>a</td></tr></table></html>", "is a web page; save it as .xlsx"),
        (
            "x.xls",
            b'<?xml version="1.0"?><Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet">',
            "save it as .xlsx",
        ),
        ("x.xlsx", b"", "empty .0 bytes.; save it as .xlsx"),
        ("x.xlsx", b"PK\x03\x04 torn", "not an Excel workbook"),
        ("x.xlsb", b"PK\x03\x04 ... xl/workbook.bin ...", "binary workbook .*save it as .xlsx"),
        ("x.ods", b"PK\x03\x04" + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet", "OpenDocument.*as .xlsx"),
    ],
)
def test_what_cannot_be_read_says_in_one_line_what_to_do(tmp_path: Path, name: str, data: bytes, cure: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(Unusable, match=cure) as error:
        sources.read(str(tmp_path / name))
    assert "\n" not in error.value.message


@pytest.mark.parametrize("header", ["missing", "present", "of other words"])
def test_a_workbook_without_a_header_row_does_not_lose_its_first_row(folder: Path, header: str) -> None:
    made = book(header=header == "present")
    if header == "of other words":
        made["D1"].insert_rows(1)
        made["D1"]["A1"], made["D1"]["F1"] = "Aufnahme", "Wer"
    manifest = workbook.read(saved(made, folder / "x.xlsx"))
    assert found(manifest) == EXPECTED
    outcomes = [(one.row, one.reason) for one in manifest.skipped]
    assert outcomes == ([("sheet 'D1', row 1", Reason.MISPLACED)] if header == "of other words" else [])


def test_a_first_row_of_data_whose_recording_is_missing_is_named(folder: Path) -> None:
    (folder / "D1" / "wav" / "0001.wav").unlink()
    manifest = workbook.read(saved(book(header=False), folder / "x.xlsx"))
    assert found(manifest) == EXPECTED[1:]
    assert [(one.row, one.reason) for one in manifest.skipped] == [("sheet 'D1', row 1", Reason.MISSING)]


def test_blank_rows_above_the_header_do_not_matter(folder: Path) -> None:
    made = book()
    made["D1"].insert_rows(1, 3)
    assert found(workbook.read(saved(made, folder / "x.xlsx"))) == EXPECTED


@pytest.mark.parametrize("columns", [("A", "F"), ("a", "f"), (0, 5), ("rec", "SPEAKER"), ("0", "5")])
def test_columns_are_named_by_letter_index_or_header(folder: Path, columns: tuple[Any, Any]) -> None:
    assert found(workbook.read(saved(book(), folder / "x.xlsx"), layout=Layout(*columns))) == EXPECTED


def test_a_column_that_is_not_there_is_told(folder: Path) -> None:
    manifest = workbook.read(saved(book(), folder / "x.xlsx"), layout=Layout("A", "ID"))
    assert [one.message for one in manifest.skipped] == [
        "no column 'ID' in the header; there is rec, b, c, d, e, speaker"
    ]
    for column in (-1, 20_000):
        with pytest.raises(Malformed, match="no column"):
            Layout(speaker=column)


def test_a_missing_recording_is_named_with_the_path_that_was_looked_for(folder: Path) -> None:
    made = book()
    made["D1"]["A5"] = "0009"
    (missing,) = workbook.read(saved(made, folder / "x.xlsx")).skipped
    assert missing.reason is Reason.MISSING
    assert missing.message == f"there is no file {folder}/D1/wav/0009.wav"


def test_a_speaker_whose_rows_are_all_wrong_is_a_speaker_who_comes_out_empty(folder: Path) -> None:
    made = book()
    made["D1"].append(["0009", 1, 2, 3, 4, "Carol"])
    assert workbook.read(saved(made, folder / "x.xlsx")).speakers == ("Alice", "Brian", "Carol")


def test_merged_cells_fill_their_block_also_across_columns(folder: Path) -> None:
    made = book()
    day = made["D1"]
    day["F2"], day["F3"], day["E2"] = None, None, "Carol"
    day.merge_cells("E2:F3")
    assert [name for name, _ in found(workbook.read(saved(made, folder / "x.xlsx")))] == [
        "Carol",
        "Carol",
        "Brian",
        "Brian",
    ]


class TestBombs:
    """Small files that other readers need gigabytes for."""

    @pytest.fixture(autouse=True)
    def _cheap(self) -> Any:
        process = psutil.Process()
        before, began = process.memory_info().rss, time.process_time()
        yield
        assert process.memory_info().rss - before < 500e6
        assert time.process_time() - began < 20

    @pytest.mark.parametrize("cell", ["XFD200000", "A1048576", "XFD1"])
    def test_a_stray_cell_costs_nothing(self, folder: Path, cell: str) -> None:
        made = book()
        made["D1"][cell].font = openpyxl.styles.Font(bold=True)
        assert found(workbook.read(saved(made, folder / "x.xlsx"))) == EXPECTED
        made["D1"][cell] = "stray"
        assert found(workbook.read(saved(made, folder / "x.xlsx"))) == EXPECTED

    def test_a_merge_of_the_whole_sheet_costs_nothing(self, folder: Path) -> None:
        made = book()
        made["D1"].merge_cells("A7:F7")
        path = altered(saved(made, folder / "x.xlsx"), in_sheet(b"A7:F7", b"A1:XFD1048576"))
        assert found(workbook.read(path)) == EXPECTED

    def test_merges_that_overlap_without_end_are_refused(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = book(recording=lambda number: f"{number:04d}", header=True)
        made["D1"].merge_cells("A7:F7")
        one, many = b'<mergeCell ref="A7:F7" />', b'<mergeCell ref="A2:F9" />' * 99_000
        monkeypatch.setattr(workbook, "MAX_FILLED", 1000)
        path = altered(saved(made, folder / "x.xlsx"), in_sheet(one, many))
        with pytest.raises(Unusable, match="overlap; unmerge"):
            workbook.read(path)

    @pytest.mark.parametrize(
        "filling",
        [
            b'<row r="9">' + b'<c r="A9"/>' * 3_000_000 + b"</row>",
            b"<a>" * 1_000_000,
            b"<!--" + b"-" * 40_000_000,
            b"<a " + b"x" * 3_000_000 + b"/>",
        ],
        ids=["cells", "depth", "comment", "one tag"],
    )
    def test_a_sheet_that_unpacks_to_much_more_than_its_size_is_refused(self, folder: Path, filling: bytes) -> None:
        path = altered(saved(book(), folder / "x.xlsx"), in_sheet(b"</sheetData>", filling + b"</sheetData>"))
        with pytest.raises((TooLarge, Unusable)):
            workbook.read(path)

    def test_more_cells_texts_or_rows_than_allowed_are_refused_before_they_are_kept(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = with_shared_strings(saved(book(), folder / "x.xlsx"))
        assert found(workbook.read(path)) == EXPECTED
        for module, limit in (
            (parts, "MAX_TAGS"),
            (parts, "MAX_CHARACTERS"),
            (xlsx, "MAX_STRINGS"),
            (parts, "MAX_PARTS"),
            (workbook, "MAX_ROWS"),
            (workbook, "MAX_FILE_BYTES"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(module, limit, 3)
                with pytest.raises(TooLarge) as error:
                    workbook.read(path)
                assert "\n" not in error.value.message

    def test_a_document_type_is_refused(self, folder: Path) -> None:
        entities = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'
        path = altered(saved(book(), folder / "x.xlsx"), in_sheet(b"<worksheet", entities + b"<worksheet"))
        with pytest.raises(Unusable, match="document type"):
            workbook.read(path)

    def test_a_zip_directory_of_a_million_entries_is_not_opened(self, tmp_path: Path) -> None:
        entry = b"PK\x01\x02" + bytes(24) + b"\x01\x00" + bytes(16) + b"a"
        directory = entry * 1_000_000
        end = b"PK\x05\x06" + bytes(8) + len(directory).to_bytes(4, "little") + bytes(6)
        (tmp_path / "x.xlsx").write_bytes(b"PK\x03\x04" + bytes(60) + directory + end)
        with pytest.raises(TooLarge, match="more than 10000 files"):
            workbook.read(tmp_path / "x.xlsx")


@pytest.mark.parametrize(
    "pattern",
    [
        "{recording:>1200000000}",
        "{root.__class__}/{recording}",
        "{recording!r}",
        "{recording[0]}",
        "{other}/{recording}",
        "{{recording}}",
        "{recording",
        "{root}/fixed.wav",
        "{recording}" + "x" * 600,
        "{recording}\0",
    ],
)
def test_a_path_pattern_is_no_language(pattern: str) -> None:
    with pytest.raises(Malformed, match="path pattern"):
        Layout(pattern=pattern)


def test_a_pattern_cannot_make_a_path_without_end(folder: Path) -> None:
    made = book(recording=lambda number: "x" * 900)
    manifest = workbook.read(saved(made, folder / "x.xlsx"), layout=Layout(pattern="{root}" + "/{recording}" * 30))
    assert {one.reason for one in manifest.skipped} == {Reason.BAD_ROW}
    assert max(len(one.path) + len(one.message) for one in manifest.skipped) < 1000


def test_a_workbook_does_not_tell_what_lies_outside_the_roots(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "0001.wav").write_bytes(b"x")
    path = saved(book(), folder / "x.xlsx")
    layout = Layout(pattern=f"{outside}/{{recording}}.wav")
    manifest = workbook.read(path, layout=layout, inside=partial(inside, roots=[folder]))
    assert manifest.entries == ()
    assert {one.reason for one in manifest.skipped} == {Reason.OUTSIDE_ROOTS}, "whether it is there or not"
    climbing = Layout(pattern=f"{{root}}/../{outside.name}/{{recording}}.wav")
    manifest = workbook.read(path, layout=climbing, inside=partial(inside, roots=[folder]))
    assert {one.reason for one in manifest.skipped} == {Reason.OUTSIDE_ROOTS}


def test_backslashes_in_a_recording_are_understood_and_do_not_lead_out(folder: Path) -> None:
    (folder / "D1" / "wav" / "morning").mkdir()
    (folder / "D1" / "wav" / "morning" / "1.wav").write_bytes(b"x")
    made = book()
    made["D1"]["A2"], made["D1"]["A3"] = "morning\\1", "..\\..\\secret"
    manifest = workbook.read(saved(made, folder / "x.xlsx"))
    assert found(manifest)[0] == ("Alice", "1.wav")
    assert [one.reason for one in manifest.skipped] == [Reason.OUTSIDE_ROOTS]


def test_damaged_workbooks_never_end_in_a_trace(folder: Path) -> None:
    whole = with_shared_strings(saved(book(), folder / "x.xlsx")).read_bytes()
    for cut in range(0, len(whole), 97):
        for data in (whole[:cut], whole[:cut] + b"\xff" + whole[cut + 1 :]):
            (folder / "y.xlsx").write_bytes(data)
            with suppress(SpeakerTasksError):  # anything else fails the test
                assert all(Path(one.path).is_file() for one in workbook.read(folder / "y.xlsx").entries)
