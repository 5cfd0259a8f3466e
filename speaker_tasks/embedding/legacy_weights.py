"""The published VGG weights: the HDF5 file of 2019 in Keras 2 layout, read once and kept in our own format.

Names in the file contain `/`, which Keras 3 refuses in layer names; the map from the file's names to ours is written
out by `layout`, with the shapes, so that any other file is refused before a network is built.
"""

from __future__ import annotations

import hashlib
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from speaker_tasks.embedding.members import VGG, ResidualTrunk
from speaker_tasks.embedding.weights import SUFFIX, Card, Tensors, registry, write
from speaker_tasks.errors import Unavailable, WeightsMissing, WeightsRefused

URL = "https://github.com/taylorlu/Speaker-Diarization/raw/master/ghostvlad/pretrained/weights.h5"
GIT_BLOB_ID = "369d34b9d1e1558bcf4894ad89a380747e99eb74"
"""SHA-1 of `blob <size>\\0` and the content, as Git has it, in the public repositories that carry the file."""
MOST_BYTES = 64 << 20
"""The file has 31 MB; a server that sends far more sends something else."""
TIMEOUT_SECONDS = 30.0
DETAILS = {
    "title": "Thin ResNet-34 with GhostVLAD, the published weights",
    "paper": "Xie et al., Utterance-level Aggregation for Speaker Recognition in the Wild, ICASSP 2019",
    "data": "VoxCeleb2 (dev)",
    "licence": "CC BY 4.0",
    "metrics": {"VoxCeleb1-O EER, as published": 0.0322},
}
UNVERIFIED = {"title": "Weights in the layout of the published ones, not verified"}
_NORM = ("gamma", "beta", "moving_mean", "moving_variance")


class Variable(NamedTuple):
    """One tensor: its layer and name in the file, its path in our network, its shape."""

    layer: str
    name: str
    path: str
    shape: tuple[int, ...]


def install(
    data_dir: Path,
    source: Path | None = None,
    *,
    verify: bool = True,
    url: str = URL,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Card:
    """Register the published weights under `data_dir` as the model `vgg`: from the file `source`, else downloaded.

    `progress` hears bytes done and in all. Raises Unavailable without network, WeightsMissing, WeightsRefused.
    """
    folder = registry(data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch:
        if source is None:
            source = Path(scratch) / "weights.h5"
            download(url, source, progress)
        tensors = read_legacy(source, verify=verify)
    return write(folder / f"{VGG.name}{SUFFIX}", VGG, tensors, details=DETAILS if verify else UNVERIFIED)


def download(url: str, target: Path, progress: Callable[[int, int], None]) -> None:
    """Save what `url` gives. Raises Unavailable in one line when that fails."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer, target.open("wb") as file:
            _copy(answer, file, int(answer.headers.get("Content-Length") or 0), progress)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise Unavailable(f"cannot download {url} ({reason}); a copy of the file goes by --from FILE") from error


def _copy(answer: BinaryIO, file: BinaryIO, total: int, progress: Callable[[int, int], None]) -> None:
    done = 0
    while chunk := answer.read(1 << 18):
        done += len(chunk)
        if done > MOST_BYTES:
            raise WeightsRefused(f"the server sends more than {MOST_BYTES >> 20} MB: this is not the published file")
        file.write(chunk)
        progress(done, max(total, done))


def read_legacy(path: Path, *, verify: bool = True) -> Tensors:
    """Read `weights.h5` into float32 tensors by our variable paths.

    `verify=False` takes any file of that layout. Raises WeightsMissing, and WeightsRefused for a file that is not the
    published one, is cut short, or has another layout.
    """
    import h5py

    if not path.is_file():
        raise WeightsMissing(f"no such weights file: {path}")
    if verify and (actual := git_blob_id(path)) != GIT_BLOB_ID:
        raise WeightsRefused(
            f"{path} is not the published file: its Git blob id is {actual[:12]}, not {GIT_BLOB_ID[:12]} (cut short, or"
            " other weights of that layout, which --allow-unverified takes)"
        )
    try:
        with h5py.File(path, "r") as file:
            return {variable.path: _tensor(file, variable) for variable in layout()}
    except (OSError, KeyError, ValueError, AttributeError) as error:
        raise WeightsRefused(f"{path} does not have the layout of the published weights ({error})") from error


def git_blob_id(path: Path) -> str:
    """What `git hash-object` gives for the file."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def layout() -> Iterator[Variable]:
    """Every tensor of the published network, in the order of its layers."""
    trunk = VGG.trunk
    assert isinstance(trunk, ResidualTrunk)
    kernel, channels = trunk.stem_kernel, trunk.stem_filters
    yield from _normalised("conv1_1/3x3_s1", (kernel, kernel, 1, channels))
    for number, stage in enumerate(trunk.stages, start=2):
        reduce, middle, increase = stage.filters
        for index in range(stage.blocks):
            block = f"conv{number}_{chr(ord('a') + index)}"
            yield from _normalised(f"{block}_1x1_reduce", (1, 1, channels, reduce))
            yield from _normalised(f"{block}_3x3", (3, 3, reduce, middle))
            yield from _normalised(f"{block}_1x1_increase", (1, 1, middle, increase))
            if index == 0:
                yield from _normalised(f"{block}_1x1_proj", (1, 1, channels, increase))
            channels = increase
    rows, size, clusters = 7, VGG.descriptor_size, VGG.clusters + VGG.ghosts
    yield from _biased("x_fc", (rows, 1, channels, size))
    yield from _biased("gvlad_center_assignment", (rows, 1, channels, clusters))
    yield _variable("gvlad_pool", "centers", (clusters, size))
    yield from _biased("fc6", (VGG.clusters * size, VGG.embedding_size))


def _normalised(layer: str, shape: tuple[int, ...]) -> Iterator[Variable]:
    yield _variable(layer, "kernel", shape)
    for name in _NORM:
        yield _variable(f"{layer}/bn", name, shape[-1:])


def _biased(layer: str, shape: tuple[int, ...]) -> Iterator[Variable]:
    yield _variable(layer, "kernel", shape)
    yield _variable(layer, "bias", shape[-1:])


def _variable(layer: str, name: str, shape: tuple[int, ...]) -> Variable:
    return Variable(layer, name, f"{layer.replace('/', '__')}/{name}", shape)


def _tensor(file: Any, variable: Variable) -> np.ndarray:
    """Keras 2 lists a layer's tensors in the attribute `weight_names`, as `<scope>/<name>:0`."""
    group = file[variable.layer]
    for listed in group.attrs["weight_names"]:
        full = listed.decode() if isinstance(listed, bytes) else listed
        if full.rsplit("/", 1)[-1].split(":")[0] == variable.name:
            value = np.asarray(group[full], np.float32)
            if value.shape != variable.shape:
                raise ValueError(f"{variable.layer}/{variable.name} has shape {value.shape}, not {variable.shape}")
            return value
    raise KeyError(f"{variable.layer} has no {variable.name}")
