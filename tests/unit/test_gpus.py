"""GPUs, played by a program called nvidia-smi: which there are, and one worker on each."""

from __future__ import annotations

from pathlib import Path

import pytest

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.gpus import chosen, gpus, shown
from speaker_tasks.launcher.up import commands
from speaker_tasks.settings import Settings
from speaker_tasks.worker import pin_gpu

FOUR = "".join(f"{number}, GPU-{number}, {100 * number}, 81920, {number}\\n" for number in range(4))


@pytest.fixture
def four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with four GPUs."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\nprintf "{FOUR}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("speaker_tasks.worker.FRAMEWORKS", ())  # other tests of this process have imported them


@pytest.fixture
def none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without."""
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("four")
def test_four_gpus_are_four_workers_with_four_masks() -> None:
    assert [gpu.memory_used for gpu in gpus()] == [0, 100 << 20, 200 << 20, 300 << 20]
    workers = [one for one in commands(Settings(metrics_port=9101), chosen("all", {})) if one.name.startswith("worker")]
    masks = []
    for worker in workers:
        program, _, number = worker.line.partition(" --gpu ")
        assert program == "speaker-tasks worker"
        environ: dict[str, str] = {}
        pin_gpu(environ, int(number), "auto")
        masks.append(environ["CUDA_VISIBLE_DEVICES"])
    assert masks == ["0", "1", "2", "3"]
    assert [one.environment["SPEAKER_METRICS_PORT"] for one in workers] == ["9101", "9102", "9103", "9104"]
    assert len({one.name for one in workers}) == 4


@pytest.mark.usefixtures("four")
def test_some_are_chosen_by_number_among_those_that_a_mask_shows() -> None:
    assert chosen("0, 2", {}) == [0, 2]
    inherited = {"CUDA_VISIBLE_DEVICES": "7,5"}
    assert chosen("all", inherited) == [0, 1]
    environ = dict(inherited)
    pin_gpu(environ, 1, "auto")
    assert environ["CUDA_VISIBLE_DEVICES"] == "5"
    for text in ("4", "0,9", "x", "", "-1"):
        with pytest.raises(ConfigurationError):
            chosen(text, {})


@pytest.mark.usefixtures("none")
def test_without_a_gpu_all_is_refused_and_workers_are_as_the_settings_say() -> None:
    assert gpus() == []
    with pytest.raises(ConfigurationError, match="there is no GPU"):
        chosen("all", {})
    lines = [one.line for one in commands(Settings(workers=2)) if one.name.startswith("worker")]
    assert lines == ["speaker-tasks worker", "speaker-tasks worker"]


@pytest.mark.parametrize(
    ("mask", "devices"),
    [
        ("2,-1,5", ["2"]),
        ("2,5", ["2", "5"]),
        ("-1", []),
        ("", []),
        ("GPU-a, MIG-b", ["GPU-a", "MIG-b"]),
        ("1,,3", ["1"]),
    ],
)
def test_a_mask_is_read_up_to_the_first_that_is_no_device(mask: str, devices: list[str]) -> None:
    assert shown(mask) == devices
