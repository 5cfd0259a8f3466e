"""The network as OpenVINO graphs: traced from the Keras network once, then read from a folder without Keras.

There are two: the first convolutions, which may run in bf16, and what follows, which is always computed in f32. In bf16
the sums of residuals to the cluster centres cancel out, and a cluster that few frames fall to would turn any way.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from speaker_tasks.embedding import backend
from speaker_tasks.embedding.weights import Weights, read, write
from speaker_tasks.errors import ConfigurationError, SpeakerTasksError, from_dict

F32_FROM = {"log_mel": "x_fc", "vgg": "conv3_a_1x1_reduce", "kaldi_fbank": "x_fc"}
"""The layer, by front end, from which all is computed in f32.

Under the vgg protocol more of it in bf16 does not keep every clip at a cosine of 0.9995 to f32: on 41 clips of real
speech with the oracle's weights the least cosine is 0.9984 with only the aggregation in f32, 0.9995 from conv4, 0.9998
from conv3; a clip then takes 0.5, 0.7 and 0.9 of its time in f32.
"""
SOURCES = ("graphs.py", "network.py", "residual_trunk.py", "dense_trunk.py", "aggregation.py", "masks.py")
"""Graphs are traced anew when these files change, or Keras or OpenVINO do."""
CHECKSUMS = "sha256"
REFUSED = 3
"""The exit status of a process that traces, when it raises an error of ours."""

_logger = logging.getLogger(__name__)


def graphs(weights: Weights, folder: Path | None = None) -> tuple[Any, Any]:
    """Two `openvino.Model`s: spectrograms `(B, 1, bins, T)` to a feature map, the map to unit vectors `(B, size)`.

    They are kept in `folder`, if given; one that cannot be written to is done without.
    """
    if folder is None:
        return trace(weights)
    kept = folder / f"{weights.card.model_id}-{_key()}"
    if (graph := _read(kept)) is None:
        made = trace(weights)
        _keep(made, kept)
        graph = _read(kept) or made
    return graph


def trace(weights: Weights) -> tuple[Any, Any]:
    """Trace the Keras network by Keras' own OpenVINO backend; in a process of its own where Keras runs on another.

    TensorFlow's graph could be converted here, but OpenVINO's converter takes minutes for the masked dense trunk.
    """
    if "keras" in sys.modules and sys.modules["keras"].backend.backend() != "openvino":
        return _traced_apart(weights)
    keras = backend.import_keras("openvino")
    # In OpenVINO's order of axes nothing is transposed.
    network = backend.build(weights, masked=weights.config.pads, channels_first=True)
    between = network.get_layer(F32_FROM[weights.config.front_end]).input
    frames = network.inputs[1:]
    return (
        traced(keras.Model(network.inputs, between)),
        traced(keras.Model([between, *frames], network.output)),
    )


def _traced_apart(weights: Weights) -> tuple[Any, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        file, kept = Path(scratch) / "weights.safetensors", Path(scratch) / "graphs"
        write(file, weights.config, weights.tensors)
        command = [sys.executable, "-m", __name__, str(file), str(kept)]
        environment = {**os.environ, "KERAS_BACKEND": "openvino", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode == REFUSED:
            raise from_dict(json.loads(done.stdout))
        if done.returncode or (graph := _read(kept)) is None:
            raise ConfigurationError(f"the network could not be brought to OpenVINO: {done.stderr[-2000:]}")
        return graph


def traced(model: Any) -> Any:
    """Run a Keras model of the OpenVINO backend on symbolic inputs of any shape; all its outputs.

    By a private name: `model.export(format="openvino")` traces one row of one frame, and what follows from the shape is
    then fixed.
    """
    import openvino
    from keras.src.backend.openvino.core import OpenVINOKerasTensor
    from openvino import opset13

    types = {"float32": openvino.Type.f32, "int32": openvino.Type.i32}
    parameters = [
        opset13.parameter([-1 if size is None else size for size in given.shape], types[given.dtype])
        for given in model.inputs
    ]
    result = model([OpenVINOKerasTensor(parameter.output(0)) for parameter in parameters], training=False)
    results = result if isinstance(result, list) else [result]
    return openvino.Model([one.output for one in results], parameters)


def _key() -> str:
    digest = hashlib.sha256(f"{version('keras')} {version('openvino')}".encode())
    for name in SOURCES:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:12]


def _read(kept: Path) -> tuple[Any, Any] | None:
    """Graphs that were kept whole; None otherwise."""
    import openvino

    try:
        if (kept / CHECKSUMS).read_text() != _checksum(kept):
            _logger.warning("the graphs in %s are damaged and are made anew", kept)
            shutil.rmtree(kept, ignore_errors=True)
            return None
    except OSError:
        return None
    core = openvino.Core()
    return core.read_model(kept / "0.xml"), core.read_model(kept / "1.xml")


def _keep(made: tuple[Any, Any], kept: Path) -> None:
    """Write beside, then rename: of several workers that start at once one wins, and none reads a half."""
    import openvino

    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".graphs-") as scratch:
            folder = Path(scratch) / "whole"
            folder.mkdir()
            for number, graph in enumerate(made):
                openvino.save_model(graph, folder / f"{number}.xml", compress_to_fp16=False)
            (folder / CHECKSUMS).write_text(_checksum(folder))
            folder.rename(kept)
    except (OSError, RuntimeError) as error:
        _logger.info("graphs are not kept: %s", error)


def _checksum(folder: Path) -> str:
    digest = hashlib.sha256()
    for name in ("0.xml", "0.bin", "1.xml", "1.bin"):
        digest.update((folder / name).read_bytes())
    return digest.hexdigest()


def main() -> None:
    """Trace a weights file's network into a folder: for `_traced_apart`, which raises again what is refused here."""
    try:
        _keep(trace(read(Path(sys.argv[1]))), Path(sys.argv[2]))
    except SpeakerTasksError as error:
        sys.stdout.write(json.dumps(error.to_dict()))
        sys.exit(REFUSED)


if __name__ == "__main__":
    main()
