"""Weights files: where they lie, how they are verified, and the card that travels in each.

Our format is safetensors: the tensors under the paths of their Keras variables, and one metadata entry, `card`, JSON
with the member's configuration, a content hash over the tensors, and what the model card says of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from speaker_tasks.embedding.members import NetworkConfig
from speaker_tasks.errors import WeightsMissing, WeightsRefused

if TYPE_CHECKING:
    import keras

SHIPPED = Path(__file__).parent / "models"
SUFFIX = ".safetensors"
HASH_DIGITS = 12

Tensors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Card:
    """What a weights file says of itself; `details` holds data, licences, metrics, calibration: any JSON."""

    name: str
    hash: str
    """SHA-256 over the tensors' names, types, shapes and values, in hexadecimal."""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model_id(self) -> str:
        """`<name>-<first 12 digits of the hash>`: vectors are compared under equal ids only."""
        return f"{self.name}-{self.hash[:HASH_DIGITS]}"


class Weights(NamedTuple):
    """A verified file: the member's configuration, float32 tensors by variable path, and the card."""

    config: NetworkConfig
    tensors: Tensors
    card: Card


def load(model: str, *, path: Path | None = None, data_dir: Path | None = None) -> Weights:
    """Read and verify the weights of `model`: from `path`, else fetched into `data_dir`, else shipped.

    Raises WeightsMissing when there are none, WeightsRefused when the file is damaged or holds another model.
    """
    weights = read(path or find(model, data_dir))
    if weights.card.name != model:
        raise WeightsRefused(f"{path} holds the model {weights.card.name!r}, not {model!r}: set SPEAKER_MODEL to it")
    return weights


def find(model: str, data_dir: Path | None = None) -> Path:
    """The file of a registered model. Raises WeightsMissing with what to do."""
    for folder in ([registry(data_dir)] if data_dir else []) + [SHIPPED]:
        if (path := folder / f"{model}{SUFFIX}").is_file():
            return path
    names = ", ".join(sorted(registered(data_dir))) or "none"
    hint = "`speaker-tasks weights fetch vgg` gets them" if model == "vgg" else f"models present: {names}"
    raise WeightsMissing(f"no trained weights for the model {model!r}; {hint}", model=model)


def registry(data_dir: Path) -> Path:
    """The folder of fetched and trained weights below the service's data folder."""
    return data_dir / "weights"


def registered(data_dir: Path | None = None) -> dict[str, Path]:
    """The models present, by name; a fetched or trained file goes before a shipped one."""
    folders = [SHIPPED] + ([registry(data_dir)] if data_dir else [])
    return {path.stem: path for folder in folders for path in sorted(folder.glob(f"*{SUFFIX}"))}


def read(path: Path) -> Weights:
    """Read one file. Raises WeightsMissing when it is not there, WeightsRefused when it is not what it says."""
    if not path.is_file():
        raise WeightsMissing(f"no such weights file: {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            card = json.loads(file.metadata()["card"])
            stored = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        config = NetworkConfig.from_dict(card["config"])
        name, claimed = str(card["name"]), str(card["hash"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsRefused(f"{path} is not a weights file of this project, or is cut short ({error})") from error
    if (actual := content_hash(stored)) != claimed:
        raise WeightsRefused(f"{path} is damaged: its content hash is {actual[:HASH_DIGITS]}, not {claimed[:12]}")
    tensors = {key: value.astype(np.float32) for key, value in stored.items()}
    return Weights(config, tensors, Card(name, claimed, card.get("details", {})))


def write(
    path: Path,
    config: NetworkConfig,
    tensors: Mapping[str, np.ndarray],
    *,
    name: str | None = None,
    details: Mapping[str, Any] | None = None,
    dtype: type[np.floating] = np.float32,
) -> Card:
    """Write tensors and card in one step, atomically; `name` is the configuration's unless given."""
    stored = {key: np.ascontiguousarray(value, dtype=dtype) for key, value in tensors.items()}
    card = Card(name or config.name, content_hash(stored), dict(details or {}))
    metadata = {"card": json.dumps({**asdict(card), "config": asdict(config)}, ensure_ascii=False)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(save(stored, metadata=metadata))
    partial.replace(path)
    return card


def content_hash(tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, types, shapes and values in the order of the names; the card is not part of it."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        value = np.ascontiguousarray(tensors[key])
        digest.update(f"{key} {value.dtype.str} {value.shape}\n".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()


def assign(network: keras.Model, tensors: Mapping[str, np.ndarray]) -> None:
    """Give a network its trained weights. Raises WeightsRefused when names or shapes do not match."""
    expected = {variable.path: tuple(variable.shape) for variable in network.variables}
    given = {key: value.shape for key, value in tensors.items()}
    if different := sorted(set(expected.items()) ^ set(given.items())):
        raise WeightsRefused(f"the weights are not of the network {network.name!r}: {different[0][0]} differs")
    for variable in network.variables:
        variable.assign(tensors[variable.path])


def collect(network: keras.Model) -> Tensors:
    """The network's variables as float32 arrays by path: what `write` takes."""
    return {variable.path: np.asarray(variable.numpy(), np.float32) for variable in network.variables}
