"""From frames to turns, and from windows to frames."""

from __future__ import annotations

import numpy as np
import pytest

from speaker_tasks.diarization.clustering import Voices
from speaker_tasks.diarization.segmentation import (
    CLASSES,
    FRAME_SECONDS,
    FRAMES,
    STEP_SECONDS,
    WINDOW_SAMPLES,
    Segmented,
    activity,
    windows_of,
)
from speaker_tasks.diarization.turns import FIRST_LOOK, activity_of, exclusive, turns_of
from speaker_tasks.diarization.voices import pieces_of

SECOND = round(1 / FRAME_SECONDS)
RATE = 16_000


def frames(*spoken: tuple[int, float, float], seconds: float = 20.0, clusters: int = 2) -> np.ndarray:
    """Activity (F, clusters): (cluster, from, to) in seconds."""
    found = np.zeros((round(seconds / FRAME_SECONDS), clusters), np.float32)
    for cluster, start, end in spoken:
        found[round(start / FRAME_SECONDS) : round(end / FRAME_SECONDS), cluster] = 1
    return found


def shown(activity: np.ndarray, **options: bool) -> list[tuple[int, int, int]]:
    return [(one.cluster, round(one.start), round(one.end)) for one in turns_of(activity, 20, FIRST_LOOK, **options)]


def test_a_pause_ends_no_turn_unless_somebody_else_speaks_in_it() -> None:
    assert shown(frames((0, 1, 4), (0, 5, 8))) == [(0, 1, 8)]
    assert shown(frames((0, 1, 4), (0, 5, 8), (1, 4, 5))) == [(0, 1, 4), (1, 4, 5), (0, 5, 8)]
    assert shown(frames((0, 1, 4), (0, 8, 9))) == [(0, 1, 4), (0, 8, 9)], "a long pause does"


def test_one_at_a_time_has_no_overlap() -> None:
    both = frames((0, 1, 6), (1, 4, 9))
    both[:, 1] *= 0.9
    assert shown(both) == [(0, 1, 6), (1, 4, 9)]
    assert shown(both, overlap=False) == [(0, 1, 6), (1, 6, 9)]
    between = frames((0, 1, 4), (0, 4.2, 8), (1, 4, 4.2))
    assert len(turns_of(between, 20, FIRST_LOOK)) == 2, "a short pause is bridged"
    assert len(turns_of(between, 20, FIRST_LOOK, overlap=False)) == 3


def test_exclusive_turns_give_what_overlaps_to_whoever_is_likelier() -> None:
    both = frames((0, 1, 6), (1, 4, 9))
    both[:, 1] *= 0.9
    parts = exclusive(turns_of(both, 20, FIRST_LOOK), both)
    assert [(number, round(start), round(end)) for number, start, end in parts] == [(0, 1, 6), (1, 6, 9)]


def test_a_turn_ends_with_the_recording() -> None:
    (turn,) = turns_of(frames((0, 15, 20)), 17.5, FIRST_LOOK)
    assert turn.end == 17.5


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [(0.0, []), (0.5, [0]), (10.0, [0]), (10.1, [0, 5]), (15.0, [0, 5]), (21.0, [0, 5, 10, 15])],
)
def test_windows_cover_the_recording(seconds: float, starts: list[int]) -> None:
    samples = np.arange(round(seconds * RATE), dtype=np.float32)
    blocks = np.array_split(samples, 7) if len(samples) else []
    found = list(windows_of(blocks))
    assert [start // RATE for start, _ in found] == starts
    for start, window in found:
        heard = samples[start : start + WINDOW_SAMPLES]
        assert len(window) == WINDOW_SAMPLES
        assert np.array_equal(window[: len(heard)], heard)
        assert not window[len(heard) :].any()


def window(*spoken: tuple[tuple[int, ...], float, float]) -> np.ndarray:
    """Probabilities (FRAMES, classes) of a window: (who, from, to)."""
    found = np.zeros((FRAMES, len(CLASSES)), np.float32)
    found[:, 0] = 1
    for who, start, end in spoken:
        rows = slice(round(start * SECOND), round(end * SECOND))
        found[rows] = 0
        found[rows, CLASSES.index(who)] = 1
    return found


def test_pieces_are_long_stretches_and_the_joined_rest() -> None:
    probabilities = window(((0,), 0, 3), ((0, 1), 3, 4), ((1,), 4, 4.6), ((1,), 5, 5.6), ((2,), 9, 9.2))
    assert activity(probabilities)[4 * SECOND - 3].tolist() == [True, True, False]
    samples = np.random.default_rng(0).normal(size=WINDOW_SAMPLES).astype(np.float32)
    pieces = list(pieces_of(Segmented(0, samples, probabilities)))
    assert [one.speaker for one in pieces] == [0, 0, 1], "0.2 s is too little"
    assert [round(one.clean_seconds, 1) for one in pieces] == [1.5, 1.5, 1.2], "3 s are two pieces"
    assert pieces[0].frames[0, 1] == pieces[1].frames[0, 0], "one begins where the other ends"
    assert len(pieces[2].frames) == 2
    assert len(pieces[2].samples) == pytest.approx(1.2 * RATE, rel=0.05)


def test_who_never_speaks_alone_is_heard_in_the_overlap() -> None:
    probabilities = window(((0,), 0, 2), ((0, 1), 2, 4))
    samples = np.ones(WINDOW_SAMPLES, np.float32)
    pieces = list(pieces_of(Segmented(0, samples, probabilities)))
    assert [(one.speaker, round(one.clean_seconds)) for one in pieces] == [(0, 2), (1, 0)]


def test_each_frame_of_a_local_speaker_belongs_to_the_nearest_piece() -> None:
    spoken = window(((0,), 1, 4), ((0,), 6, 9))
    first, second = np.array([[SECOND, 4 * SECOND]]), np.array([[6 * SECOND, 9 * SECOND]])
    voices = Voices(np.zeros(2, int), np.zeros(2, int), np.full(2, 3.0), np.zeros((2, 4), np.float32), (first, second))
    found = activity_of([spoken], voices, np.array([0, 1]))
    assert found[2 * SECOND].tolist() == [1, 0]
    assert found[8 * SECOND].tolist() == [0, 1]
    assert not found[5 * SECOND].any()


def test_windows_that_overlap_are_averaged() -> None:
    spoken, silent = window(((0,), 0, 10)), window()
    whole = np.array([[0, FRAMES]])
    voices = Voices(np.array([0]), np.array([0]), np.array([9.0]), np.zeros((1, 4), np.float32), (whole,))
    found = activity_of([spoken, silent], voices, np.array([0]))
    assert found[2 * SECOND, 0] == 1, "one window alone"
    assert 0.3 < found[round(7.5 * SECOND), 0] < 0.7
    assert len(found) >= (STEP_SECONDS + 9.9) * SECOND
