"""Enrolling from a timeline, with a real Redis: the bank and the timeline say the same, whoever else is at work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from redis import Redis

from banks.bank import Clips
from banks.store import BankStore
from speaker_tasks.jobs.timelines import KeptVoices, TimelineStore
from speaker_tasks.operations.banks import BankKeeper, Change
from speaker_tasks.operations.timelines import TimelineKeeper
from speaker_tasks.settings import Settings
from speaker_tasks.timelines.clips import CleanClip
from speaker_tasks.timelines.document import Speaker, Timeline, Turn, summed

PLAIN = Settings(redis_url="redis://x")
VECTOR = np.eye(512, dtype=np.float32)[0]


@pytest.fixture
def store(redis: Redis) -> TimelineStore:
    """A job with two speakers, of whom one may be enrolled."""
    turns = (Turn(1, 0.0, 9.0, "unknown-1", 0, False), Turn(2, 10.0, 12.0, "unknown-2", 1, False))
    people = (Speaker("unknown-1", 0, False, 0, 0, 9.0), Speaker("unknown-2", 1, False, 0, 0, 2.0))
    made = TimelineStore(redis, 60)
    timeline = summed(Timeline(12.0, 11.0, 0.0, turns, (), people))
    voices = KeptVoices("digest", "made-up", 20.0, 0.0, (CleanClip(0, 1.0, 8.0, 7.0, VECTOR),))
    made.put("job", timeline.to_dict(), voices)
    return made


def test_who_is_enrolled_has_the_name_in_the_timeline_too(store: TimelineStore, redis: Redis) -> None:
    keeper = TimelineKeeper(redis, PLAIN, BankKeeper(redis, PLAIN))
    done = keeper.enroll("job", "unknown-1", "staff", name="Ann", force=True)
    assert (done.speaker, done.clips, done.change.warnings) == ("Ann", 1, ())
    assert [one.speaker for one in keeper.get("job").speakers] == ["Ann", "unknown-2"]
    assert BankStore(redis).get("staff").labels == ("Ann",)


def test_a_correction_in_the_middle_is_a_warning_since_the_bank_has_changed(store: TimelineStore, redis: Redis) -> None:
    others = TimelineKeeper(redis, PLAIN, BankKeeper(redis, PLAIN))

    class Slow(BankKeeper):
        """Somebody else names the speaker while the bank is written."""

        def add_clips(self, name: str, label: str, clips: Clips, *rest: Any) -> Change:
            others.correct("job", {"action": "name", "speaker": "unknown-1", "name": "Anne"})
            return super().add_clips(name, label, clips, *rest)

    done = TimelineKeeper(redis, PLAIN, Slow(redis, PLAIN)).enroll("job", "unknown-1", "staff", name="Ann", force=True)
    assert BankStore(redis).get("staff").labels == ("Ann",)
    (warning,) = done.change.warnings
    assert "Ann is enrolled, but the timeline was corrected meanwhile: 'unknown-1' does not speak here" in warning
    assert others.get("job").of("Anne") is not None
