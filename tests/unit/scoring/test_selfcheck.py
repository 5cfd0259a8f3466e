"""Whether the people of a bank would be recognised is known before anybody asks."""

from __future__ import annotations

import numpy as np

from banks import editing
from banks.bank import Bank, Clips
from speaker_tasks.scoring.decision import Judge
from speaker_tasks.scoring.selfcheck import Recognised, recognised, warnings
from speaker_tasks.scoring.thresholds import OperatingPoints

SIZE = 64


def judge(threshold: float, margin: float = 0.03) -> Judge:
    """A judge with one threshold for all."""
    return Judge(OperatingPoints((1.0,), (0.1, 0.01), ((threshold, threshold),)), fixed_margin=margin)


def bank(seconds: float = 5.0, **voices: tuple[int, int, float]) -> Bank:
    """For each speaker: the voice's number, how many clips, and how far these scatter."""
    vectors, owners = [], []
    for row, (voice, clips, spread) in enumerate(voices.values()):
        direction = np.random.default_rng(voice).standard_normal(SIZE)
        noise = np.random.default_rng([row, 7]).standard_normal((clips, SIZE))
        drawn = direction / np.linalg.norm(direction) + spread * noise / np.sqrt(SIZE)
        vectors.append(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
        owners += [row] * clips
    count = len(owners)
    clips = Clips(
        keys=tuple(map(str, range(count))),
        owners=np.array(owners),
        vectors=np.concatenate(vectors).astype(np.float32),
        seconds=np.full(count, seconds, np.float32),
        weights=np.ones(count, np.int64),
        paths=("",) * count,
        spans=(None,) * count,
    )
    return editing.new(list(voices), clips, "m", size=SIZE)


def found(made: Bank, by: Judge) -> dict[str, Recognised]:
    return {one.speaker: one for one in recognised(made, by)}


def test_who_can_never_be_named_is_told_with_the_nearest_and_a_cure_and_others_are_not() -> None:
    made = bank(Ann=(1, 5, 0.3), Bob=(2, 5, 0.3), Mia=(3, 5, 1.6))
    one = found(made, judge(0.75))
    assert [(one[who].named, one[who].clips) for who in ("Ann", "Bob", "Mia")] == [(5, 5), (5, 5), (0, 5)]
    (warning,) = warnings(list(one.values()))
    assert warning.startswith("'Mia' would be named in 0 of 5 of the own recordings; nearest is '")
    assert "enroll more recordings" in warning
    assert warnings(list(found(made, judge(0.2)).values())) == [], "a lower threshold names all"


def test_two_names_for_one_voice_are_told_as_such() -> None:
    one = found(bank(Ann=(1, 4, 0.3), Annie=(1, 4, 0.3), Bob=(2, 4, 0.3)), judge(0.5, margin=0.2))
    assert (one["Ann"].nearest, one["Annie"].nearest) == ("Annie", "Ann")
    assert one["Ann"].reason in {"small_margin", "another"}
    assert one["Ann"].doubtful
    assert not one["Bob"].doubtful
    message = next(one.message for one in one.values() if one.reason == "small_margin")
    assert "merge them" in message


def test_short_recordings_are_the_reason_where_they_are() -> None:
    one = found(bank(seconds=1.0, Ann=(1, 3, 0.2), Bob=(2, 3, 0.2)), judge(0.5))["Ann"]
    assert (one.named, one.reason) == (0, "too_little_speech")
    assert "recordings are short" in one.message


def test_a_single_recording_and_a_bank_of_one_person_are_no_alarm() -> None:
    one = found(bank(Ann=(1, 1, 0.2), Bob=(2, 3, 0.2)), judge(0.5))
    assert (one["Ann"].clips, one["Ann"].doubtful) == (0, False)
    assert "cannot be tried" in one["Ann"].message
    alone = found(bank(Bob=(2, 3, 0.2)), judge(0.5))["Bob"]
    assert (alone.named, alone.clips, alone.nearest) == (3, 3, None)


def test_only_speakers_who_are_asked_for_are_tried_and_nothing_without_thresholds_or_clips() -> None:
    made = bank(Ann=(1, 3, 0.2), Bob=(2, 3, 0.2))
    assert [one.speaker for one in recognised(made, judge(0.5), ["Bob"])] == ["Bob"]
    assert recognised(made, Judge()) == []
    plain = Bank(made.labels, made.vectors, model="m")
    assert [one.clips for one in recognised(plain, judge(0.5))] == [0, 0]


def test_a_clip_is_never_tried_against_itself() -> None:
    made = bank(Ann=(1, 2, 1.2), Bob=(2, 3, 0.2))
    cosine = float(made.clips.vectors[0] @ made.clips.vectors[1])
    assert found(made, judge(cosine - 0.01))["Ann"].named == 2
    assert found(made, judge(cosine + 0.01))["Ann"].named == 0
    assert float(made.clips.vectors[0] @ made.vectors[0]) > cosine + 0.1
