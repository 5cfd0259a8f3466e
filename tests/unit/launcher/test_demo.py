"""What the demo leaves out, and the synthetic speakers that it brings."""

from __future__ import annotations

from pathlib import Path

import soundfile

from enrollment.folder import scan
from enrollment.manifest import Entry, Manifest
from speaker_tasks.launcher.demo import leave_one_out
from speaker_tasks.launcher.demo_meeting import drawn, enrolled

MEGABYTES_2 = 2_000_000


def test_the_last_clip_of_each_speaker_is_left_out() -> None:
    manifest = Manifest.of([Entry("a", "1"), Entry("b", "2"), Entry("a", "3"), Entry("a", "4"), Entry("b", "5")])
    left, held_out, alone = leave_one_out(manifest)
    assert sorted(entry.path for entry in left.entries) == ["1", "2", "3"]
    assert [entry.path for entry in held_out] == ["4", "5"]
    assert alone == []


def test_a_speaker_with_one_clip_is_enrolled_and_not_recognised() -> None:
    left, held_out, alone = leave_one_out(Manifest.of([Entry("a", "1"), Entry("b", "2"), Entry("b", "3")]))
    assert left.speakers == ("a", "b")
    assert [entry.speaker for entry in held_out] == ["b"]
    assert alone == ["a"]


def test_there_are_eight_speakers_with_five_clips_some_with_chinese_names(demo_speakers: Path) -> None:
    manifest = scan(demo_speakers)
    assert len(manifest.speakers) == 8
    assert len(manifest.entries) == 40
    assert {"李明", "王芳", "赵磊", "陈静"} < set(manifest.speakers)
    assert not manifest.skipped


def test_the_clips_are_short_mono_16_khz_and_small(demo_speakers: Path) -> None:
    clips = sorted(demo_speakers.rglob("*.ogg"))
    for clip in clips:
        info = soundfile.info(clip)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "OPUS")
        assert 3 <= info.duration <= 6
    everything = [path for path in demo_speakers.parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in everything) < MEGABYTES_2


def test_a_lane_has_a_block_where_somebody_speaks_for_most_of_it() -> None:
    assert drawn([(0.0, 2.0), (5.0, 6.0), (9.5, 10.0)], 10.0, width=5) == "█·█··"


def test_what_is_enrolled_for_the_meeting_is_not_heard_in_it() -> None:
    manifest = enrolled()
    assert "Carol" not in manifest.speakers
    assert {entry.path[-5:] for entry in manifest.entries} == {"1.ogg", "2.ogg"}
