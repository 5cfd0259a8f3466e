"""Names for clusters: one to one, and unknown where it is not sure."""

from __future__ import annotations

import numpy as np
import pytest

from banks.bank import Bank
from speaker_tasks.diarization.naming import Voice, name_voices, present
from speaker_tasks.errors import NotFound
from speaker_tasks.scoring.decision import Judge
from speaker_tasks.scoring.thresholds import OperatingPoints

JUDGE = Judge(OperatingPoints((1.0, 10.0), (0.1, 0.01), ((0.4, 0.5), (0.4, 0.5))))
APART = np.zeros((4, 4))


def unit(*values: float) -> np.ndarray:
    found = np.zeros(8, np.float32)
    found[: len(values)] = values
    return found / np.linalg.norm(found)


BANK = Bank(("Ann", "Ben", "Cat"), np.stack([unit(1), unit(0, 1), unit(0, 0, 1)]), "made-up")


def names(*voices: np.ndarray, together: np.ndarray = APART, bank: Bank = BANK) -> list[str | None]:
    return [one.name for one in name_voices([Voice(voice, 20.0) for voice in voices], bank, JUDGE, together)]


def test_each_is_named_and_a_stranger_is_not() -> None:
    assert names(unit(1, 0.1), unit(0.1, 1), unit(0, 0, 0, 1)) == ["Ann", "Ben", None]


def test_two_who_speak_at_once_are_not_one_person() -> None:
    together = APART.copy()
    together[0, 1] = together[1, 0] = 2.0
    assert names(unit(1, 0.1), unit(1, 0, 0.2), together=together) == ["Ann", None]
    found = name_voices([Voice(unit(1, 0, 0.2), 9), Voice(unit(1, 0.1), 9)], BANK, JUDGE, together)
    assert [one.name for one in found] == [None, "Ann"], "the more alike has the name"
    assert found[0].reason == "taken"


def test_two_clusters_that_agree_and_never_overlap_are_one_person() -> None:
    assert names(unit(1, 0.1), unit(1, 0, 0.2)) == ["Ann", "Ann"]
    assert names(unit(1, 0.9), unit(1, -0.9)) == ["Ann", None], "like Ann both, and unlike each other"


def test_too_little_speech_names_nobody() -> None:
    (found,) = name_voices([Voice(unit(1), 0.3)], BANK, JUDGE, APART)
    assert (found.name, found.reason) == (None, "too_little_speech")
    assert found.candidates[0]["speaker"] == "Ann"


def test_an_empty_bank_names_nobody() -> None:
    empty = Bank((), np.zeros((0, 8)), "made-up")
    (found,) = name_voices([Voice(unit(1), 9.0)], empty, JUDGE, APART)
    assert (found.name, found.reason) == (None, "nobody_enrolled")


def test_a_roster_is_a_smaller_bank_with_lower_thresholds() -> None:
    assert present(BANK, None) is BANK
    small = present(BANK, ["Ben"])
    assert small.labels == ("Ben",)
    assert names(unit(1), bank=small) == [None]
    voice = [Voice(unit(0.2, 1), 9.0)]
    (in_all,), (in_few,) = (name_voices(voice, bank, JUDGE, APART) for bank in (BANK, small))
    assert in_all.threshold is not None
    assert in_few.threshold is not None
    assert in_few.threshold < in_all.threshold
    with pytest.raises(NotFound, match="Zoe"):
        present(BANK, ["Zoe"])
