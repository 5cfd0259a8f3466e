"""The report says what became of each recording, for people and for programs; roots keep other files out."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from enrollment.report import Outcome, Reason, Report, reason_of, speakers_without
from enrollment.roots import OutsideRoots, inside
from speaker_tasks.errors import NotFinite, NotFound, RedisAway, TooLarge, UnsupportedAudio, UnusableAudio


def test_the_report_reads_the_same_as_json_and_as_csv() -> None:
    report = Report.of(
        [
            Outcome("林一", "/a,b.wav", Reason.ENROLLED, row="林一/a,b.wav", seconds=2.5),
            Outcome("Ann", "/x.wav", Reason.UNUSABLE, 'silent, "really"', "line 3"),
            Outcome("Ann", "/y.wav", Reason.ENROLLED, "damaged", "line 4", 2.5, damaged=True, seconds_lost=1.25),
        ]
    )
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    read = json.loads(report.to_json())
    assert [{key: str(value) for key, value in row.items()} for row in read] == rows
    assert "林一" in report.to_json()
    assert report.counts() == {"enrolled": 2, "unusable": 1}
    assert [Outcome.from_dict(row) for row in read] == list(report.outcomes)
    assert [row["damaged"] for row in read] == [False, False, True]
    older = {name: value for name, value in read[0].items() if name not in {"damaged", "seconds_lost"}}
    assert Outcome.from_dict(older) == report.outcomes[0]


def test_a_name_that_a_spreadsheet_would_run_is_quoted_in_csv() -> None:
    row = next(csv.DictReader(io.StringIO(Report.of([Outcome("=1+1", "", Reason.ENROLLED)]).to_csv())))
    assert row["speaker"] == "'=1+1"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UnsupportedAudio("x"), Reason.UNREADABLE),
        (UnusableAudio("x"), Reason.UNUSABLE),
        (NotFinite("x"), Reason.NOT_FINITE),
        (TooLarge("x"), Reason.TOO_LONG),
        (NotFound("x"), Reason.MISSING),
        (RedisAway("x"), Reason.FAILED),
    ],
)
def test_each_error_has_its_reason_code(error, reason: Reason) -> None:
    assert reason_of(error) is reason


def test_files_that_were_never_meant_to_be_enrolled_are_not_counted_as_left_out() -> None:
    report = Report.of([Outcome("", "x.txt", Reason.NOT_AUDIO), Outcome("Ann", "y.wav", Reason.UNREADABLE)])
    assert [outcome.path for outcome in report.left_out] == ["y.wav"]


def test_speakers_of_whom_nothing_is_usable_are_found() -> None:
    outcomes = [Outcome("Ann", "a", Reason.ENROLLED), Outcome("Bob", "b", Reason.UNUSABLE)]
    assert speakers_without(["Ann", "Bob", "Eve"], outcomes) == ["Bob", "Eve"]


def test_paths_are_allowed_below_a_root_only_after_links_are_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "root2"
    root.mkdir()
    outside.mkdir()
    (root / "a.wav").touch()
    (outside / "b.wav").touch()
    (root / "link.wav").symlink_to(outside / "b.wav")
    assert inside(root / "a.wav", [root]) == root / "a.wav"
    assert inside(root, [root]) == root
    for path in (root / "link.wav", outside / "b.wav", root / ".." / "root2" / "b.wav", "/etc/passwd", "\0"):
        with pytest.raises(OutsideRoots):
            inside(path, [root])
    with pytest.raises(OutsideRoots, match="SPEAKER_DATA_ROOTS"):
        inside(root / "a.wav", [])
    with pytest.raises(NotFound):
        inside(root / "gone.wav", [root])
    with pytest.raises(OutsideRoots):
        inside(outside / "gone.wav", [root])
