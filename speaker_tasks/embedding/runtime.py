"""How the network is executed: TensorFlow or PyTorch (GPU or CPU) or OpenVINO (CPU), from the same Keras definition.

Keras takes its backend once, when it is first imported, and `make` sees to it: nothing should import Keras before. With
OpenVINO a worker never loads TensorFlow, which saves half a gigabyte and three seconds, nor Keras but the first time.
"""

from __future__ import annotations

import fcntl
import importlib.util
import logging
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from speaker_tasks.embedding.backend import build, import_keras
from speaker_tasks.embedding.graphs import F32_FROM, graphs
from speaker_tasks.embedding.machine import has_fast_bf16, has_gpu, usable_processors, writable
from speaker_tasks.embedding.weights import Weights
from speaker_tasks.errors import ConfigurationError

MEETING_SECONDS = 0.05
"""After two calls met, others are likely to: for so long each has one thread."""
PADDED_TO = ((256, 32), (512, 64), (1 << 30, 128))
"""Where clips are padded: up to how many frames, to a multiple of how many."""
BF16_SINCE = 8
"""NVIDIA's compute capability from which on GPUs multiply bfloat16."""

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

    def trunk_frames(self, spectrogram: np.ndarray) -> np.ndarray:
        """What a dense trunk gives for `(bins, T)` float32, before one vector is made of it: `(T / 2, channels)`."""
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
    device, runtime = _choose(device, runtime)
    threads = threads or usable_processors()
    if runtime == "tensorflow":
        return TensorFlowRuntime(weights, device=device, precision=precision, threads=threads)
    if runtime == "torch":
        return TorchRuntime(weights, device=device, precision=precision, threads=threads)
    return OpenVINORuntime(weights, precision=precision, threads=threads, cache_dir=cache_dir)


class OpenVINORuntime:
    """The network compiled by OpenVINO for this CPU, with free batch and time, batch normalisation folded.

    On a CPU a batch of mixed lengths takes longer than its clips one by one. A residual trunk is built without masks,
    and rows of one length are run together. A dense one, for which each new shape costs time and memory
    (`NetworkConfig.pads`), is masked, and each row is padded to one of few lengths and run by itself.

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
        self._size, self._pads = weights.config.embedding_size, weights.config.pads
        self.streams = threads or usable_processors()
        self.ahead = self.streams
        options: dict[str, Any] = {"ENABLE_CPU_PINNING": False}
        kept = cache_dir if cache_dir is not None and writable(cache_dir) else None
        if kept is not None:
            options["CACHE_DIR"] = str(kept)
        core, made = openvino.Core(), graphs(weights, cache_dir)

        def compiled(streams: int, requests: int) -> list[_Request]:
            shape = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": self.streams}
            trunk, head = (
                core.compile_model(graph, "CPU", {**options, **shape, "INFERENCE_PRECISION_HINT": kind})
                for graph, kind in zip(made, (self.precision, "f32"), strict=True)
            )
            return [_Request(trunk, head, openvino.Tensor, handed=requests > 1) for _ in range(requests)]

        self._shares: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        with _alone(kept):
            self._whole = compiled(1, 1)[0] if self.streams > 1 else None
            for one in compiled(self.streams, self.streams + self.ahead):
                self._shares.put(one)
        self._running, self._met, self._lock = 0, float("-inf"), threading.Lock()

    def embed(self, spectrograms: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """See `Runtime.embed`."""
        vectors = np.empty((len(frames), self._size), np.float32)
        with self._request() as request:
            if self._pads:
                for row, length in enumerate(frames):
                    vectors[row] = request.run(padded(spectrograms[row, :, :length, 0]), frames[row : row + 1])
                return vectors
            if len(frames) == 1:  # on a CPU most calls are of one clip: nothing to sort out
                return request.run(np.ascontiguousarray(spectrograms[:, :, : frames[0], 0])[:, None]).copy()
            for length in np.unique(frames):
                rows = np.flatnonzero(frames == length)
                alike = spectrograms if len(rows) == len(frames) else spectrograms[rows]
                vectors[rows] = request.run(np.ascontiguousarray(alike[:, :, :length, 0])[:, None])
        return vectors

    def trunk_frames(self, spectrogram: np.ndarray) -> np.ndarray:
        """See `Runtime.trunk_frames`."""
        length = spectrogram.shape[1]
        with self._request() as request:
            return request.run_trunk(padded(spectrogram), np.array([length], np.int32))[0, : -(-length // 2)].copy()

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


@contextmanager
def _alone(folder: Path | None) -> Iterator[None]:
    """One process at a time compiles into a folder: of two that write one file of OpenVINO's cache, one fails."""
    if folder is None:
        yield
        return
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class _Request:
    """The two graphs, run one after the other; by one thread at a time."""

    def __init__(self, trunk: Any, head: Any, tensor: Any, *, handed: bool) -> None:
        """`handed` over to OpenVINO's threads, or run in the caller's."""
        self._trunk, self._head, self._tensor = trunk.create_infer_request(), head.create_infer_request(), tensor
        self._call = _hand_over if handed else _call

    def run(self, spectrograms: np.ndarray, frames: np.ndarray | None = None) -> np.ndarray:
        """`(B, 1, bins, T)`, and `(B,)` int32 frames if masked, to `(B, size)`, which the next call overwrites."""
        self.run_trunk(spectrograms, frames)
        if frames is not None:
            self._head.set_input_tensor(1, self._tensor(frames))
        self._head.set_input_tensor(0, self._trunk.get_output_tensor(0))
        self._call(self._head)
        output: np.ndarray = self._head.get_output_tensor(0).data
        return output

    def run_trunk(self, spectrograms: np.ndarray, frames: np.ndarray | None = None) -> np.ndarray:
        """The first graph alone, to its feature map, which the next call overwrites."""
        # Tensors set by hand: to find out what an argument of `infer` is takes a tenth of a millisecond.
        self._trunk.set_input_tensor(0, self._tensor(spectrograms, shared_memory=True))
        if frames is not None:
            self._trunk.set_input_tensor(1, self._tensor(frames))
        self._call(self._trunk)
        output: np.ndarray = self._trunk.get_output_tensor(0).data
        return output


def padded(spectrogram: np.ndarray) -> np.ndarray:
    """`(bins, T)` float32 under zeros to one of few lengths: `(1, 1, bins, T')`."""
    bins, length = spectrogram.shape
    multiple = next(multiple for most, multiple in PADDED_TO if length <= most)
    longer = np.zeros((1, 1, bins, -(-length // multiple) * multiple), np.float32)
    longer[0, 0, :, :length] = spectrogram
    return longer


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
        self._network, self._trunk = _networks(weights, self.precision)  # functions hold their variables weakly
        signature = [
            tf.TensorSpec((None, weights.config.bins, None, 1), tf.float32),
            tf.TensorSpec((None,), tf.int32),
        ]
        self._function, self._trunk_function = (
            tf.function(partial(_applied, network), input_signature=signature)
            for network in (self._network, self._trunk)
        )

    def embed(self, spectrograms: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """See `Runtime.embed`."""
        return self._function(spectrograms, frames).numpy().astype(np.float32, copy=False)

    def trunk_frames(self, spectrogram: np.ndarray) -> np.ndarray:
        """See `Runtime.trunk_frames`."""
        return self._trunk_function(*_alone_in_batch(spectrogram)).numpy()[0].astype(np.float32, copy=False)


class TorchRuntime:
    """The network as Keras runs it on PyTorch, call by call, masked for mixed lengths: for GPUs without TensorFlow.

    JAX would compile it anew for each number of clips and each length.
    """

    name, mixes_lengths, streams, ahead = "torch", True, 1, 0

    def __init__(self, weights: Weights, *, device: str = "cpu", precision: str = "auto", threads: int = 0) -> None:
        self._keras = import_keras("torch")
        import torch

        torch.set_num_threads(threads or usable_processors())
        self._torch, self.device = torch, device
        if precision == "auto":
            precision = "bf16" if device == "gpu" and torch.cuda.get_device_capability()[0] >= BF16_SINCE else "f32"
        self.precision = precision
        with self._placed():
            self._network, self._trunk = _networks(weights, precision)

    def embed(self, spectrograms: np.ndarray, frames: np.ndarray) -> np.ndarray:
        """See `Runtime.embed`."""
        return self._run(self._network, spectrograms, frames)

    def trunk_frames(self, spectrogram: np.ndarray) -> np.ndarray:
        """See `Runtime.trunk_frames`."""
        return self._run(self._trunk, *_alone_in_batch(spectrogram))[0]

    def _run(self, network: Any, spectrograms: np.ndarray, frames: np.ndarray) -> np.ndarray:
        with self._torch.inference_mode(), self._placed():
            output = _applied(network, spectrograms, frames)
        return output.float().cpu().numpy()

    def _placed(self) -> Any:
        """Where Keras puts what is made in the block."""
        return self._keras.device("gpu:0" if self.device == "gpu" else "cpu:0")


def _networks(weights: Weights, precision: str) -> tuple[Any, Any]:
    """The Keras network, and what of it comes before the layer from which all is computed in f32.

    In bf16 its first convolutions are, and what follows is in f32, as in `graphs`.
    """
    import keras

    exact, layer = build(weights), F32_FROM[weights.config.front_end]
    if precision != "bf16":
        return exact, keras.Model(exact.inputs, exact.get_layer(layer).input)
    fast = build(weights, policy="mixed_bfloat16")
    spectrograms, frames = fast.inputs
    first = keras.Model(fast.inputs, fast.get_layer(layer).input)
    rest = keras.Model([exact.get_layer(layer).input, exact.inputs[1]], exact.output)
    between = keras.ops.cast(first([spectrograms, frames]), "float32")
    return keras.Model([spectrograms, frames], rest([between, frames])), first


def _applied(network: Any, spectrograms: Any, frames: Any) -> Any:
    return network([spectrograms, frames], training=False)


def _alone_in_batch(spectrogram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One spectrogram `(bins, T)` as Keras takes it, and its length."""
    return spectrogram[None, :, :, None], np.array([spectrogram.shape[1]], np.int32)


def _choose(device: str, runtime: str) -> tuple[str, str]:
    """The device and the runtime for it: OpenVINO on a CPU; on a GPU TensorFlow, or PyTorch where that is missing."""
    if runtime == "openvino":
        if device == "gpu":
            raise ConfigurationError("the OpenVINO runtime serves CPUs here: set SPEAKER_RUNTIME=tensorflow for a GPU")
        return "cpu", runtime
    wanted = ("tensorflow", "torch") if runtime == "auto" else (runtime,)
    framework = next((name for name in wanted if importlib.util.find_spec(name) is not None), None)
    if framework is None and (device == "gpu" or runtime != "auto"):
        raise ConfigurationError(_not_installed(device, runtime))
    if framework is not None and device != "cpu" and (device == "gpu" or has_gpu()):
        if _sees_gpu(framework):
            return "gpu", framework
        if device == "gpu":
            raise ConfigurationError(
                f"no GPU that {framework} can use is visible (CUDA_VISIBLE_DEVICES, driver, packages)"
            )
    return "cpu", "openvino" if runtime == "auto" else runtime


def _not_installed(device: str, runtime: str) -> str:
    if runtime == "torch":
        return "PyTorch is not installed: pip install torch"
    return f"TensorFlow is not installed: pip install 'speaker-tasks[{'gpu' if device == 'gpu' else 'tensorflow'}]'"


def _sees_gpu(framework: str) -> bool:
    import_keras(framework)  # TensorFlow imports it as well
    if framework == "torch":
        import torch

        return bool(torch.cuda.is_available())
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


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
    return "bf16" if details.get("compute_capability", (0, 0))[0] >= BF16_SINCE else "f32"
