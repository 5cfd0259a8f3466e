"""The document, its corrections, its forms and its picture."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from speaker_tasks.errors import Malformed, NotFound, Unusable
from speaker_tasks.timelines import forms, picture
from speaker_tasks.timelines.corrections import correct
from speaker_tasks.timelines.document import Part, Speaker, Timeline, Turn, marked, summed


@pytest.fixture
def timeline() -> Timeline:
    """Ann, then Ben over her end, then somebody unknown."""
    turns = (
        Turn(1, 0.0, 5.0, "Ann", 0, False, 0.9, 0.99, "above_threshold"),
        Turn(2, 4.0, 8.5, "Ben", 1, False),
        Turn(3, 9.0, 12.25, "unknown-1", 2, False),
        Turn(4, 13.0, 15.0, "Ann", 0, False),
    )
    parts = (Part(0.0, 4.5, 1, "Ann"), Part(4.5, 8.5, 2, "Ben"), Part(9.0, 12.25, 3, "unknown-1"))
    people = tuple(Speaker(name, number, True, 0, 0, 3.0) for number, name in enumerate(("Ann", "Ben", "unknown-1")))
    return summed(Timeline(15.0, 14.0, 1.0, marked(turns), parts, people, about={"warnings": []}))


def test_json_and_back(timeline: Timeline) -> None:
    assert Timeline.from_dict(timeline.to_dict()) == timeline


def test_overlap_is_marked_and_seconds_are_summed(timeline: Timeline) -> None:
    assert [turn.overlap for turn in timeline.turns] == [True, True, False, False]
    assert {one.speaker: (one.seconds, one.turns) for one in timeline.speakers} == {
        "Ann": (7.0, 2),
        "Ben": (4.5, 1),
        "unknown-1": (3.25, 1),
    }


def test_a_name_for_an_unknown(timeline: Timeline) -> None:
    done = correct(timeline, {"action": "name", "speaker": "unknown-1", "name": "  Cat "})
    assert [turn.speaker for turn in done.turns] == ["Ann", "Ben", "Cat", "Ann"]
    assert done.exclusive[2].speaker == "Cat"
    said = done.of("Cat")
    assert said is not None
    assert (said.enrolled, said.reason) == (False, "corrected")
    assert (done.revision, timeline.revision) == (1, 0)


def test_a_turn_of_somebody_else(timeline: Timeline) -> None:
    done = correct(timeline, {"action": "reassign", "turn": 3, "speaker": "Ben"})
    assert done.of("unknown-1") is None, "who has no turn left is gone"
    ben = done.of("Ben")
    assert ben is not None
    assert ben.seconds == 7.75
    new = correct(timeline, {"action": "reassign", "turn": 4, "speaker": "unknown-2"})
    assert {one.speaker for one in new.speakers} == {"Ann", "Ben", "unknown-1", "unknown-2"}


def test_a_reassigned_turn_no_longer_overlaps_its_own_speaker(timeline: Timeline) -> None:
    done = correct(timeline, {"action": "reassign", "turn": 2, "speaker": "Ann"})
    assert not any(turn.overlap for turn in done.turns)
    assert (timeline.overlap_seconds, done.overlap_seconds) == (1.0, 0.0)
    ann = done.of("Ann")
    assert ann is not None
    assert ann.seconds == 10.5, "what two turns of hers have in common counts once"


def test_two_who_are_one(timeline: Timeline) -> None:
    done = correct(timeline, {"action": "merge", "speaker": "unknown-1", "into": "Ben"})
    ben = done.of("Ben")
    assert ben is not None
    assert (ben.seconds, ben.turns, ben.clean_seconds) == (7.75, 2, 6.0)


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"action": "sing"}, Malformed),
        ({"action": "name", "speaker": "Ann"}, Malformed),
        ({"action": "name", "speaker": "Zoe", "name": "Eve"}, NotFound),
        ({"action": "name", "speaker": "Ann", "name": "Ben"}, Unusable),
        ({"action": "name", "speaker": "Ann", "name": " "}, Unusable),
        ({"action": "name", "speaker": "Ann", "name": "unknown-7"}, Unusable),
        ({"action": "reassign", "turn": 9, "speaker": "Ann"}, NotFound),
        ({"action": "reassign", "turn": 1, "speaker": "unknown-7"}, NotFound),
        ({"action": "merge", "speaker": "Ann", "into": "Ann"}, Unusable),
    ],
)
def test_what_cannot_be_corrected(timeline: Timeline, wanted: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        correct(timeline, wanted)


def test_rttm(timeline: Timeline) -> None:
    named = correct(timeline, {"action": "name", "speaker": "unknown-1", "name": "Li Na"})
    lines = forms.rttm(named, "a meeting").splitlines()
    assert lines[0] == "SPEAKER a_meeting 1 0.000 5.000 <NA> <NA> Ann <NA> <NA>"
    assert lines[2].split()[7] == "Li_Na"
    assert len(forms.rttm(named, exclusive=True).splitlines()) == 3


def test_srt(timeline: Timeline) -> None:
    assert forms.srt(timeline).startswith("1\n00:00:00,000 --> 00:00:05,000\nAnn\n\n2\n00:00:04,000 -->")


def test_vtt_escapes_names(timeline: Timeline) -> None:
    named = correct(timeline, {"action": "name", "speaker": "Ann", "name": "A<n>&"})
    assert "00:00:00.000 --> 00:00:05.000\n<v A&lt;n&gt;&amp;>A&lt;n&gt;&amp;</v>\n" in forms.vtt(named)


def test_a_timeline_without_turns_has_forms(timeline: Timeline) -> None:
    empty = Timeline(3.0, 0.0, 0.0, (), (), ())
    assert forms.rttm(empty) == forms.srt(empty) == ""
    assert forms.vtt(empty) == "WEBVTT\n\n"
    assert picture.png(empty).startswith(b"\x89PNG")


def test_a_name_with_signs_of_formulas_is_drawn_as_it_is() -> None:
    name = "A $\\frac$ B"
    turns = (Turn(1, 0.0, 9.0, name, 0, False),)
    drawn = summed(Timeline(10.0, 9.0, 0.0, turns, (), (Speaker(name, 0, True, 0, 0, 9.0),)))
    assert picture.png(drawn, title="$\\frac$.wav").startswith(b"\x89PNG")


def test_a_long_meeting_is_drawn_in_a_few_pieces() -> None:
    turns = marked([Turn(number, 2.5 * number, 2.5 * number + 2, f"P{number % 4}", 0, False) for number in range(800)])
    people = tuple(Speaker(f"P{number}", number, True, 0, 0, 9.0) for number in range(4))
    (axes,) = picture._draw(summed(Timeline(2002.0, 1600.0, 0.0, turns, (), people)), "").axes
    assert len(axes.collections) == 4
    assert sum(len(one.get_paths()) for one in axes.collections) == 800


def test_the_picture_has_a_lane_for_each_in_their_colours(timeline: Timeline) -> None:
    with Image.open(io.BytesIO(picture.png(timeline))) as drawn:
        colours = {colour for _, colour in drawn.convert("RGB").getcolors(1 << 24)}
    wanted = {picture.COLOURS[0], picture.COLOURS[1], picture.NOBODY}
    assert {tuple(bytes.fromhex(one[1:])) for one in wanted} <= colours
