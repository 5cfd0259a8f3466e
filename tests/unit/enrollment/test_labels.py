"""Names that are nobody's name, names that cannot be seen, and options that are for another kind of source."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from banks.names import clean_name
from enrollment import sources
from enrollment.flow import refuse_empty
from enrollment.manifest import Entry, Manifest, clean_cell
from enrollment.report import Reason, Report
from enrollment.sources import Options
from speaker_tasks.errors import Malformed, Unusable


def meetings(folder: Path, label: str, *more: str) -> Path:
    """Two meetings with the same label in both RTTM files."""
    for name in ("m1", "m2"):
        soundfile.write(folder / f"{name}.wav", np.zeros(16_000), 16_000)
        lines = [
            f"SPEAKER {name} 1 {start} 1.0 <NA> <NA> {one} <NA> <NA>" for start in (0, 1) for one in (label, *more)
        ]
        (folder / f"{name}.rttm").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize(
    "label", ["SPEAKER_00", "S1", "0", "unknown", "spk1", "speaker-2", "A", "<NA>", "说话人1", "M2"]
)
def test_labels_that_are_numbers_within_their_file_are_refused_with_the_cure(tmp_path: Path, label: str) -> None:
    manifest = sources.read(str(meetings(tmp_path, label, "Ann")))
    assert manifest.speakers == ("Ann",)
    refused = [one for one in manifest.skipped if one.reason is Reason.BAD_NAME]
    assert [(one.row, one.path) for one in refused] == [(f"{m}.rttm", str(tmp_path / f"{m}.wav")) for m in ("m1", "m2")]
    assert "--qualify" in refused[0].message
    assert f"'m1 {label}'" in refused[0].message


def test_a_folder_of_nobodys_labels_only_is_refused_by_the_plain_flow_too(tmp_path: Path) -> None:
    manifest = sources.read(str(meetings(tmp_path, "SPEAKER_00")))
    with pytest.raises(Unusable, match=r"holds no recording: 'SPEAKER_00'.*--qualify"):
        refuse_empty(manifest, Report.of(manifest.skipped))


def test_anonymous_labels_are_enrolled_under_their_files_name_when_that_is_asked_for(tmp_path: Path) -> None:
    manifest = sources.read(str(meetings(tmp_path, "SPEAKER_00", "Ann")), Options.from_dict({"qualify": True}))
    assert set(manifest.speakers) == {"m1 SPEAKER_00", "m2 SPEAKER_00", "Ann"}
    assert not [one for one in manifest.skipped if one.reason is Reason.BAD_NAME]


@pytest.mark.parametrize("label", ["Ma", "Se", "Faye", "id10270", "MEE006", "王伟", "Sam"])
def test_short_names_and_global_ids_are_names(tmp_path: Path, label: str) -> None:
    assert sources.read(str(meetings(tmp_path, label))).speakers == (label,)


def test_what_is_said_of_a_workbook_is_refused_for_other_sources(tmp_path: Path) -> None:
    (tmp_path / "Ann").mkdir()
    with pytest.raises(Malformed, match="use --name"):
        sources.read(str(tmp_path), Options(speaker="Alice"))
    (tmp_path / "x.csv").write_text("speaker,path\nAnn,1.wav\n")
    with pytest.raises(Malformed, match="skip_last=0 is for workbooks"):
        sources.read(str(tmp_path / "x.csv"), Options(skip_last=0))


def test_a_manifest_of_another_program_has_its_names_cleaned_like_all_others() -> None:
    given = Manifest.of([Entry("Al\u200bice", "/a"), Entry("", "/b", row="row 2")]).to_dict()
    manifest = Manifest.from_dict(given)
    assert manifest.speakers == ("Alice",)
    assert [entry.speaker for entry in manifest.entries] == ["Alice"]
    assert [(one.reason, one.row) for one in manifest.skipped] == [(Reason.BAD_NAME, "row 2")]


def test_texts_that_would_take_minutes_are_refused_at_once(tmp_path: Path) -> None:
    """Found by chance: a time of a million digits, and marks whose order Unicode's NFC looks for."""
    marks = "a" + "\u0301\u0327" * 200_000
    meetings(tmp_path, "Ann")
    lines = [f"SPEAKER m1 1 {'4' * 2_000_000} 1 <NA> <NA> Ann", f"SPEAKER m1 1 0 1 <NA> <NA> {marks}"]
    (tmp_path / "m1.rttm").write_text("\n".join(lines))
    began = time.monotonic()
    skipped = sources.read(str(tmp_path)).skipped
    assert time.monotonic() - began < 5
    assert [one.reason for one in skipped] == [Reason.BAD_ROW, Reason.BAD_ROW]
    assert all(len(one.message) < 200 for one in skipped)
    with pytest.raises(Unusable, match="400001 characters"):
        clean_name(marks)
    assert len(clean_cell(marks)) == len(marks)
