"""The trunk of an embedding network alone: what it hears at each moment, before one vector is made of it."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from speaker_tasks.embedding import machine, runtime
from speaker_tasks.embedding.audio import SAMPLE_RATE
from speaker_tasks.embedding.embedder import FRONT_ENDS
from speaker_tasks.embedding.graphs import graphs
from speaker_tasks.embedding.weights import Weights, load
from speaker_tasks.settings import Settings


class Trunk:
    """A dense trunk by OpenVINO on the CPU, in one thread; calls run one after the other."""

    def __init__(
        self, weights: Weights, *, seconds: int, data_dir: Path | None = None, precision: str = "auto"
    ) -> None:
        """`seconds` is the longest block. `data_dir` is where traced networks are kept."""
        import openvino

        self._front_end = FRONT_ENDS[weights.config.front_end]
        self._longest = self._front_end(np.zeros(seconds * SAMPLE_RATE, np.float32)).shape
        graph, _ = graphs(weights, data_dir / "compiled" if data_dir else None)
        graph.reshape({0: [1, 1, *self._longest], 1: [1]})
        options = {
            "ENABLE_CPU_PINNING": False,
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": 1,
            "INFERENCE_PRECISION_HINT": runtime.cpu_precision(precision),
        }
        self._request = openvino.Core().compile_model(graph, "CPU", options).create_infer_request()
        self._lock = threading.Lock()

    @classmethod
    def configured(cls, settings: Settings, *, seconds: int) -> Trunk:
        """The one of the model that the settings name. Raises what `weights.load` raises."""
        weights = load(settings.model, path=settings.weights, data_dir=settings.data_dir)
        trunk = cls(weights, seconds=seconds, data_dir=settings.data_dir, precision=settings.precision)
        del weights
        machine.give_back()
        return trunk

    def frames(self, samples: np.ndarray) -> np.ndarray:
        """The frames of a block `(N,)` at 16 kHz, two of the front end's each: `(T, channels)` float32."""
        spectrogram = self._front_end(samples)
        padded = np.zeros((1, 1, *self._longest), np.float32)
        padded[0, 0, :, : spectrogram.shape[1]] = spectrogram
        with self._lock:
            found: np.ndarray = self._request.infer([padded, np.array([spectrogram.shape[1]], np.int32)])[0][0]
        return found[: -(-spectrogram.shape[1] // 2)].copy()
