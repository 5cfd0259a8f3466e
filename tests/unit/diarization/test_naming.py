"""Names for clusters: one to one, and unknown where it is not sure."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from banks.bank import Bank
from speaker_tasks.diarization.naming import Voice, name_voices, of_clusters, present
from speaker_tasks.embedding import weights
from speaker_tasks.errors import NotFound
from speaker_tasks.scoring.decision import Judge
from speaker_tasks.scoring.thresholds import OperatingPoints
from tools.fit_naming import SECONDS, Corpus, Spoken, trials_of

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


def test_the_shipped_thresholds_of_clusters_are_lower_than_those_of_recordings() -> None:
    card = weights.load("campplus").card
    recordings = Judge.of_card(card.details)
    clusters = of_clusters(recordings, card.model_id, telephone=False)
    for seconds, people in ((4.0, 100), (30.0, 35), (300.0, 300)):
        of_four = 4 * people  # in a meeting of four each of them is tried against all of the bank
        asked, of_recordings = clusters.threshold(seconds, of_four), recordings.threshold(seconds, people)
        assert asked is not None, "fit it anew: tools/fit_naming.py"
        assert of_recordings is not None
        assert asked < of_recordings


def test_clusters_keep_the_settings_and_a_banks_own_thresholds() -> None:
    card = weights.load("campplus").card
    judge = Judge.of_card(card.details).with_settings(margin=0.2, least_speech=5.0)
    clusters = of_clusters(judge, card.model_id, telephone=False)
    assert (clusters.margin(30.0, 35), clusters.least_speech) == (0.2, 5.0)
    calibrated = replace(judge, source="bank")
    assert of_clusters(calibrated, card.model_id, telephone=False) is calibrated
    assert of_clusters(judge, "a-model-without-thresholds", telephone=False) is judge
    assert of_clusters(judge, card.model_id, telephone=True) is judge, "strangers are alike there"


def test_more_voices_in_a_meeting_raise_what_is_asked_of_each_by_thresholds_of_clusters() -> None:
    voice, short = Voice(unit(1, 0.1), 20.0), Voice(unit(0, 0, 0, 1), 0.1)
    for judge, raised in ((JUDGE, False), (replace(JUDGE, source="clusters"), True)):
        alone, among, beside_little = (
            name_voices([voice, *others], BANK, judge, APART)[0].threshold
            for others in ([], [Voice(unit(0, 1), 20.0), Voice(unit(0, 0, 1), 20.0)], [short])
        )
        assert alone is not None
        assert among is not None
        assert (among > alone) == raised
        assert beside_little == alone, "too short to be named, and so to be tried"


def test_thresholds_are_fitted_on_clusters_of_pieces_that_have_the_seconds() -> None:
    random = np.random.default_rng(0)
    voices = np.eye(40, dtype=np.float32)
    heard = [
        Spoken(str(number), voice + random.normal(0, 0.05, (20, 40)).astype(np.float32), np.full(20, 3.0))
        for number, voice in enumerate(voices)
    ]
    corpus = Corpus([str(number) for number in range(40)], voices, voices, heard)
    trials = trials_of([corpus])
    assert sorted(trials) == list(SECONDS)
    for seconds, parts in trials.items():
        assert len(parts) == 2, "people as they were recorded, and by telephone"
        for part in parts:
            assert ((part.speech >= seconds) & (part.speech < seconds + 3.0)).all()
            assert part.target.sum(axis=1).tolist() == [1] * len(part.speakers)
            assert part.cosines[part.target].min() > part.cosines[~part.target].max()
