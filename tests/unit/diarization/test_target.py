"""The second look at who speaks: its grids, its chunks, and that it is the network that was trained."""

from __future__ import annotations

import time
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from speaker_tasks.diarization import target
from speaker_tasks.diarization.clustering import Voices
from speaker_tasks.diarization.listening import AHEAD, BLOCK_SAMPLES, LEAST_SAMPLES, Heard, Listener, _Coded
from speaker_tasks.diarization.people import people_of
from speaker_tasks.diarization.segmentation import CLASSES, FRAME_SECONDS, FRAMES, Segmenter
from speaker_tasks.diarization.target import (
    CHANNELS,
    CODE,
    DILATIONS,
    HEARD,
    INNER,
    KERNEL,
    MIXED_BEHIND,
    SIZE,
    SPANS,
    SecondLook,
)
from speaker_tasks.diarization.training.examples import spoken, truth_of
from speaker_tasks.diarization.training.turnfiles import HELD_OUT, TURNS, ami, excerpt
from speaker_tasks.embedding.audio import SAMPLE_RATE

SHAPES = {
    "encode": (HEARD, CHANNELS),
    "begin": (SIZE, HEARD + 2 * len(SPANS) + 5),
    "end": (1, SIZE),
    **{f"mix.{number}": (SIZE, SIZE) for number in range(len(MIXED_BEHIND))},
    **{f"blocks.{number}.over_time": (SIZE, 1, KERNEL) for number in range(len(DILATIONS))},
    **{f"blocks.{number}.inner": (2 * SIZE, SIZE) for number in range(len(DILATIONS))},
    **{f"blocks.{number}.outer": (SIZE, 2 * SIZE) for number in range(len(DILATIONS))},
}


def learned() -> dict[str, np.ndarray]:
    """Weights that mean nothing."""
    random = np.random.default_rng(0)
    made = {}
    for name, shape in SHAPES.items():
        made[f"{name}.weight"] = random.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        made[f"{name}.bias"] = random.normal(0, 0.1, shape[0]).astype(np.float32)
    for name, size in {"encoded": HEARD, **{f"blocks.{number}.norm": SIZE for number in range(len(DILATIONS))}}.items():
        made[f"{name}.weight"] = np.ones(size, np.float32)
        made[f"{name}.bias"] = np.zeros(size, np.float32)
    return made


def weights() -> dict[str, np.ndarray]:
    """With the part that is the embedding network's."""
    random = np.random.default_rng(3)
    fixed = {
        name: random.normal(0, 0.05, (CHANNELS, INNER)).astype(np.float32) for name in ("inner.mean", "inner.deviation")
    }
    isometry = np.linalg.qr(random.normal(size=(CHANNELS, INNER)))[0].T.astype(np.float32)
    return learned() | fixed | {"inner.bias": np.zeros(INNER, np.float32), "inner.isometry": isometry}


def recording(seconds: float, people: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Codes, sound, activity and voices that mean nothing."""
    random, frames = np.random.default_rng(1), round(seconds / FRAME_SECONDS)
    voices = random.normal(size=(people, CHANNELS)).astype(np.float32)
    return (
        random.normal(size=(round(seconds / target.STEP_SECONDS), CODE)).astype(np.float16),
        random.random((frames, 3), dtype=np.float32),
        random.random((frames, people), dtype=np.float32),
        voices / np.linalg.norm(voices, axis=1, keepdims=True),
    )


def test_frames_and_steps_are_at_the_same_seconds():
    ramp = np.arange(3000, dtype=np.float32)[:, None]
    back = target.to_frames(target.to_steps(ramp, 1265), 3000)
    assert np.abs(back - ramp)[5:-5].max() < 1.0  # half a step is 1.2 frames; the ends have no neighbours


def test_a_recording_is_looked_at_in_chunks_that_do_not_show(monkeypatch: pytest.MonkeyPatch):
    given, second = recording(150.0, 3), SecondLook(weights())
    whole = second.look(*given)
    monkeypatch.setattr(target, "CHUNK_STEPS", 311)
    reported: list[float] = []
    np.testing.assert_allclose(second.look(*given, reported.append), whole, atol=1e-5)
    assert reported == sorted(reported)
    assert len(reported) == 13
    assert reported[-1] == pytest.approx(150.0)


def test_the_order_of_people_is_nothing():
    codes, sound, activity, voices = recording(20.0, 4)
    second, order = SecondLook(weights()), np.array([2, 0, 3, 1])
    straight = second.look(codes, sound, activity, voices)
    np.testing.assert_allclose(
        second.look(codes, sound, activity[:, order], voices[order]), straight[:, order], atol=1e-5
    )


def test_who_was_not_heard_at_all_stays_silent_and_changes_nobody():
    codes, sound, activity, voices = recording(20.0, 3)
    activity[:, 2] = 0.0
    second = SecondLook(weights())
    found = second.look(codes, sound, activity, voices)
    assert found[:, 2].max() <= 1 - target.SURE + 1e-6
    np.testing.assert_allclose(found[:, :2], second.look(codes, sound, activity[:, :2], voices[:2]), atol=1e-6)
    nobody = second.look(codes, sound, np.zeros_like(activity), voices)
    assert nobody.max() <= 1 - target.SURE + 1e-6


def test_a_minute_in_which_nobody_speaks_is_not_looked_at(monkeypatch: pytest.MonkeyPatch):
    codes, sound, activity, voices = recording(150.0, 3)
    activity[: round(80 / FRAME_SECONDS)] = 0.0
    asked: list[int] = []
    added = SecondLook._added

    def counted(self: SecondLook, codes: np.ndarray, *rest: np.ndarray) -> np.ndarray:
        asked.append(len(codes))
        return added(self, codes, *rest)

    monkeypatch.setattr(SecondLook, "_added", counted)
    reported: list[float] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = SecondLook(weights()).look(codes, sound, activity, voices, reported.append)
    assert len(asked) == len(reported) - 1, "the first minute is silent"
    assert found[: round(59.9 / FRAME_SECONDS)].max() <= 1 - target.SURE + 1e-6


def test_a_look_at_many_people_takes_little_more_memory_than_its_result(monkeypatch: pytest.MonkeyPatch):
    codes, sound, activity, voices = recording(1200.0, 30)
    monkeypatch.setattr(SecondLook, "_added", lambda self, codes, sound, said, voices: np.zeros_like(said))
    second = SecondLook(weights())
    tracemalloc.start()
    second.look(codes, sound, activity, voices)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * activity.nbytes


def test_odds_of_any_size_are_probabilities():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = target._likely(np.array([-1000.0, 0.0, np.log(3.0), 1000.0], np.float32))
    np.testing.assert_allclose(found, [0.0, 0.5, 0.75, 1.0], atol=1e-6)


def test_codes_are_made_as_the_sound_comes_even_if_it_comes_in_one_piece():
    samples, made = np.arange(45 * SAMPLE_RATE, dtype=np.float32), list[np.ndarray]()

    def code(block: np.ndarray) -> np.ndarray:
        made.append(block)
        return block[::640, None]

    with ThreadPoolExecutor(1) as apart:
        coded = _Coded([samples], code, apart)
        for number, piece in enumerate(coded, 1):
            assert len(piece) <= BLOCK_SAMPLES
            assert min(number, 4) - AHEAD <= len(made) <= min(number, 4)
        found = coded.codes()
    np.testing.assert_array_equal(np.concatenate(made), samples)
    assert found is not None
    np.testing.assert_array_equal(found[:, 0], samples[::640])


def test_a_job_that_is_canceled_while_codes_are_made_stops_soon():
    class Canceled(Exception):
        """Raised by whoever reports the progress."""

    made = list[np.ndarray]()

    def code(block: np.ndarray) -> np.ndarray:
        made.append(block)
        time.sleep(len(made) - 1)  # the second takes long enough for the first to be reported
        return block[::640, None]

    def moved(seconds: float) -> None:
        raise Canceled

    listener = Listener(Segmenter(threads=1), lambda blocks: iter(()), lambda rows: Future(), code)
    with pytest.raises(Canceled):
        listener.hear([np.zeros(45 * SAMPLE_RATE, np.float32)], moved)
    assert len(made) <= 2


def test_the_codes_of_the_last_moment_are_left_out_and_of_a_moment_there_are_none():
    def code(block: np.ndarray) -> np.ndarray:
        return block[::640, None]

    with ThreadPoolExecutor(1) as apart:
        for length, steps in [(BLOCK_SAMPLES + LEAST_SAMPLES - 1, 250), (BLOCK_SAMPLES + LEAST_SAMPLES, 253)]:
            coded = _Coded([np.zeros(length, np.float32)], code, apart)
            assert sum(len(block) for block in coded) == length
            found = coded.codes()
            assert found is not None
            assert len(found) == steps
        short = _Coded([np.zeros(LEAST_SAMPLES - 1, np.float32)], code, apart)
        assert sum(len(block) for block in short) == LEAST_SAMPLES - 1
        assert short.codes() is None


def test_it_is_the_network_that_torch_trains():
    torch = pytest.importorskip("torch", reason="training needs torch: pip install torch")
    from speaker_tasks.diarization.training.target_network import Target

    _, sound, activity, voices = recording(20.0, 3)
    network, second = Target().eval(), SecondLook(weights())
    network.load_state_dict({name: torch.from_numpy(value) for name, value in learned().items()})
    frames = np.random.default_rng(2).normal(size=(1000, CHANNELS)).astype(np.float32)
    codes = second.code(frames)
    assert codes.shape == (500, CODE)
    said = target.odds(target.to_steps(activity, 500))
    near = codes[:, HEARD:].astype(np.float32).reshape(500, len(SPANS), INNER)
    people = target.inner_voices(voices, weights())
    rows = (target.paired(frames), near, target.to_steps(sound, 500), said.T, people, np.ones(3, np.float32))
    with torch.no_grad():
        added = network(*(torch.from_numpy(np.ascontiguousarray(one))[None] for one in rows))[0].numpy().T
    added = target.WEIGHT * target.to_frames(added, len(activity))
    expected = 1 / (1 + np.exp(-target.odds(activity) - added))
    np.testing.assert_allclose(second.look(codes, sound, activity, voices), expected, atol=2e-3)


def test_the_voice_around_a_step_is_the_mean_and_deviation_of_so_many_steps():
    steps, fixed = np.random.default_rng(5).normal(size=(100, CHANNELS)).astype(np.float32), weights()
    for span, found in zip(SPANS, target.near_voices(steps, fixed), strict=True):
        around = steps[50 - span // 2 : 50 + span // 2 + 1]
        expected = around.mean(axis=0) @ fixed["inner.mean"] + around.std(axis=0) @ fixed["inner.deviation"]
        np.testing.assert_allclose(found[50], expected / np.linalg.norm(expected), atol=1e-4)
        assert found.shape == (100, INNER)


def two_in_ten_seconds() -> Heard:
    """The first speaks for five seconds, then the second."""
    probabilities = np.zeros((FRAMES, len(CLASSES)), np.float16)
    probabilities[:300, 1] = probabilities[300:, 2] = 1
    frames = tuple(np.array([[first, first + 98]]) for first in range(0, 588, 98))
    vectors = np.repeat(np.eye(2, dtype=np.float32), 3, axis=0)
    voices = Voices(np.zeros(6, int), np.array([0, 0, 0, 1, 1, 1]), np.full(6, 1.6, np.float32), vectors, frames)
    return Heard(9.9, (probabilities,), voices, np.zeros((250, CODE), np.float16))


def saying(seen: np.ndarray) -> SecondLook:
    """A second look that sees these probabilities, whatever there is."""

    class Deaf(SecondLook):
        def look(
            self,
            codes: np.ndarray,
            sound: np.ndarray,
            activity: np.ndarray,
            voices: np.ndarray,
            moved: Callable[[float], None] = lambda seconds: None,
        ) -> np.ndarray:
            assert len(codes) == 250
            assert sound.shape == (FRAMES, 3)
            assert voices.shape == (activity.shape[1], 2)
            return seen

    return Deaf({})


def test_what_the_second_look_says_becomes_the_turns():
    heard, seen = two_in_ten_seconds(), np.repeat(np.array([[1.0, 0.0]], np.float32), FRAMES, axis=0)
    first = people_of(heard, None)
    assert {span.cluster for span in first.turns} == {0, 1}
    (turn,) = people_of(heard, None, second=saying(seen)).turns
    assert (turn.start, round(turn.end, 1), turn.cluster) == (pytest.approx(0.02, abs=0.01), 9.9, 0)


def test_nobody_is_enrolled_from_what_the_second_look_gives_to_another():
    heard, seen = two_in_ten_seconds(), np.repeat(np.array([[1.0, 0.0]], np.float32), FRAMES, axis=0)
    assert [clip.cluster for clip in people_of(heard, None).clips] == [0, 0, 0, 1, 1, 1]
    seen[560:] = [0.0, 1.0]
    second = people_of(heard, None, second=saying(seen))
    assert {span.cluster for span in second.turns} == {0, 1}
    assert [clip.cluster for clip in second.clips] == [0, 0, 0], "the second one's last half second is no clip"


def test_the_truth_of_a_cluster_is_its_speakers_and_of_nobodys_cluster_silence():
    speaks = spoken([(0.0, 2.0, 0), (1.0, 4.0, 1)], 100)
    assert speaks.sum(axis=0) * target.STEP_SECONDS == pytest.approx([2.0, 3.0], abs=0.03)
    activity = np.zeros((100, 3), np.float32)
    activity[30:90, 0] = activity[:40, 1] = activity[95:, 2] = 1.0
    truth = truth_of(activity, speaks)
    np.testing.assert_array_equal(truth, np.stack([speaks[:, 1], speaks[:, 0], np.zeros(100)], axis=1))


def test_real_turn_taking_for_development_is_not_trained_on(tmp_path: Path):
    names = [f"{HELD_OUT[0]}a", "ES2002a", "TS3005b"]
    lines = [
        f"{name} 1 {start} 3.0 speaker NA unknown {who}\n"
        for name in names
        for start, who in [(0.0, "MEE1"), (2.0, "FEE2"), (4.5, "MEE1"), (7.0, "MEE3"), (9.0, "FEE2")]
    ]
    with zipfile.ZipFile(tmp_path / "ami.whl", "w") as wheel:
        wheel.writestr(TURNS, "".join(lines))
    training, development = (ami(tmp_path / "ami.whl", development=held) for held in (False, True))
    assert (set(training), set(development)) == ({"ES2002a", "TS3005b"}, {names[0]})
    assert training["ES2002a"][:2] == [(0.0, 3.0, 1), (2.0, 5.0, 0)]
    part = excerpt(np.random.default_rng(0), training, 6.0)
    assert len({speaker for _, _, speaker in part}) >= 2
    assert all(0 <= start < end <= 6.0 for start, end, _ in part)
