"""What a CPU worker's process holds, OpenVINO and no TensorFlow, and what it keeps for its next start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13 as opset

from speaker_tasks.embedding import graphs, weights
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.embedding.machine import writable
from tests.unit.embedding.conftest import voice

PROGRAM = r"""
import json, re, sys
import numpy as np
from pathlib import Path
from speaker_tasks.embedding.embedder import Embedder
weights, data_dir = map(Path, sys.argv[1:3])
embedder = Embedder.load("compact", weights=weights, data_dir=data_dir, precision="f32", device="cpu")
vector = embedder.embed(np.load(sys.argv[3]))
print(json.dumps({
    "vector": vector.tolist(),
    "runtime": embedder.runtime,
    "megabytes": int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024,
    "heavy": sorted({"tensorflow", "keras", "openvino", "torch", "jax", "librosa", "numba"} & set(sys.modules)),
}))
"""


def test_the_first_vector_comes_without_tensorflow_and_the_next_start_without_keras(
    compact_file: Path, load: Callable[..., Embedder], tmp_path: Path
) -> None:
    np.save(tmp_path / "voice.npy", voice(1.0))
    command = [sys.executable, "-c", PROGRAM, compact_file, tmp_path / "data", tmp_path / "voice.npy"]
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    expected = load(compact_file, "openvino").embed(voice(1.0))
    for frameworks, most in ((["keras", "openvino"], 450), (["openvino"], 250)):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout.splitlines()[-1])
        assert answer["runtime"] == "openvino"
        assert answer["heavy"] == frameworks
        assert answer["megabytes"] < most
        np.testing.assert_allclose(answer["vector"], expected, atol=1e-5)


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Makes tracing quick: a network that doubles. Lists what was traced."""
    traced: list[str] = []

    def trace(loaded: weights.Weights) -> tuple[openvino.Model, openvino.Model]:
        traced.append(loaded.card.model_id)
        value = opset.parameter([-1, 2], np.float32)
        doubled = openvino.Model([opset.multiply(value, np.array([2.0], np.float32))], [value])
        return doubled, doubled

    monkeypatch.setattr(graphs, "trace", trace)
    return traced


def double(models: tuple[openvino.Model, openvino.Model]) -> float:
    return float(openvino.Core().compile_model(models[0], "CPU")([np.ones((1, 2), np.float32)])[0][0, 0])


def test_graphs_are_traced_once_and_anew_when_they_are_damaged(
    compact_file: Path, traces: list[str], tmp_path: Path
) -> None:
    loaded = weights.read(compact_file)
    assert double(graphs.graphs(loaded, tmp_path)) == 2
    assert double(graphs.graphs(loaded, tmp_path)) == 2
    assert traces == [loaded.card.model_id]
    (kept,) = tmp_path.iterdir()
    whole = (kept / "0.bin").read_bytes()
    for damaged in (whole[:-1] + b"!", whole[:1], b""):
        (kept / "0.bin").write_bytes(damaged)
        assert double(graphs.graphs(loaded, tmp_path)) == 2
    assert len(traces) == 4
    assert list(tmp_path.iterdir()) == [kept]


def test_a_folder_that_cannot_be_written_to_is_done_without(
    compact_file: Path, traces: list[str], tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("a file, not a folder")
    assert double(graphs.graphs(weights.read(compact_file), tmp_path / "data" / "compiled")) == 2
    assert not writable(tmp_path / "data" / "compiled")
    assert writable(tmp_path / "elsewhere" / "compiled")
    assert len(traces) == 1
