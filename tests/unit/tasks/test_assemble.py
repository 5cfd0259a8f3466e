"""What a bank keeps of where a recording lay."""

from __future__ import annotations

import pytest

from enrollment.manifest import Entry
from speaker_tasks.tasks.assemble import kept_path


@pytest.mark.parametrize(
    ("path", "row", "kept"),
    [
        ("/data/Ann/a.wav", "Ann/a.wav", "/data/Ann/a.wav"),
        ("payload:k", "Ann/day 1/a.wav", "a.wav"),
        ("payload:k", "Ann/12:30.mp3", "12_30.mp3"),
        ("payload:k", "sheet '1月2日', row 7", ""),
        ("payload:k", "line 12", ""),
        ("payload:k", "'Ann', recording 3", ""),
    ],
)
def test_an_upload_keeps_the_files_name_and_no_row_of_a_list(path: str, row: str, kept: str) -> None:
    assert kept_path(Entry("Ann", path, row=row)) == kept
