"""The published vgg file: read by name, verified, converted once."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from speaker_tasks import cli
from speaker_tasks.embedding import legacy_weights, network, weights
from speaker_tasks.embedding.members import VGG
from speaker_tasks.errors import Unavailable, WeightsMissing, WeightsRefused


@pytest.fixture(scope="session")
def legacy_file(shared_dir: Path) -> Path:
    """A file in the published layout, with made-up weights."""
    return shared_dir / "oracle" / "vgg_weights.h5"


@pytest.fixture
def as_published(legacy_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the made-up file for the published one."""
    monkeypatch.setattr(legacy_weights, "GIT_BLOB_ID", legacy_weights.git_blob_id(legacy_file))


@pytest.fixture
def server(legacy_file: Path, tmp_path: Path) -> Iterator[str]:
    """A web server on this machine that has the file."""
    folder = tmp_path / "served"
    folder.mkdir()
    shutil.copyfile(legacy_file, folder / "weights.h5")
    (folder / "page.h5").write_text("<html>sign in</html>")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_the_map_names_every_variable_of_the_network() -> None:
    expected = {variable.path: tuple(variable.shape) for variable in network.build(VGG).variables}
    assert {variable.path: variable.shape for variable in legacy_weights.layout()} == expected


def test_the_map_leaves_no_tensor_of_the_file_behind(legacy_file: Path) -> None:
    with h5py.File(legacy_file) as file:
        stored: list[str] = []
        file.visititems(lambda name, item: stored.append(name) if isinstance(item, h5py.Dataset) else None)
    assert len(list(legacy_weights.layout())) == len(stored)


def test_the_blob_id_is_gits(legacy_file: Path) -> None:
    git = subprocess.run(["git", "hash-object", legacy_file], capture_output=True, text=True, check=True)
    assert legacy_weights.git_blob_id(legacy_file) == git.stdout.strip()


def test_other_weights_are_refused_by_their_hash_unless_allowed(legacy_file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsRefused, match="not the published file"):
        legacy_weights.install(tmp_path, legacy_file)
    assert not weights.registered(tmp_path).get("vgg")
    card = legacy_weights.install(tmp_path, legacy_file, verify=False)
    assert "not verified" in card.details["title"]


@pytest.mark.usefixtures("as_published")
def test_the_published_file_is_converted_once_and_used(legacy_file: Path, tmp_path: Path) -> None:
    card = legacy_weights.install(tmp_path, legacy_file)
    assert card.details["licence"] == "CC BY 4.0"
    assert weights.load("vgg", data_dir=tmp_path).card == card
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["vgg.safetensors"]


@pytest.mark.usefixtures("as_published")
def test_a_file_cut_short_is_refused_even_unverified(legacy_file: Path, tmp_path: Path) -> None:
    short = tmp_path / "weights.h5"
    short.write_bytes(legacy_file.read_bytes()[:20_000_000])
    with pytest.raises(WeightsRefused, match="cut short"):
        legacy_weights.read_legacy(short)
    with pytest.raises(WeightsRefused, match="layout"):
        legacy_weights.read_legacy(short, verify=False)


def test_hdf5_of_another_layout_is_refused(legacy_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.h5"
    shutil.copyfile(legacy_file, other)
    other.chmod(0o600)
    with h5py.File(other, "a") as file:
        del file["fc6"]["fc6/bias:0"]
        file["fc6"]["fc6/bias:0"] = np.zeros(256, np.float32)
    with pytest.raises(WeightsRefused, match=r"fc6/bias has shape \(256,\)"):
        legacy_weights.read_legacy(other, verify=False)
    with h5py.File(other, "a") as file:
        del file["conv4_b_3x3"]
    with pytest.raises(WeightsRefused, match="conv4_b_3x3"):
        legacy_weights.read_legacy(other, verify=False)
    with pytest.raises(WeightsMissing):
        legacy_weights.read_legacy(tmp_path / "none.h5")


@pytest.mark.usefixtures("as_published")
def test_a_download_is_verified_and_registered(server: str, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    card = legacy_weights.install(
        tmp_path, url=f"{server}/weights.h5", progress=lambda done, total: heard.append((done, total))
    )
    assert weights.registered(tmp_path)["vgg"].is_file()
    assert card.name == "vgg"
    assert heard[-1][0] == heard[-1][1] > 30_000_000
    with pytest.raises(WeightsRefused, match="not the published file"):
        legacy_weights.install(tmp_path, url=f"{server}/page.h5")
    with pytest.raises(Unavailable, match="not found"):
        legacy_weights.install(tmp_path, url=f"{server}/nothing.h5")


def test_without_network_the_command_says_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:  # bound but not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(legacy_weights, "download", partial(_download_from, taken.getsockname()[1]))
        monkeypatch.setenv("SPEAKER_DATA_DIR", str(tmp_path))
        result = CliRunner().invoke(cli.app, ["weights", "fetch", "vgg"])
    assert isinstance(result.exception, Unavailable)
    assert result.exception.exit_status == 5
    assert "\n" not in result.exception.message
    assert "--from FILE" in result.exception.message


def test_the_command_registers_a_file(legacy_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEAKER_DATA_DIR", str(tmp_path))
    result = CliRunner().invoke(cli.app, ["weights", "fetch", "vgg", "--from", str(legacy_file), "--allow-unverified"])
    assert result.exit_code == 0, result.output
    assert weights.load("vgg", data_dir=tmp_path).card.model_id in result.output
    assert "vgg" in CliRunner().invoke(cli.app, ["weights", "list"]).output


def _download_from(port: int, _: str, target: Path, progress) -> None:
    _ORIGINAL(f"http://127.0.0.1:{port}/weights.h5", target, progress)


_ORIGINAL = legacy_weights.download
