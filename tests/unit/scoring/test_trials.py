"""Lists of trials are read as VoxCeleb and CN-Celeb publish them."""

from __future__ import annotations

from pathlib import Path

import pytest

from speaker_tasks.errors import Malformed, NotFound
from speaker_tasks.scoring.trials import read_enrolment, read_trials


def test_a_label_comes_first_as_in_voxceleb_or_last_as_in_cn_celeb(tmp_path: Path) -> None:
    voxceleb, cn_celeb = tmp_path / "veri_test.txt", tmp_path / "trials.lst"
    voxceleb.write_text("1 id1/a/1.wav id1/b/2.wav\n\n0 id1/a/1.wav id2/c/1.wav\n")
    cn_celeb.write_text("id1-enroll test/id1-1.wav 1\nid1-enroll test/id2-1.wav 0\n")
    assert read_trials(voxceleb).target == [True, False]
    assert read_trials(voxceleb).names == ["id1/a/1.wav", "id1/b/2.wav", "id2/c/1.wav"]
    assert read_trials(cn_celeb).left == ["id1-enroll", "id1-enroll"]
    assert read_trials(cn_celeb).target == [True, False]


def test_target_and_nontarget_are_labels_too_and_a_byte_order_mark_is_none(tmp_path: Path) -> None:
    path = tmp_path / "trials.txt"
    path.write_text("\ufefftarget a b\nnontarget a c\n", "utf-8")
    assert read_trials(path).target == [True, False]


@pytest.mark.parametrize("line", ["1 a", "a b c", "1 a b c", "2 a b"])
def test_a_line_that_is_no_trial_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "trials.txt"
    path.write_text(f"1 a b\n{line}\n")
    with pytest.raises(Malformed, match="line 2"):
        read_trials(path)


def test_a_model_is_enrolled_from_all_the_clips_that_its_lines_name(tmp_path: Path) -> None:
    path = tmp_path / "enroll.lst"
    path.write_text("id1-enroll enroll/1.wav enroll/2.wav\nid2-enroll enroll/3.wav\nid1-enroll enroll/4.wav\n")
    assert read_enrolment(path) == {
        "id1-enroll": ["enroll/1.wav", "enroll/2.wav", "enroll/4.wav"],
        "id2-enroll": ["enroll/3.wav"],
    }


def test_a_list_that_is_not_there_or_empty_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nowhere\.txt"):
        read_trials(tmp_path / "nowhere.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(Malformed, match="no trials"):
        read_trials(tmp_path / "empty.txt")
