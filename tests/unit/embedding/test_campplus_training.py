"""How campplus is taught: who is set aside, what crops are made, and that a step brings crops nearer to their clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speaker_tasks.embedding.training.corpus import Clip
from speaker_tasks.embedding.training.crops import Cropper, in_noise, middle, whole
from speaker_tasks.embedding.training.frames import View
from speaker_tasks.embedding.training.split import DEVELOPMENT, development_speakers, noise_recordings
from speaker_tasks.scoring.evaluation import Utterances, open_set

RATE = 16_000


def clip(speaker: str, corpus: str, seconds: float) -> Clip:
    return Clip(Path(f"{speaker}.wav"), speaker, corpus, seconds)


def test_the_same_speakers_are_always_set_aside_and_only_those_with_enough_speech() -> None:
    many = [clip(f"zh-{number}", "cv_zhCN", 5.0) for number in range(80) for _ in range(6)]
    few = [clip(f"short-{number}", "cv_zhCN", 1.0) for number in range(80) for _ in range(6)]
    chosen = development_speakers(many + few)
    assert len(chosen) == DEVELOPMENT["cv_zhCN"]
    assert chosen == development_speakers((few + many)[::-1])
    assert not any(name.startswith("short") for name in chosen)


def test_noise_that_is_trained_on_is_not_measured_with(tmp_path: Path) -> None:
    for name in ("background/a", "background/b", "esc10/c", "esc10/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.opus").touch()
    training, measuring = noise_recordings(tmp_path, training=True), noise_recordings(tmp_path, training=False)
    assert len(training) == len(measuring) == 2
    assert not set(training) & set(measuring)


@pytest.fixture
def cropper(tmp_path: Path) -> Cropper:
    random = np.random.default_rng(0)
    path = tmp_path / "voice.wav"
    soundfile.write(path, random.normal(0, 0.1, 5 * RATE), RATE)
    noises = [random.normal(0, 0.1, RATE).astype(np.float32)]
    return Cropper([Clip(path, "a", "demo", 5.0)], noises, [np.array([1.0, 0.0, 0.5], np.float32)])


def test_crops_are_short_and_the_same_seed_gives_the_same_crop(cropper: Cropper) -> None:
    crops = [cropper.crop(seed, 0) for seed in range(20)]
    assert {len(crop) % 1_600 for crop in crops} == {0}
    assert 1.0 <= min(map(len, crops)) / RATE < max(map(len, crops)) / RATE <= 3.5
    np.testing.assert_array_equal(cropper.crop(3, 0), crops[3])
    assert not np.array_equal(crops[0][:RATE], crops[1][:RATE])


def test_noise_is_as_loud_as_asked() -> None:
    random = np.random.default_rng(1)
    voice = random.normal(0, 0.1, RATE).astype(np.float32)
    noisy = in_noise(voice, [random.normal(0, 3.0, 2 * RATE).astype(np.float32)], 10.0, random)
    assert 10 * np.log10(np.mean(voice**2) / np.mean((noisy - voice) ** 2)) == pytest.approx(10, abs=0.01)


def test_a_whole_clip_is_its_middle_in_quarter_seconds(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, np.linspace(-0.5, 0.5, 10 * RATE), RATE)
    assert len(whole(path)) == 8 * RATE
    assert abs(float(np.mean(whole(path)))) < 0.01
    assert len(middle(np.zeros(RATE), 2.0)) == RATE


def test_a_view_gives_items_of_one_length_as_a_batch(tmp_path: Path) -> None:
    frames = np.arange(20, dtype=np.float16).reshape(10, 2)
    frames.tofile(tmp_path / "v.f16")
    np.savez(tmp_path / "v.npz", offsets=np.array([0, 4, 6, 10]), channels=np.array(2))
    view = View.open(tmp_path, "v")
    assert view.lengths.tolist() == [4, 2, 4]
    np.testing.assert_array_equal(view.batch(np.array([0, 2])), np.stack([frames[:4], frames[6:]]))
    np.testing.assert_array_equal(view.batch(np.array([0, 2]), np.array([1, 2]), 2), [frames[1:3], frames[8:10]])


def test_open_set_counts_the_enrolled_who_are_named_rightly_while_strangers_are_refused() -> None:
    random = np.random.default_rng(0)
    voices = np.linalg.qr(random.normal(size=(40, 40)))[0][:20]
    speakers = np.repeat([f"s{number:02d}" for number in range(20)], 8)

    def utterances(spread: float) -> Utterances:
        vectors = np.repeat(voices, 8, axis=0) + random.normal(0, spread, (160, 40))
        return Utterances.nameless(speakers, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.ones(160))

    enrolled = utterances(0.01)
    assert open_set(enrolled, utterances(0.01)) == 1.0
    assert open_set(enrolled, utterances(0.5)) < 0.8


def test_a_step_tells_crops_better_apart(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="training campplus needs torch: pip install 'speaker-tasks[training]'")
    keras = pytest.importorskip("keras")
    if keras.backend.backend() != "torch":
        pytest.skip("training campplus needs KERAS_BACKEND=torch, of which a process has one")
    from speaker_tasks.embedding.training.adapt import Adaptation, Development, Recipe
    from speaker_tasks.embedding.weights import find, read

    torch.set_num_threads(1)
    start = read(find("campplus"))
    random = np.random.default_rng(0)
    frames = random.normal(size=(8 * 60, 512)).astype(np.float16)
    targets = random.normal(size=(8, 512)).astype(np.float32)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    view = View(frames, np.arange(0, 8 * 60 + 1, 60), targets)
    development = Development({"whole": view}, np.repeat(["a", "b"], 4), np.repeat(["demo"], 8))
    training = Adaptation(
        start,
        view,
        [view],
        speakers=[*"aabbccdd"],
        development=development,
        recipe=Recipe(minutes=0.0, batch_size=8, last_block=True),
    )
    before = training._step(view.batch(np.arange(8)), np.arange(8))
    training._schedule(0.1)
    for _ in range(5):
        after = training._step(view.batch(np.arange(8)), np.arange(8))
    assert after < before
