"""The training pipeline on a made-up corpus: batches, one step of learning, going on after a stop, export."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="training runs on TensorFlow here: pip install 'speaker-tasks[tensorflow]'")
pytest.importorskip("scipy", reason="training needs scipy: pip install 'speaker-tasks[training]'")

from speaker_tasks.embedding.training.batches import BatchMaker
from speaker_tasks.embedding.training.corpus import Corpus, View
from speaker_tasks.embedding.training.degrade import change_speed, degrade, reverberate, synthetic_room, telephone
from speaker_tasks.embedding.training.muon import ADAM_LAYERS, Muon
from speaker_tasks.embedding.training.recipe import Recipe

SPEAKERS, CLIPS, FRAMES = 10, 3, 130
RECIPE = Recipe(
    speeds=(1.0, 0.9), batch_size=8, crop_frames=(60, 100), final_crop_frames=(160,), steps=4, time_mask_frames=10
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    rng = np.random.default_rng(0)
    clips = SPEAKERS * CLIPS
    offsets = np.arange(clips + 1) * FRAMES

    def view(speed: float, degraded: bool) -> View:
        frames = rng.normal(-5, 2, (clips * FRAMES, 64)).astype(np.float16)
        return View(speed, degraded, frames, offsets)

    def unit(rows: int) -> np.ndarray:
        vectors = rng.normal(size=(rows, 192)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return Corpus(
        views=tuple(view(speed, degraded) for speed in RECIPE.speeds for degraded in (False, True)),
        speakers=np.repeat(np.arange(SPEAKERS), CLIPS),
        teacher={speed: unit(clips) for speed in RECIPE.speeds},
        noise=rng.normal(-8, 1, (2_000, 64)).astype(np.float16),
    )


class Silent:
    """A validation that costs nothing and always improves."""

    def __init__(self) -> None:
        self.calls = 0

    def eer_by_corpus(self, network) -> dict[str, float]:
        self.calls += 1
        return {"mean": 0.5 / self.calls}


def test_a_batch_holds_pairs_of_one_speaker_and_repeats_what_is_short(corpus):
    plain = dataclasses.replace(RECIPE, noise_probability=0.0, frequency_mask_bins=1, time_mask_frames=100)
    batch = BatchMaker(corpus, plain).draw(np.random.default_rng(0), final=True)
    assert batch.spectrograms.shape == (8, 64, 160, 1)
    again = batch.spectrograms[:, :, FRAMES:]
    np.testing.assert_allclose(again, batch.spectrograms[:, :, : again.shape[2]], atol=1e-5)
    assert list(batch.labels[0::2]) == list(batch.labels[1::2])
    assert len(set(batch.labels[0::2])) == 4
    assert np.linalg.norm(batch.targets, axis=1) == pytest.approx(np.ones(8), abs=1e-5)


def test_the_same_generator_state_gives_the_same_batch(corpus):
    maker = BatchMaker(corpus, RECIPE)
    first, second = (maker.draw(np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first.spectrograms, second.spectrograms)


def test_each_speed_makes_speakers_of_its_own(corpus):
    maker = BatchMaker(corpus, RECIPE)
    assert maker.classes == 2 * SPEAKERS
    assert maker.class_vectors().shape == (2 * SPEAKERS, 192)


def test_the_natural_speed_has_its_share(corpus):
    natural = BatchMaker(corpus, dataclasses.replace(RECIPE, natural_share=1.0))
    assert max(natural.draw(np.random.default_rng(0)).labels) < SPEAKERS
    other = BatchMaker(corpus, dataclasses.replace(RECIPE, natural_share=0.0))
    assert min(other.draw(np.random.default_rng(0)).labels) >= SPEAKERS


def test_a_speaker_with_one_clip_has_no_class(corpus):
    alone = dataclasses.replace(corpus, speakers=np.arange(SPEAKERS * CLIPS))
    mixed = dataclasses.replace(corpus, speakers=np.where(np.arange(SPEAKERS * CLIPS) < 2, 0, alone.speakers))
    assert BatchMaker(mixed, RECIPE).classes == 2


def test_training_goes_on_where_it_stopped_with_more_speeds_if_wanted(corpus, tmp_path):
    from speaker_tasks.embedding.training.loop import Training

    lines: list[str] = []
    of_one_speed = [view for view in corpus.views if view.speed == 1.0]
    less = dataclasses.replace(corpus, views=tuple(of_one_speed), teacher={1.0: corpus.teacher[1.0]})
    Training(dataclasses.replace(RECIPE, steps=2), less, Silent(), tmp_path, lines.append).run()
    again = Training(RECIPE, corpus, Silent(), tmp_path, lines.append)
    progress = again.run()
    assert "going on from step 2" in lines
    assert progress.step == 4
    assert [point["step"] for point in json.loads((tmp_path / "curve.json").read_text())["curve"]] == [2, 4]
    with np.load(tmp_path / "best.npz", allow_pickle=False) as best:
        assert {variable.path for variable in again.network.variables} == set(best.files)
        assert all(np.isfinite(best[name]).all() for name in best.files)


def test_learning_moves_towards_the_teacher(corpus):
    import keras

    from speaker_tasks.embedding.members import COMPACT
    from speaker_tasks.embedding.network import build
    from speaker_tasks.embedding.training.objective import Distillation

    keras.utils.set_random_seed(0)
    maker = BatchMaker(corpus, RECIPE)
    batch = maker.draw(np.random.default_rng(0))
    model = Distillation(build(COMPACT, masked=False), RECIPE, maker.class_vectors())
    model.compile(optimizer=Muon(0.02, adam_lr_ratio=0.05, exclude_layers=ADAM_LAYERS, rms_rate=None))
    targets = {"label": batch.labels, "teacher": batch.targets}
    losses = []
    for _ in range(7):
        model.reset_metrics()
        losses.append(float(model.train_on_batch(batch.spectrograms, targets, return_dict=True)["loss"]))
    assert losses[-1] < 0.7 * losses[0]


def test_a_kernel_learns_by_an_orthogonal_step_and_a_bias_by_adam():
    import keras

    kernel = keras.Variable(np.zeros((3, 3, 16, 8), np.float32), name="kernel")
    bias = keras.Variable(np.zeros(8, np.float32), name="bias")
    optimizer = Muon(0.5, adam_lr_ratio=0.1, adam_weight_decay=None, weight_decay=None, rms_rate=None)
    gradient = np.random.default_rng(0).normal(size=(144, 8)).astype(np.float32) * np.logspace(-1, 1, 8, dtype="f")
    optimizer.apply([gradient.reshape(kernel.shape), np.logspace(-2, 2, 8, dtype="f")], [kernel, bias])
    step = np.linalg.svd(keras.ops.convert_to_numpy(kernel).reshape(144, 8), compute_uv=False) / 0.5
    assert step.min() > 0.3  # the gradient's own span two decades
    assert step.max() < 1.4
    np.testing.assert_allclose(keras.ops.convert_to_numpy(bias), np.full(8, -0.05), rtol=1e-3)


def test_on_torch_the_fused_normalisation_is_that_of_keras():
    pytest.importorskip("torch", reason="training on torch needs it: pip install torch")
    code = """
import keras, numpy as np
keras.config.set_image_data_format("channels_first")
from speaker_tasks.embedding.residual_trunk import BatchNormalization
x = np.random.default_rng(0).normal(2, 3, (4, 6, 5, 7)).astype("float32")
for training in (True, False):
    layers = [kind(1, epsilon=1e-3) for kind in (BatchNormalization, keras.layers.BatchNormalization)]
    ours, theirs = [keras.ops.convert_to_numpy(layer(x, training=training)) for layer in layers]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    for mine, other in zip(layers[0].weights, layers[1].weights, strict=True):
        np.testing.assert_allclose(*map(keras.ops.convert_to_numpy, (mine, other)), rtol=1e-2)
"""
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=120)


def test_an_unknown_key_in_a_recipe_is_named(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("batch_size = 32\nlearning_rat = 1.0\n")
    with pytest.raises(ValueError, match="learning_rat"):
        Recipe.load(path)


def test_a_recipe_file_sets_what_it_names(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text("batch_size = 32\nspeeds = [1.0]\n")
    recipe = Recipe.load(path)
    assert (recipe.batch_size, recipe.speeds, recipe.scale) == (32, (1.0,), Recipe().scale)


def test_speed_changes_the_length_and_degradation_keeps_it():
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.1, 16_000).astype(np.float32)
    assert len(change_speed(samples, 0.9)) == pytest.approx(16_000 / 0.9, abs=2)
    for changed in (reverberate(samples, synthetic_room(rng)), telephone(samples, rng), degrade(samples, rng, [])):
        assert changed.shape == samples.shape
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()


def test_a_telephone_removes_the_high_band():
    rng = np.random.default_rng(0)
    time = np.arange(16_000) / 16_000
    high = np.sin(2 * np.pi * 7_500 * time).astype(np.float32)
    middle = np.sin(2 * np.pi * 1_000 * time).astype(np.float32)
    assert np.std(telephone(high, rng)) < 0.2 * np.std(telephone(middle, rng))
