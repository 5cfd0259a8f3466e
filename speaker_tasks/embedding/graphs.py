"""The network as OpenVINO graphs: traced from the Keras network once, then read from a folder without Keras.

There are two: the first convolutions, which may run in bf16, and what follows, which is always computed in f32. In bf16
the sums of residuals to the cluster centres cancel out, and a cluster that few frames fall to would turn any way.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from speaker_tasks.embedding import backend
from speaker_tasks.embedding.weights import Weights
from speaker_tasks.errors import ConfigurationError

F32_FROM = {"log_mel": "x_fc", "vgg": "conv3_a_1x1_reduce"}
"""The layer, by front end, from which all is computed in f32.

Under the vgg protocol more of it in bf16 does not keep every clip at a cosine of 0.9995 to f32: on 41 clips of real
speech with the oracle's weights the least cosine is 0.9984 with only the aggregation in f32, 0.9995 from conv4, 0.9998
from conv3; a clip then takes 0.5, 0.7 and 0.9 of its time in f32.
"""
SOURCES = ("graphs.py", "network.py")
"""Graphs are traced anew when these files change, or Keras or OpenVINO do."""
CHECKSUMS = "sha256"

_logger = logging.getLogger(__name__)


def graphs(weights: Weights, folder: Path | None = None) -> tuple[Any, Any]:
    """Two `openvino.Model`s: spectrograms `(B, 1, bins, T)` to a feature map, the map to unit vectors `(B, size)`.

    They are kept in `folder`, if given; one that cannot be written to is done without.
    """
    if folder is None:
        return trace(weights)
    kept = folder / f"{weights.card.model_id}-{_key()}"
    if (found := _read(kept)) is None:
        made = trace(weights)
        _keep(made, kept)
        found = _read(kept) or made
    return found


def trace(weights: Weights) -> tuple[Any, Any]:
    """Trace the Keras network: by Keras' own OpenVINO backend, or by TensorFlow where Keras already runs on it."""
    keras = sys.modules.get("keras") or backend.import_keras("openvino")
    export = {"openvino": _trace, "tensorflow": _convert}.get(keras.backend.backend())
    if export is None:
        raise ConfigurationError(f"Keras runs on {keras.backend.backend()!r}, from which nothing goes to OpenVINO")
    network = backend.build(weights, masked=False, channels_first=True)  # in OpenVINO's order nothing is transposed
    between = network.get_layer(F32_FROM[weights.config.front_end]).input
    return export(keras.Model(network.input, between)), export(keras.Model(between, network.output))


def _trace(model: Any) -> Any:
    """Run a Keras model of the OpenVINO backend on a symbolic input, of which the shape may be free."""
    import openvino
    from keras.src.backend.openvino.core import OpenVINOKerasTensor
    from openvino import opset13

    shape = openvino.PartialShape([-1 if size is None else size for size in model.input.shape])
    parameter = opset13.parameter(shape, openvino.Type.f32)
    result = model(OpenVINOKerasTensor(parameter.output(0)), training=False)
    return openvino.Model([result.output], [parameter])


def _convert(model: Any) -> Any:
    """The same by way of TensorFlow. The converter adds outputs of its own behind ours: they are cut off.

    The constants are copied: shared ones would lie in the memory of variables that are freed with the model.
    """
    import openvino
    import tensorflow as tf

    signature = [tf.TensorSpec(model.input.shape, tf.float32)]
    function = tf.function(lambda value: model(value, training=False), input_signature=signature)
    graph = openvino.convert_model(function.get_concrete_function(), share_weights=False)
    return openvino.Model(graph.get_results()[:1], graph.get_parameters())


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
