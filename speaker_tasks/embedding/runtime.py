"""How the network is executed: TensorFlow (GPU or CPU) or OpenVINO (CPU), from the same Keras definition.

Keras takes its backend once, when it is first imported. `make` sets it, so nothing may import Keras before: with the
OpenVINO backend a worker never loads TensorFlow, which saves half a gigabyte and three seconds.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from speaker_tasks.embedding.machine import has_fast_bf16, has_gpu, usable_processors
from speaker_tasks.embedding.weights import Weights, assign
from speaker_tasks.errors import ConfigurationError

F32_FROM = {"log_mel": "x_fc", "vgg": "conv5_a_1x1_reduce"}
"""The layer, by front end, from which the OpenVINO runtime computes in f32 whatever the precision."""

_logger = logging.getLogger(__name__)


class Runtime(Protocol):
    """An executable network, to be called by one thread at a time."""

    name: str
    device: str
    precision: str
    mixes_lengths: bool
    """Whether a batch is better filled with clips of any lengths than run by equal ones."""

    def embed(self, spectrograms: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """`(B, bins, T, 1)` float32 with `(B,)` int32 valid frames each: `(B, embedding_size)` float32 unit rows."""
        ...


def make(
    weights: Weights,
    *,
    device: str = "auto",
    runtime: str = "auto",
    precision: str = "auto",
    threads: int = 0,
    cache_dir: Path | None = None,
) -> Runtime:
    """Build the network and give it the weights. Raises ConfigurationError for what this machine cannot do."""
    device = _choose_device(device, runtime)
    runtime = {"cpu": "openvino", "gpu": "tensorflow"}[device] if runtime == "auto" else runtime
    threads = threads or usable_processors()
    if runtime == "tensorflow":
        return TensorFlowRuntime(weights, device=device, precision=precision, threads=threads)
    return OpenVINORuntime(weights, precision=precision, threads=threads, cache_dir=cache_dir)


class OpenVINORuntime:
    """The network compiled by OpenVINO for this CPU, with free batch and time, batch normalisation folded.

    On a CPU a batch of mixed lengths takes longer than its clips one by one (masks and padding cost more than company
    saves), so the network is built without masks and rows of one length are run together.

    It runs in two parts: most convolutions in the chosen precision, what follows `F32_FROM` always in f32. In bf16 the
    sums of residuals to the cluster centres cancel out, and a cluster that few frames fall to would turn any way.
    """

    name, device, mixes_lengths = "openvino", "cpu", False

    def __init__(
        self, weights: Weights, *, precision: str = "auto", threads: int = 0, cache_dir: Path | None = None
    ) -> None:
        import openvino

        self.precision = _cpu_precision(precision)
        self._size = weights.config.embedding_size
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or usable_processors(),
            "ENABLE_CPU_PINNING": False,
        }
        if cache_dir is not None:
            options["CACHE_DIR"] = str(cache_dir)
        core = openvino.Core()
        self._trunk, self._head = (
            core.compile_model(graph, "CPU", {**options, "INFERENCE_PRECISION_HINT": kind}).create_infer_request()
            for graph, kind in zip(openvino_graphs(weights), (self.precision, "f32"), strict=True)
        )

    def embed(self, spectrograms: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """See `Runtime.embed`."""
        vectors = np.empty((len(frames), self._size), np.float32)
        for length in np.unique(frames):
            rows = np.flatnonzero(frames == length)
            alike = spectrograms if len(rows) == len(frames) else spectrograms[rows]
            vectors[rows] = self._run(np.ascontiguousarray(alike[:, :, :length]))
        return vectors

    def _run(self, spectrograms: np.ndarray) -> np.ndarray:
        self._trunk.infer([spectrograms], share_inputs=True)
        between = [self._trunk.get_output_tensor(index) for index in range(len(self._trunk.model_outputs))]
        return self._head.infer(between, share_inputs=True, share_outputs=True)[0]


class TensorFlowRuntime:
    """The network as one compiled TensorFlow function with free batch and time."""

    name, mixes_lengths = "tensorflow", True

    def __init__(self, weights: Weights, *, device: str = "cpu", precision: str = "auto", threads: int = 0) -> None:
        keras = _keras("tensorflow")
        import tensorflow as tf

        _prepare_devices(tf, threads)
        self.device = device
        self.precision = _gpu_precision(tf, precision) if device == "gpu" else ("f32", "bf16")[precision == "bf16"]
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16" if self.precision == "bf16" else "float32")
        try:
            network = _build(weights)
        finally:
            keras.config.set_dtype_policy(policy)
        signature = [
            tf.TensorSpec((None, weights.config.bins, None, 1), tf.float32),
            tf.TensorSpec((None,), tf.int32),
        ]
        self._network = network  # the function holds its variables weakly
        self._function = tf.function(
            lambda spectrograms, frames: network([spectrograms, frames], training=False), input_signature=signature
        )

    def embed(self, spectrograms: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """See `Runtime.embed`."""
        return self._function(spectrograms, frames).numpy().astype(np.float32, copy=False)


def openvino_graphs(weights: Weights) -> tuple[Any, Any]:
    """The Keras network as two `openvino.Model`s, convolutions and aggregation.

    Traced by Keras' own OpenVINO backend, or converted where Keras already runs on TensorFlow.
    """
    keras = _keras(None if "keras" in sys.modules else "openvino")
    network = _build(weights, masked=False)
    between = network.get_layer(F32_FROM[weights.config.front_end]).input
    parts = keras.Model(network.inputs, between), keras.Model(between, network.output)
    export = {"openvino": _trace, "tensorflow": _convert}.get(keras.backend.backend())
    if export is None:
        raise ConfigurationError(f"Keras runs on {keras.backend.backend()!r}, from which nothing goes to OpenVINO")
    return export(parts[0]), export(parts[1])


def _trace(model: Any) -> Any:
    """Run a Keras model of the OpenVINO backend on symbolic inputs, of which the shapes may be free."""
    import openvino
    from keras.src.backend.openvino.core import OpenVINOKerasTensor
    from openvino import opset13

    parameters = [
        opset13.parameter(
            openvino.PartialShape([-1 if size is None else size for size in tensor.shape]),
            openvino.Type.i32 if tensor.dtype == "int32" else openvino.Type.f32,
        )
        for tensor in model.inputs
    ]
    inputs = [OpenVINOKerasTensor(parameter.output(0)) for parameter in parameters]
    outputs = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
    return openvino.Model([tensor.output for tensor in outputs], parameters)


def _convert(model: Any) -> Any:
    """The same by way of TensorFlow. The converter adds outputs of its own behind ours: they are cut off.

    The constants are copied: shared ones would lie in the memory of variables that are freed with the model.
    """
    import openvino
    import tensorflow as tf

    signature = [tf.TensorSpec(t.shape, t.dtype, name=f"input_{i}") for i, t in enumerate(model.inputs)]
    function = tf.function(
        lambda *inputs: model(list(inputs) if len(inputs) > 1 else inputs[0], training=False), input_signature=signature
    )
    graph = openvino.convert_model(function.get_concrete_function(), share_weights=False)
    return openvino.Model(graph.get_results()[: len(model.outputs)], graph.get_parameters())


def _build(weights: Weights, *, masked: bool = True) -> Any:
    from speaker_tasks.embedding import network

    model = network.build(weights.config, masked=masked)
    assign(model, weights.tensors)
    return model


def _keras(backend: str | None) -> Any:
    """Import Keras on a backend; a variable of the environment is the only switch it has."""
    if backend and "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = backend
    import keras

    if backend and keras.backend.backend() != backend:
        raise ConfigurationError(f"Keras already runs on {keras.backend.backend()!r} in this process, not {backend!r}")
    return keras


def _choose_device(device: str, runtime: str) -> str:
    if runtime == "openvino":
        if device == "gpu":
            raise ConfigurationError("the OpenVINO runtime serves CPUs here: set SPEAKER_RUNTIME=tensorflow for a GPU")
        return "cpu"
    if importlib.util.find_spec("tensorflow") is None:
        if device == "gpu" or runtime == "tensorflow":
            raise ConfigurationError("TensorFlow is not installed: pip install 'speaker-tasks[gpu]'")
        return "cpu"
    if device == "cpu" or (device == "auto" and not has_gpu()):
        return "cpu"
    _keras("tensorflow")
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return "gpu"
    if device == "gpu":
        raise ConfigurationError("no GPU that TensorFlow can use is visible (CUDA_VISIBLE_DEVICES, driver, packages)")
    return "cpu"


def _prepare_devices(tf: Any, threads: int) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:  # TensorFlow already runs in this process
        _logger.info("TensorFlow was started before: its threads and GPU memory stay as they are")


def _cpu_precision(precision: str) -> str:
    if precision != "auto":
        return precision
    return "bf16" if has_fast_bf16() else "f32"


def _gpu_precision(tf: Any, precision: str) -> str:
    if precision != "auto":
        return precision
    details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
    return "bf16" if details.get("compute_capability", (0, 0))[0] >= 8 else "f32"
