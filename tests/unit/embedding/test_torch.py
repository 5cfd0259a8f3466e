"""The network on PyTorch, in a process of its own, since Keras takes one backend; skipped where that is missing."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from speaker_tasks.embedding import runtime
from speaker_tasks.embedding.audio import decode
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.errors import ConfigurationError
from tests.conftest import ROOT

LENGTHS = {"Alice": 16_000, "Brian": 24_000, "David": 40_000}
EMBED = """
import sys
from pathlib import Path
import numpy as np
from speaker_tasks.embedding.embedder import Embedder

name, weights, precision, clips, vectors = sys.argv[1:]
with np.load(clips) as stored:
    sounds = [stored[one] for one in sorted(stored)]
embedder = Embedder.load(name, weights=Path(weights), device="cpu", runtime="torch", precision=precision)
assert (embedder.runtime, embedder.device) == ("torch", "cpu")
alone = np.stack([embedder.embed(one) for one in sounds])
np.savez(vectors, alone=alone, together=embedder.embed_many(sounds), frames=embedder.trunk_frames(sounds[0]))
"""


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="pip install torch")
@pytest.mark.parametrize(("precision", "cosine"), [("f32", 0.99999), ("bf16", 0.999)])
def test_torch_gives_the_vectors_that_openvino_gives(
    load: Callable[..., Embedder],
    *,
    campplus_file: Path,
    demo_speakers: Path,
    tmp_path: Path,
    precision: str,
    cosine: float,
) -> None:
    sounds = [decode(demo_speakers / name / "1.ogg")[:length] for name, length in LENGTHS.items()]
    clips, vectors = tmp_path / "clips.npz", tmp_path / "vectors.npz"
    np.savez(clips, *sounds)
    command = [sys.executable, "-c", EMBED, campplus_file.stem, str(campplus_file), precision, str(clips), str(vectors)]
    variables = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    subprocess.run(command, check=True, cwd=ROOT, env=variables)
    openvino = load(campplus_file, "openvino")
    expected, frames = openvino.embed_many(sounds), openvino.trunk_frames(sounds[0])
    with np.load(vectors) as given:
        assert (given["alone"] * expected).sum(axis=1).min() >= cosine
        assert (given["frames"] * frames).sum() >= cosine * np.linalg.norm(given["frames"]) * np.linalg.norm(frames)
        np.testing.assert_allclose(given["together"], given["alone"], atol=1e-5 if precision == "f32" else 1e-2)


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        ({"tensorflow", "torch"}, ("gpu", "tensorflow")),
        ({"torch"}, ("gpu", "torch")),
        (set(), ("cpu", "openvino")),
    ],
)
def test_a_gpu_is_served_by_torch_where_tensorflow_is_missing(
    monkeypatch: pytest.MonkeyPatch, installed: set[str], chosen: tuple[str, str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr(runtime, "has_gpu", lambda: True)
    monkeypatch.setattr(runtime, "_sees_gpu", lambda framework: True)
    assert runtime._choose("auto", "auto") == chosen
    assert runtime._choose("cpu", "auto") == ("cpu", "openvino")


def test_a_framework_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install torch"):
        runtime._choose("auto", "torch")
    with pytest.raises(ConfigurationError, match=r"speaker-tasks\[gpu\]"):
        runtime._choose("gpu", "auto")
