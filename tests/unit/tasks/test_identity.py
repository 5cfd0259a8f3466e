"""Whose recordings are whose when a bank and a source do not say the same."""

from __future__ import annotations

import numpy as np
import pytest

from banks import editing
from banks.bank import Bank, Clips
from enrollment.manifest import Entry
from enrollment.report import Reason
from speaker_tasks.jobs.vectors import Measures
from speaker_tasks.tasks.assemble import Clip
from speaker_tasks.tasks.identity import Checked, check
from speaker_tasks.tasks.plan import Numbered

VOICES = np.eye(8, dtype=np.float32)


def said(speaker: str, key: str, voice: int) -> Clip:
    """A recording of the source, labelled `speaker`, whose content is `key`."""
    return Clip(Numbered(f"{speaker}/{key}", Entry(speaker, f"/{speaker}/{key}")), key, Measures(), VOICES[voice])


def bank(**owned: list[str]) -> Bank:
    """A bank whose speakers own recordings; the first one has the first voice."""
    keys = [(row, key) for row, of in enumerate(owned.values()) for key in of]
    clips = Clips(
        keys=tuple(key for _, key in keys),
        owners=np.array([row for row, _ in keys], np.int64),
        vectors=np.stack([VOICES[row] for row, _ in keys]),
        seconds=np.ones(len(keys), np.float32),
        weights=np.ones(len(keys), np.int64),
        paths=("",) * len(keys),
        spans=(None,) * len(keys),
    )
    return editing.new(list(owned), clips, "m", size=8)


def checked(before: Bank | None, *clips: Clip, mode: str = "add", force: bool = False) -> Checked:
    return check(before, clips, mode, force=force, alike=0.3)


def names(found: Checked) -> list[tuple[str, str]]:
    return [(clip.entry.speaker, clip.key) for clip in found.clips]


def test_a_folder_that_is_enrolled_again_after_a_rename_or_a_merge_makes_no_second_name() -> None:
    before = editing.merge(editing.rename(bank(Ann=["a"], Bob=["b"]), "Ann", "Anna"), "Bob", "Anna")
    found = checked(before, said("Ann", "a", 0), said("Ann", "new", 0), said("Bob", "b", 1))
    assert names(found) == [("Anna", "a"), ("Anna", "new"), ("Anna", "b")]
    assert [one.startswith("'Ann' is called 'Anna'") for one in found.warnings] == [True, False]


def test_new_recordings_under_an_earlier_name_follow_the_voice_and_another_voice_is_another_person() -> None:
    before = editing.rename(bank(Ann=["a"]), "Ann", "Anna")
    assert names(checked(before, said("Ann", "new", 0))) == [("Anna", "new")]
    other = checked(before, said("Ann", "new", 5))
    assert names(other) == [("Ann", "new")]
    assert "of another voice" in other.warnings[0]


def test_one_recording_under_two_names_is_left_out_of_both_all_pairs_are_told_and_the_others_stay() -> None:
    found = checked(None, *(said(who, key, 0) for key in "xy" for who in ("Ann", "Bob")), said("Ann", "own", 0))
    assert names(found) == [("Ann", "own")]
    assert {outcome.reason for outcome in found.outcomes.values()} == {Reason.TWO_NAMES}
    assert len(found.outcomes) == 4
    assert len(found.warnings) == 2
    assert all("'Ann'" in one and "'Bob'" in one for one in found.warnings)
    assert "/Bob/x" in found.outcomes["Ann/x"].message


def test_who_forces_it_gets_both_names() -> None:
    found = checked(bank(Cy=["x"]), said("Ann", "x", 0), said("Bob", "x", 0), force=True)
    assert names(found) == [("Ann", "x"), ("Bob", "x")]


@pytest.mark.parametrize(("mode", "left"), [("add", []), ("replace", []), ("rebuild", [("Ann", "b")])])
def test_a_recording_that_the_bank_has_under_another_name_is_not_enrolled_twice(mode: str, left: list) -> None:
    found = checked(bank(Ann=["a"], Bob=["b"]), said("Ann", "b", 0), mode=mode)
    assert names(found) == left
    assert mode == "rebuild" or "the bank has this recording as 'Bob'" in found.warnings[0]


def test_speakers_who_are_replaced_may_exchange_recordings() -> None:
    clips = [said("Ann", "b", 0), said("Bob", "a", 1)]
    assert names(checked(bank(Ann=["a"], Bob=["b"]), *clips, mode="replace")) == [("Ann", "b"), ("Bob", "a")]


def test_the_same_recording_twice_under_one_name_counts_once() -> None:
    twice = [said("Ann", "a", 0), Clip(Numbered("2", Entry("Ann", "/copy")), "a", Measures(), VOICES[0])]
    found = checked(None, *twice)
    assert names(found) == [("Ann", "a")]
    assert found.outcomes["2"].reason is Reason.DUPLICATE
