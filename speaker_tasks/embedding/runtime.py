"""How the network is executed: TensorFlow (GPU or CPU) or OpenVINO (CPU), from the same Keras definition.

Keras takes its backend once, when it is first imported, and `make` sees to it: nothing should import Keras before. With
OpenVINO a worker never loads TensorFlow, which saves half a gigabyte and three seconds, nor Keras but the first time.
"""

from __future__ import annotations

import importlib.util
import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from speaker_tasks.embedding.backend import build, import_keras
from speaker_tasks.embedding.graphs import graphs
from speaker_tasks.embedding.machine import has_fast_bf16, has_gpu, usable_processors, writable
from speaker_tasks.embedding.weights import Weights
from speaker_tasks.errors import ConfigurationError

MEETING_SECONDS = 0.05
"""After two calls met, others are likely to: for so long each has one thread."""

_logger = logging.getLogger(__name__)


class Runtime(Protocol):
    """An executable network, to be called by `streams + ahead` threads at a time."""

    name: str
    device: str
    precision: str
    mixes_lengths: bool
    """Whether a batch is better filled with clips of any lengths than run by equal ones."""
    streams: int
    """Calls that may run at the same moment."""
    ahead: int
    """Calls that are best handed over beyond those: they begin as soon as another ends."""

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

    A call that runs alone has all threads, which is quickest; calls that meet have one each, which is most in all: two
    threads that share a call wait for each other, the more so when other processes want the cores as well.

    As many calls again may be handed over ahead: OpenVINO's own threads go from one to the next without Python's lock,
    for which a thread that has just ended a call would wait while its processor has nothing to do.
    """

    name, device, mixes_lengths = "openvino", "cpu", False

    def __init__(
        self, weights: Weights, *, precision: str = "auto", threads: int = 0, cache_dir: Path | None = None
    ) -> None:
        import openvino

        self.precision = _cpu_precision(precision)
        self._size = weights.config.embedding_size
        self.streams = threads or usable_processors()
        self.ahead = self.streams
        options: dict[str, Any] = {"ENABLE_CPU_PINNING": False}
        if cache_dir is not None and writable(cache_dir):
            options["CACHE_DIR"] = str(cache_dir)
        core, made = openvino.Core(), graphs(weights, cache_dir)

        def compiled(streams: int, requests: int) -> list[_Request]:
            shape = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": self.streams}
            trunk, head = (
                core.compile_model(graph, "CPU", {**options, **shape, "INFERENCE_PRECISION_HINT": kind})
                for graph, kind in zip(made, (self.precision, "f32"), strict=True)
            )
            return [_Request(trunk, head, openvino.Tensor, handed=requests > 1) for _ in range(requests)]

        self._whole = compiled(1, 1)[0] if self.streams > 1 else None
        self._shares: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        for one in compiled(self.streams, self.streams + self.ahead):
            self._shares.put(one)
        self._running, self._met, self._lock = 0, float("-inf"), threading.Lock()

    def embed(self, spectrograms: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """See `Runtime.embed`."""
        vectors = np.empty((len(frames), self._size), np.float32)
        with self._request() as request:
            if len(frames) == 1:  # on a CPU most calls are of one clip: nothing to sort out
                return request.run(np.ascontiguousarray(spectrograms[:, :, : frames[0], 0])[:, None]).copy()
            for length in np.unique(frames):
                rows = np.flatnonzero(frames == length)
                alike = spectrograms if len(rows) == len(frames) else spectrograms[rows]
                vectors[rows] = request.run(np.ascontiguousarray(alike[:, :, :length, 0])[:, None])
        return vectors

    @contextmanager
    def _request(self) -> Iterator[_Request]:
        """All threads for a call that runs alone, else one thread's share; also where calls met just now."""
        with self._lock:
            self._running += 1
            now = time.monotonic()
            if self._running > 1:
                self._met = now
            alone = now - self._met > MEETING_SECONDS
        whole = self._whole if alone else None
        request = whole or self._shares.get()
        try:
            yield request
        finally:
            if request is not whole:
                self._shares.put(request)
            with self._lock:
                self._running -= 1


class _Request:
    """The two graphs, run one after the other; by one thread at a time."""

    def __init__(self, trunk: Any, head: Any, tensor: Any, *, handed: bool) -> None:
        """`handed` over to OpenVINO's threads, or run in the caller's."""
        self._trunk, self._head, self._tensor = trunk.create_infer_request(), head.create_infer_request(), tensor
        self._call = _hand_over if handed else _call

    def run(self, spectrograms: np.ndarray) -> np.ndarray:
        """`(B, 1, bins, T)` to `(B, size)`, which the next call overwrites."""
        # Tensors set by hand: to find out what an argument of `infer` is takes a tenth of a millisecond.
        self._trunk.set_input_tensor(self._tensor(spectrograms, shared_memory=True))
        self._call(self._trunk)
        self._head.set_input_tensor(self._trunk.get_output_tensor(0))
        self._call(self._head)
        found: np.ndarray = self._head.get_output_tensor(0).data
        return found


def _call(request: Any) -> None:
    request.infer(share_outputs=True)


def _hand_over(request: Any) -> None:
    request.start_async(share_inputs=True)
    request.wait()


class TensorFlowRuntime:
    """The network as one compiled TensorFlow function with free batch and time, masked for mixed lengths.

    On a GPU its memory grows as needed, and bf16 is chosen where the GPU has it; on a CPU bf16 gains nothing here.
    """

    name, mixes_lengths, streams, ahead = "tensorflow", True, 1, 0

    def __init__(self, weights: Weights, *, device: str = "cpu", precision: str = "auto", threads: int = 0) -> None:
        import_keras("tensorflow")
        import tensorflow as tf

        _prepare_devices(tf, device, threads)
        self.device = device
        self.precision = _gpu_precision(tf, precision) if device == "gpu" else ("f32", "bf16")[precision == "bf16"]
        network = build(weights, policy="mixed_bfloat16" if self.precision == "bf16" else "float32")
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


def _choose_device(device: str, runtime: str) -> str:
    if runtime == "openvino":
        if device == "gpu":
            raise ConfigurationError("the OpenVINO runtime serves CPUs here: set SPEAKER_RUNTIME=tensorflow for a GPU")
        return "cpu"
    if importlib.util.find_spec("tensorflow") is None:
        if device == "gpu" or runtime == "tensorflow":
            extra = "gpu" if device == "gpu" else "tensorflow"
            raise ConfigurationError(f"TensorFlow is not installed: pip install 'speaker-tasks[{extra}]'")
        return "cpu"
    if device == "cpu" or (device == "auto" and not has_gpu()):
        return "cpu"
    import_keras("tensorflow")
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return "gpu"
    if device == "gpu":
        raise ConfigurationError("no GPU that TensorFlow can use is visible (CUDA_VISIBLE_DEVICES, driver, packages)")
    return "cpu"


def _prepare_devices(tf: Any, device: str, threads: int) -> None:
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        if device == "cpu":
            tf.config.set_visible_devices([], "GPU")
        for gpu in tf.config.get_visible_devices("GPU"):
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
