"""What a CPU worker's process holds: OpenVINO, and no TensorFlow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.unit.embedding.conftest import voice
from tests.unit.embedding.test_embedder import load

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
    "heavy": sorted({"tensorflow", "torch", "jax", "librosa", "numba"} & set(sys.modules)),
}))
"""


def test_the_first_vector_comes_without_tensorflow_and_from_the_cache_again(compact_file: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "voice.npy", voice(1.0))
    command = [sys.executable, "-c", PROGRAM, compact_file, tmp_path / "data", tmp_path / "voice.npy"]
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    expected = load(compact_file, "openvino").embed(voice(1.0))
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout.splitlines()[-1])
        assert answer["runtime"] == "openvino"
        assert answer["heavy"] == []
        assert answer["megabytes"] < 450
        np.testing.assert_allclose(answer["vector"], expected, atol=1e-5)
    assert list((tmp_path / "data" / "compiled").iterdir())
