"""Recordings that would spoil a bank are found, each with its reason; good ones pass."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest

from enrollment import gates
from enrollment.gates import Candidate, EnrolledVoice, Thresholds, Voices
from enrollment.report import Reason

ASKED = Thresholds()
SIZE = 64


def voice(speaker: int) -> np.ndarray:
    """The direction of one speaker."""
    drawn = np.random.default_rng(speaker).standard_normal(SIZE)
    return drawn / np.linalg.norm(drawn)


def said(key: str, speaker: str, who: int, *, spread: float = 0.06, **measures: float) -> Candidate:
    """A recording labelled `speaker`, of the voice `who`."""
    drawn = voice(who) + spread * np.random.default_rng(zlib.crc32(key.encode())).standard_normal(SIZE)
    vector = (drawn / np.linalg.norm(drawn)).astype(np.float32)
    usual = {"seconds": 5.0, "speech": 4.0, "snr": 30.0, "clipped": 0.0}
    return Candidate(key, speaker, vector, **usual | measures)


def job(speakers: int, each: int = 5) -> list[Candidate]:
    return [said(f"{who}-{take}", f"s{who}", who) for who in range(speakers) for take in range(each)]


def reasons(found: dict[str, gates.Verdict]) -> dict[str, Reason]:
    return {key: verdict.reason for key, verdict in found.items()}


@pytest.mark.parametrize(
    ("measures", "reason"),
    [
        ({}, None),
        ({"speech": 0.9}, Reason.TOO_LITTLE_SPEECH),
        ({"snr": 4.0}, Reason.NOISY),
        ({"clipped": 0.06}, Reason.CLIPPED),
    ],
)
def test_a_recording_by_itself(measures: dict[str, float], reason: Reason | None) -> None:
    verdict = gates.single(said("a", "Ann", 1, **measures), ASKED)
    assert (verdict.reason if verdict else None) == reason


@pytest.mark.parametrize("speakers", [2, 12])
def test_good_recordings_all_pass(speakers: int) -> None:
    voices = Voices(job(speakers))
    usual = gates.chance(voices, ASKED)
    assert gates.outliers(voices, usual) == {}
    assert gates.too_little(voices, ASKED) == {}
    assert gates.twins(voices.labels, voices.means(), usual) == []


@pytest.mark.parametrize("speakers", [2, 12])
def test_a_recording_of_somebody_else_is_an_outlier(speakers: int) -> None:
    wrong = said("wrong", "s0", 1)
    voices = Voices([*job(speakers), wrong, said("stranger", "s1", 99)])
    found = gates.outliers(voices, gates.chance(voices, ASKED))
    assert reasons(found) == {"wrong": Reason.OUTLIER, "stranger": Reason.OUTLIER}
    assert "s0" in found["wrong"].message


def test_of_two_recordings_that_disagree_both_stay_unless_the_bank_knows_the_voice() -> None:
    clips = [said("right", "Ann", 1), said("wrong", "Ann", 2)]
    assert gates.outliers(Voices(clips), gates.chance(Voices(clips), ASKED)) == {}
    voices = Voices(clips, {"Ann": EnrolledVoice(voice(1), 3, 20.0)})
    assert list(gates.outliers(voices, gates.chance(voices, ASKED))) == ["wrong"]


def test_a_model_whose_voices_are_all_alike_needs_no_other_thresholds() -> None:
    common = voice(1000) * 2.0  # as with embeddings after a ReLU: any two have a cosine of 0.8

    def alike(one: Candidate) -> Candidate:
        drawn = common + one.vector
        return replace(one, vector=drawn / np.linalg.norm(drawn))

    voices = Voices([alike(one) for one in [*job(12), said("wrong", "s0", 1)]])
    assert list(gates.outliers(voices, gates.chance(voices, ASKED))) == ["wrong"]


def test_a_speaker_who_says_too_little_in_all_is_left_out_the_banks_recordings_counted() -> None:
    short = [said("a", "Ann", 1, speech=1.2), said("b", "Ann", 1, speech=1.2), said("c", "Bob", 2, speech=3.1)]
    assert reasons(gates.too_little(Voices(short), ASKED)) == dict.fromkeys("ab", Reason.TOO_LITTLE_SPEECH)
    assert gates.too_little(Voices(short, {"Ann": EnrolledVoice(voice(1), 1, 5.0)}), ASKED) == {}


def test_two_names_with_one_voice_are_told_most_alike_first() -> None:
    clips = [*job(6), *(said(f"twin-{take}", "alias", 0) for take in range(5))]
    voices = Voices(clips)
    pairs = gates.twins(voices.labels, voices.means(), gates.chance(voices, ASKED))
    assert [pair[:2] for pair in pairs] == [("s0", "alias")]


def test_parts_of_several_voices_disagree() -> None:
    one, other = voice(1), voice(2)
    assert gates.agreement(np.stack([one])) == 1
    assert gates.agreement(np.stack([one, one, one])) == pytest.approx(1)
    assert gates.agreement(np.stack([one, one, other])) < 0.4
    usual = gates.chance(Voices(job(2)), ASKED)
    assert gates.several_voices(said("a", "Ann", 1, agreement=0.9), usual) is None
    verdict = gates.several_voices(said("a", "Ann", 1, agreement=0.1), usual)
    assert verdict is not None
    assert verdict.reason is Reason.SEVERAL_VOICES


def test_recordings_without_others_or_unlike_them_get_a_second_look() -> None:
    mixed = said("mixed", "s0", 0)
    mixed = replace(mixed, vector=((voice(0) + voice(7)) / np.linalg.norm(voice(0) + voice(7))).astype(np.float32))
    voices = Voices([*job(6), mixed, said("single", "alone", 50)])
    found = gates.suspects(voices, gates.chance(voices, ASKED))
    assert {"mixed", "single"} <= set(found)
    assert len(found) < 10


def test_an_empty_job_passes_every_gate() -> None:
    voices = Voices([])
    assert gates.too_little(voices, ASKED) == {}
    assert gates.suspects(voices, gates.chance(voices, ASKED)) == []


@pytest.mark.parametrize("others", [0, 12])
@pytest.mark.parametrize("each", [(2, 2), (3, 2), (5, 4)])
def test_a_speaker_whose_recordings_are_of_two_voices_is_told_with_both_lists(
    others: int, each: tuple[int, int]
) -> None:
    ann = [said(f"{who}-{take}", "Ann", 50 + who) for who in (0, 1) for take in range(each[who])]
    voices = Voices([*job(others), *ann])
    (found,) = gates.mixed(voices, gates.chance(voices, ASKED))
    assert found.speaker == "Ann"
    assert {frozenset(half) for half in found.halves} == {
        frozenset(one.key for one in ann if one.key.startswith(str(who))) for who in (0, 1)
    }
    assert found.clear
    assert set(found.doubtful) == {one.key for one in ann}
    assert found.cosine < 0.3


def test_one_voice_is_not_taken_for_two_and_of_many_and_few_the_few_are_wrong() -> None:
    wrong = [said(f"wrong-{take}", "s0", 99) for take in range(2)]
    voices = Voices([*job(12, each=8), *wrong])
    usual = gates.chance(voices, ASKED)
    assert [set(one.doubtful) for one in gates.mixed(voices, usual)] == [{"wrong-0", "wrong-1"}]
    assert gates.mixed(Voices(job(12, each=8)), usual) == []
    noisy = [said(f"{take}", "Ann", 1, spread=0.12) for take in range(8)]
    assert gates.mixed(Voices(noisy), gates.chance(Voices(noisy), ASKED)) == []


def test_the_banks_recordings_tell_which_of_two_voices_is_the_speakers() -> None:
    clips = [said("right", "Ann", 1), *(said(f"wrong-{take}", "Ann", 2) for take in range(2))]
    enrolled = EnrolledVoice(voice(1), 2, 9.0, np.stack([said(f"old-{take}", "Ann", 1).vector for take in range(2)]))
    voices = Voices(clips, {"Ann": enrolled})
    (found,) = gates.mixed(voices, gates.chance(voices, ASKED))
    assert set(found.doubtful) == {"wrong-0", "wrong-1"}
    voices = Voices(clips, {"Ann": EnrolledVoice(voice(1), 2, 9.0)})
    (found,) = gates.mixed(voices, gates.chance(voices, ASKED))
    assert set(found.doubtful) == {"wrong-0", "wrong-1"}, "a bank without clips has its mean"


def test_of_two_recordings_that_disagree_it_is_told_but_not_for_sure() -> None:
    voices = Voices([said("a", "Ann", 1), said("b", "Ann", 2), said("c", "Bob", 3), said("d", "Bob", 3)])
    (found,) = gates.mixed(voices, gates.chance(voices, ASKED))
    assert (found.speaker, found.clear) == ("Ann", False)


def test_voices_that_are_all_alike_are_split_by_what_the_job_tells() -> None:
    common = voice(1000) * 2.0

    def alike(one: Candidate) -> Candidate:
        drawn = common + one.vector
        return replace(one, vector=drawn / np.linalg.norm(drawn))

    ann = [said(f"{who}-{take}", "Ann", 50 + who) for who in (0, 1) for take in range(2)]
    voices = Voices([alike(one) for one in [*job(12), *ann]])
    assert [one.speaker for one in gates.mixed(voices, gates.chance(voices, ASKED))] == ["Ann"]


def test_where_nothing_is_left_to_compare_nothing_is_an_outlier() -> None:
    nobody = Voices([])
    assert gates.outliers(nobody, gates.chance(nobody, ASKED)) == {}
    assert nobody.means().shape[0] == 0
