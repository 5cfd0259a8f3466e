"""A weights file is what it says it is, or is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from speaker_tasks.embedding import network, weights
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.embedding.members import CAMPPLUS, COMPACT, VGG, NetworkConfig
from speaker_tasks.errors import WeightsMissing, WeightsRefused
from tests.unit.embedding.conftest import lively_weights

TENSORS = {"fc6/kernel": np.arange(6, dtype=np.float32).reshape(2, 3), "fc6/bias": np.array([0.1, 0.2], np.float32)}


def test_what_is_written_is_read_back_with_its_card(tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    card = weights.write(path, VGG, TENSORS, name="ours", details={"licence": "CC0", "speakers": "三十"})
    config, tensors, read = weights.read(path)
    assert config == VGG
    assert read == card
    assert read.details == {"licence": "CC0", "speakers": "三十"}
    assert read.model_id == f"ours-{read.hash[:12]}"
    for key, value in TENSORS.items():
        np.testing.assert_array_equal(tensors[key], value)
    assert [file.name for file in tmp_path.iterdir()] == ["ours.safetensors"]


def test_half_precision_is_half_the_size_and_comes_back_as_float32(tmp_path: Path) -> None:
    tensors = {"kernel": np.random.default_rng(0).normal(size=(200, 200)).astype(np.float32)}
    sizes = {}
    for dtype in (np.float32, np.float16):
        path = tmp_path / f"{dtype.__name__}.safetensors"
        weights.write(path, COMPACT, tensors, dtype=dtype)
        sizes[dtype] = path.stat().st_size
        read = weights.read(path).tensors["kernel"]
        assert read.dtype == np.float32
        np.testing.assert_allclose(read, tensors["kernel"], rtol=1e-3, atol=1e-6)
    assert sizes[np.float16] < 0.6 * sizes[np.float32]


def test_the_id_follows_the_tensors_and_not_the_card(tmp_path: Path) -> None:
    first = weights.write(tmp_path / "a", COMPACT, TENSORS, details={"eer": 0.1})
    second = weights.write(tmp_path / "b", COMPACT, TENSORS, details={"eer": 0.2})
    other = weights.write(tmp_path / "c", COMPACT, {**TENSORS, "fc6/bias": np.zeros(2, np.float32)})
    assert first.model_id == second.model_id != other.model_id


@pytest.mark.parametrize("kept", [0, 7, 100, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "short.safetensors"
    weights.write(path, COMPACT, TENSORS)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsRefused, match="cut short"):
        weights.read(path)


def test_a_flipped_bit_is_refused_by_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "flipped.safetensors"
    weights.write(path, COMPACT, TENSORS)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(WeightsRefused, match="damaged"):
        weights.read(path)


def test_safetensors_of_another_project_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(TENSORS, tmp_path / "other.safetensors")
    with pytest.raises(WeightsRefused, match="not a weights file of this project"):
        weights.read(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop("fc6/bias"),
        lambda tensors: tensors.update({"more/kernel": np.zeros(3, np.float32)}),
        lambda tensors: tensors.update({"fc6/bias": np.zeros(511, np.float32)}),
    ],
    ids=["one missing", "one too many", "another shape"],
)
def test_tensors_of_another_layout_are_refused(tmp_path: Path, change) -> None:
    tensors = lively_weights(COMPACT)
    change(tensors)
    path = tmp_path / "compact.safetensors"
    weights.write(path, COMPACT, tensors)
    with pytest.raises(WeightsRefused, match="differs"):
        Embedder.load("compact", weights=path)


def test_without_trained_weights_nothing_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match="weights fetch vgg"):
        Embedder.load("vgg", data_dir=tmp_path)
    with pytest.raises(WeightsMissing, match="nobody"):
        Embedder.load("nobody", data_dir=tmp_path)
    with pytest.raises(WeightsMissing, match="no such weights file"):
        Embedder.load("compact", weights=tmp_path / "compact.safetensors")


def test_a_file_that_holds_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ours.safetensors"
    weights.write(path, COMPACT, TENSORS, name="ours")
    with pytest.raises(WeightsRefused, match="'ours', not 'compact'"):
        weights.load("compact", path=path)
    assert weights.load("ours", path=path).card.name == "ours"


def test_a_registered_file_goes_before_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "shipped")
    weights.write(tmp_path / "shipped" / "compact.safetensors", COMPACT, TENSORS)
    assert weights.find("compact", tmp_path) == tmp_path / "shipped" / "compact.safetensors"
    weights.write(tmp_path / "weights" / "compact.safetensors", COMPACT, TENSORS)
    weights.write(tmp_path / "weights" / "ours.safetensors", COMPACT, TENSORS)
    assert weights.find("compact", tmp_path) == tmp_path / "weights" / "compact.safetensors"
    assert sorted(weights.registered(tmp_path)) == ["compact", "ours"]


def test_a_networks_variables_go_out_and_in_again() -> None:
    made = lively_weights(COMPACT)
    built = network.build(COMPACT)
    weights.assign(built, made)
    collected = weights.collect(built)
    assert collected.keys() == made.keys()
    for key, value in made.items():
        np.testing.assert_array_equal(collected[key], value)


def test_a_file_from_before_trunks_had_a_configuration_of_their_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "compact.safetensors"
    weights.write(path, COMPACT, TENSORS)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    card = json.loads(header["__metadata__"]["card"])
    flat = {**card["config"], **card["config"]["trunk"]}
    for newer in ("trunk", "statistics", "inner_size"):
        del flat[newer]
    header["__metadata__"]["card"] = json.dumps({**card, "config": flat})
    changed = json.dumps(header).encode()
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + size :])
    assert "stages" in flat
    assert weights.read(path).config == COMPACT


@pytest.mark.parametrize("config", [COMPACT, VGG, CAMPPLUS], ids=lambda config: config.name)
def test_a_configuration_goes_out_and_in_again(tmp_path: Path, config: NetworkConfig) -> None:
    weights.write(tmp_path / "file", config, TENSORS)
    assert weights.read(tmp_path / "file").config == config
