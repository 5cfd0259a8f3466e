"""Voices made of numbers, and networks to embed them: no files but the oracle's."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"  # both runtimes in one process; the process without it has a test of its own

from collections.abc import Callable
from functools import cache
from pathlib import Path

import keras
import numpy as np
import pytest

from speaker_tasks.embedding import network, weights
from speaker_tasks.embedding.audio import SAMPLE_RATE
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.embedding.legacy_weights import read_legacy
from speaker_tasks.embedding.members import COMPACT, VGG, NetworkConfig


def voice(seconds: float, *, pitch: float = 140.0, seed: int = 0) -> np.ndarray:
    """A buzz with moving resonances and some noise: `(T,)` float32 at 16 kHz."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.1 * np.sin(2 * np.pi * 1.3 * time))) / SAMPLE_RATE
    gains = rng.uniform(0.02, 1.0, 24)
    sound = sum(gain * np.sin(number * phase) for number, gain in enumerate(gains, start=1))
    sound = sound * (0.6 + 0.4 * np.sin(2 * np.pi * 3.1 * time)) + 0.2 * rng.standard_normal(len(time))
    return (0.05 * sound).astype(np.float32)


def lively_weights(config: NetworkConfig, seed: int = 0) -> weights.Tensors:
    """Made-up weights under which different sounds have clearly different vectors."""
    rng = np.random.default_rng(seed)
    made: weights.Tensors = {}
    for variable in network.build(config).variables:
        shape = tuple(variable.shape)
        match variable.path.rsplit("/", 1)[-1]:
            case "kernel":
                scale = 8.0 if "assignment" in variable.path else 1.4
                value = rng.normal(0, scale / np.sqrt(np.prod(shape[:-1])), shape)
            case "gamma" | "moving_variance":
                value = rng.uniform(0.7, 1.3, shape)
            case "centers":
                value = rng.uniform(0, 1, shape)
            case _:
                value = rng.normal(0, 0.2, shape)
        made[variable.path] = value.astype(np.float32)
    return made


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Embedder]:
    """Gives the embedder of a weights file, a runtime and a precision, one of each for the whole session."""
    data_dir = tmp_path_factory.mktemp("data")

    @cache
    def loaded(path: Path, runtime: str = "openvino", precision: str = "f32") -> Embedder:
        return Embedder.load(
            path.stem, weights=path, data_dir=data_dir, device="cpu", runtime=runtime, precision=precision
        )

    return loaded


@pytest.fixture(scope="session")
def oracle(shared_dir: Path) -> np.lib.npyio.NpzFile:
    """Waves with the features and embeddings that the original network gives under `vgg_weights.h5`."""
    return np.load(shared_dir / "oracle" / "vgg_expected.npz")


@pytest.fixture(scope="session")
def compact_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compact network under made-up weights: exactness must not hang on trained ones."""
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("weights") / "compact.safetensors"
    weights.write(path, COMPACT, lively_weights(COMPACT), dtype=np.float16)
    return path


@pytest.fixture(scope="session")
def vgg_file(tmp_path_factory: pytest.TempPathFactory, shared_dir: Path) -> Path:
    """The published network under the oracle's weights, in our format."""
    path = tmp_path_factory.mktemp("weights") / "vgg.safetensors"
    weights.write(path, VGG, read_legacy(shared_dir / "oracle" / "vgg_weights.h5", verify=False))
    return path


@pytest.fixture(scope="session")
def campplus_file() -> Path:
    """The dense network as it is shipped: made-up weights would not come through fifty layers."""
    return weights.find("campplus")
