"""campplus is CAM++ where it is meant to be: filter banks, frames and statistics are the original's.

The expected values were made by the original code: see make_campplus_fixture.py.
"""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

from speaker_tasks.embedding import backend, network, weights
from speaker_tasks.embedding.aggregation import Statistics
from speaker_tasks.embedding.fbank import kaldi_fbank
from speaker_tasks.embedding.members import CAMPPLUS
from speaker_tasks.embedding.runtime import OpenVINORuntime, TensorFlowRuntime, padded
from speaker_tasks.embedding.training.teacher import isometry
from tests.unit.embedding.make_campplus_fixture import CLIPS, FILE, LENGTHS, VALUES, kept, spectrogram


@pytest.fixture(scope="module")
def original() -> np.lib.npyio.NpzFile:
    return np.load(FILE)


@pytest.fixture(scope="module")
def shipped() -> weights.Weights:
    return weights.read(weights.find("campplus"))


@pytest.fixture(scope="module")
def halves(shipped: weights.Weights) -> tuple[keras.Model, keras.Model]:
    return network.split(backend.build(shipped, masked=False))


@pytest.mark.parametrize("voice", CLIPS)
def test_filter_banks_are_kaldis(original: np.lib.npyio.NpzFile, voice: str) -> None:
    """Single values where a bin is almost empty are uncertain by some thousandths in Kaldi's float32 as well."""
    given = kaldi_fbank(original[f"samples_{voice}"].astype(np.float32) / 32768)
    expected = original[f"fbank_{voice}"]
    assert given.shape == expected.shape == (80, 118)
    assert given.dtype == np.float32
    error = np.abs(given - expected)
    assert np.mean(error > 1e-3) < 5e-4
    assert error.max() < 1e-2
    assert np.sqrt(np.mean(error**2)) < 1e-4


def test_filter_banks_of_a_clip_with_an_offset_and_digital_silence_stay_finite() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    plain = kaldi_fbank(np.concatenate([noise, np.zeros(4_000, np.float32)]))
    assert np.isfinite(plain).all()
    np.testing.assert_allclose(kaldi_fbank(noise + np.float32(0.25)), kaldi_fbank(noise), atol=0.02)


@pytest.mark.parametrize("length", LENGTHS)
def test_frames_and_vectors_are_the_originals(original: np.lib.npyio.NpzFile, halves, length: int) -> None:
    """From 0.4 s to a minute, also shorter than one segment of 100 frames and no multiple of it."""
    frames = ops.convert_to_numpy(halves[0](spectrogram(length)[None, ..., None], training=False))
    assert frames.shape == (1, (length + 1) // 2, 512)
    np.testing.assert_allclose(frames[0, kept(length)], original[f"frames_{length}"], atol=1e-4)
    statistics = ops.convert_to_numpy(Statistics()([frames]))[0]
    np.testing.assert_allclose(statistics, original[f"statistics_{length}"], atol=1e-4)
    vector = statistics @ original["last_kernel"].astype(np.float32) + original["last_bias"]
    np.testing.assert_allclose(vector, original[f"vector_{length}"], atol=1e-4 * np.abs(vector).max())
    assert len(vector) == VALUES


def test_padding_never_reaches_a_vector(shipped: weights.Weights, halves) -> None:
    trunk, head = halves
    lengths = np.array([38, 197, 201, 330], np.int32)
    batch = np.full((len(lengths), 80, 330, 1), 7.0, np.float32)
    for row, length in zip(batch, lengths, strict=True):
        row[:, :length, 0] = spectrogram(int(length))
    together = ops.convert_to_numpy(backend.build(shipped)([batch, lengths], training=False))
    for vector, length in zip(together, lengths, strict=True):
        alone = head(trunk(spectrogram(int(length))[None, ..., None], training=False), training=False)
        np.testing.assert_allclose(vector, ops.convert_to_numpy(alone)[0], atol=1e-5)


def test_a_clip_padded_to_one_of_few_lengths_has_the_vector_of_the_network_without_masks(
    shipped: weights.Weights, halves
) -> None:
    runtime = OpenVINORuntime(shipped, precision="f32", threads=1)
    lengths = np.array([38, 201, 256, 330], np.int32)
    batch = np.full((len(lengths), 80, 330, 1), 7.0, np.float32)
    for row, length in zip(batch, lengths, strict=True):
        row[:, :length, 0] = spectrogram(int(length))
    for vector, length in zip(runtime.embed(batch, lengths), lengths, strict=True):
        alone = halves[1](halves[0](spectrogram(int(length))[None, ..., None], training=False), training=False)
        np.testing.assert_allclose(vector, ops.convert_to_numpy(alone)[0], atol=1e-5)


@pytest.mark.parametrize("runtime", [OpenVINORuntime, TensorFlowRuntime])
def test_a_runtime_gives_the_frames_of_the_trunk(shipped: weights.Weights, halves, runtime) -> None:
    running = runtime(shipped, precision="f32", threads=1)
    for length in (38, 201, 998):
        expected = ops.convert_to_numpy(halves[0](spectrogram(length)[None, ..., None], training=False))[0]
        found = running.trunk_frames(spectrogram(length))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_openvino_sees_few_lengths_whatever_clips_come() -> None:
    """From 0.4 to 10 s; it keeps some megabytes for each."""
    shapes = {padded(np.zeros((1, length), np.float32)).shape for length in range(38, 1001)}
    assert len(shapes) <= 16


def test_a_single_frame_has_statistics() -> None:
    frames = np.array([[[1.0, -2.0]]], np.float32)
    np.testing.assert_allclose(ops.convert_to_numpy(Statistics()([frames])), [[1.0, -2.0, 0.0, 0.0]], atol=1e-5)


def test_the_vector_lies_in_the_space_of_the_original(shipped: weights.Weights) -> None:
    kernel = shipped.tensors["isometry/kernel"]
    np.testing.assert_allclose(kernel, isometry(512, 192, 0).T, atol=1e-4)
    np.testing.assert_allclose(kernel @ kernel.T, np.eye(192), atol=1e-3)


def test_the_weights_are_small_enough(shipped: weights.Weights) -> None:
    assert shipped.config == CAMPPLUS
    assert Path(weights.find("campplus")).stat().st_size <= 16_000_000
