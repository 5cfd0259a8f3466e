"""What the segmentation network is fine-tuned on, and how its weights are replaced."""

import importlib.util
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from speaker_tasks.diarization.segmentation import CLASSES, FRAMES, WINDOW_SAMPLES
from speaker_tasks.diarization.training.meetings import Sounds, meeting, nothing, windows
from speaker_tasks.diarization.training.turntaking import conversation

TOOL = Path(__file__).parents[3] / "tools" / "mix_segmentation.py"


def test_nobody_of_a_made_up_meeting_overlaps_with_themselves():
    turns = conversation(np.random.default_rng(0), 4, 300.0)
    for speaker in range(4):
        mine = [(start, end) for start, end, who in turns if who == speaker]
        assert mine
        assert all(start < end for start, end in mine)
        assert all(before[1] < after[0] for before, after in pairwise(mine))


def test_in_made_up_meetings_an_eighth_of_the_speech_is_overlapped():
    random, spoken, twice = np.random.default_rng(1), 0, 0
    for _ in range(40):
        grid = np.zeros(30_500, int)
        for start, end, _ in conversation(random, int(random.integers(2, 6)), 300.0):
            grid[int(start * 100) : int(end * 100)] += 1
        spoken += int(grid.sum())
        twice += int(np.maximum(grid - 1, 0).sum())
    assert 0.08 < twice / spoken < 0.2


def test_the_classes_of_a_window_say_who_speaks_in_it():
    tone = (np.sin(np.arange(16_000) / 9) * 3_000).astype(np.int16)
    samples, _ = meeting(np.random.default_rng(2), Sounds({"a": tone, "b": tone, "c": tone}, []), 3, 25.0)
    cut = windows(samples, [(1.0, 4.0, 7), (3.0, 9.0, 5), (12.0, 13.0, 7)])
    assert len(cut) == 2
    window, classes = cut[0]
    assert window.shape == (WINDOW_SAMPLES,)
    assert classes.shape == (FRAMES,)
    at = {second: CLASSES[classes[round(second / 10 * FRAMES)]] for second in (0.5, 2.0, 3.5, 6.0, 9.5)}
    assert at == {0.5: (), 2.0: (1,), 3.5: (0, 1), 6.0: (0,), 9.5: ()}  # who speaks most is the first
    assert {CLASSES[one] for one in cut[1][1]} == {(), (0,)}


def test_in_a_window_of_noise_or_music_nobody_speaks():
    random = np.random.default_rng(4)
    noise = random.normal(size=20_000).astype(np.float32)
    for samples, classes in (nothing(random, [noise]) for _ in range(6)):
        assert samples.shape == (WINDOW_SAMPLES,)
        assert 0.05 < np.abs(samples).max() <= 0.71
        assert {CLASSES[one] for one in classes} == {()}


def test_only_the_weights_that_were_trained_are_replaced(tmp_path):
    tool, random = _tool(), np.random.default_rng(3)
    one, other = _head(random), _head(random)
    untouched = random.normal(size=40).astype(np.float16)
    _network(tmp_path, tool.FILE, [untouched, *tool.constants(one)])
    tool.replace(tmp_path, one, other)
    written = (tmp_path / f"{tool.FILE}.bin").read_bytes()
    assert written == b"".join(part.tobytes() for part in [untouched, *tool.constants(other)])
    with pytest.raises(SystemExit, match="other weights"):
        tool.replace(tmp_path, one, other)


def _head(random):
    """Weights of the layers that are trained."""
    shapes = {"classifier.bias": (7,), "classifier.weight": (7, 128)}
    shapes |= {"linear.0.bias": (128,), "linear.0.weight": (128, 256)}
    shapes |= {"linear.1.bias": (128,), "linear.1.weight": (128, 128)}
    for layer in range(4):
        for way in ("", "_reverse"):
            shapes[f"lstm.weight_ih_l{layer}{way}"] = (512, 256 if layer else 60)
            shapes[f"lstm.weight_hh_l{layer}{way}"] = (512, 128)
            shapes |= {f"lstm.{kind}_l{layer}{way}": (512,) for kind in ("bias_ih", "bias_hh")}
    return {name: random.normal(size=shape) for name, shape in shapes.items()}


def _network(folder, name, parts):
    """A network's files that hold these constants and nothing else."""
    rows, at = [], 0
    for part in parts:
        rows.append(f'<data element_type="f16" offset="{at}" size="{part.nbytes}"/>')
        at += part.nbytes
    (folder / f"{name}.xml").write_text(f"<net>{''.join(rows)}</net>")
    (folder / f"{name}.bin").write_bytes(b"".join(part.tobytes() for part in parts))


def _tool():
    spec = importlib.util.spec_from_file_location("mix_segmentation", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
