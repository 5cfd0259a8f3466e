"""Average fine-tuned weights of the segmentation network with the original ones and write the network for OpenVINO.

    python tools/mix_segmentation.py --trained FOLDER/last.safetensors --original FOLDER/original.safetensors
        --share 0.7 [--out FOLDER]

`--share` is how much of the average is the trained network (Wortsman et al., "Robust fine-tuning of zero-shot models",
CVPR 2022); it is chosen on development meetings. Both files are `tools/finetune_segmentation.py`'s. The network's
description (`.xml`) stays what `tools/convert_segmentation.py` wrote; of the weights (`.bin`), the trained layers' are
replaced.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from speaker_tasks.diarization.segmentation import FILE, FOLDER  # noqa: E402

Weights = dict[str, np.ndarray]

LAYERS = 4
GATES = (0, 3, 1, 2)
"""Torch's order of an LSTM's gates (input, forget, cell, output) as ONNX has it (input, output, forget, cell)."""


def mixed(original: Weights, trained: Weights, share: float) -> Weights:
    """The average of the two."""
    return {name: (1 - share) * original[name] + share * trained[name] for name in original}


def constants(weights: Weights) -> list[np.ndarray]:
    """The weights as the network's constants hold them."""
    rows = [weights["classifier.bias"], weights["classifier.weight"].T]
    for number in (0, 1):
        rows += [weights[f"linear.{number}.bias"], weights[f"linear.{number}.weight"].T]
    for layer in range(LAYERS):
        both = [f"l{layer}", f"l{layer}_reverse"]
        rows += [
            np.stack([_gates(weights[f"lstm.{kind}_{name}"]) for name in both]) for kind in ("weight_ih", "weight_hh")
        ]
        rows.append(
            np.stack(
                [
                    np.concatenate([_gates(weights[f"lstm.{kind}_{name}"]) for kind in ("bias_ih", "bias_hh")])
                    for name in both
                ]
            )
        )
    return [row.astype(np.float16) for row in rows]


def replace(folder: Path, original: Weights, wanted: Weights) -> None:
    """Overwrite the original weights of the network in a folder. Raises SystemExit where it holds others."""
    binary = bytearray((folder / f"{FILE}.bin").read_bytes())
    before = [constant.tobytes() for constant in constants(original)]
    after = [constant.tobytes() for constant in constants(wanted)]
    found = set()
    for data in ElementTree.parse(folder / f"{FILE}.xml").iter("data"):
        if data.get("element_type") != "f16":
            continue
        start, size = int(data.attrib["offset"]), int(data.attrib["size"])
        if (held := bytes(binary[start : start + size])) in before:
            number = before.index(held)
            binary[start : start + size] = after[number]
            found.add(number)
    if len(found) != len(before):
        raise SystemExit(f"{folder}: {len(before) - len(found)} layers hold other weights than the original ones")
    (folder / f"{FILE}.bin").write_bytes(binary)


def _gates(rows: np.ndarray) -> np.ndarray:
    parts = np.split(rows, 4)
    return np.concatenate([parts[number] for number in GATES])


def main() -> None:
    """Write what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trained", type=Path, required=True)
    parser.add_argument("--original", type=Path, required=True)
    parser.add_argument("--share", type=float, required=True)
    parser.add_argument("--network", type=Path, default=FOLDER, help="folder of the original network")
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    if given.out.resolve() != given.network.resolve():
        for kind in ("xml", "bin"):
            shutil.copy(given.network / f"{FILE}.{kind}", given.out)
    original = load_file(given.original)
    replace(given.out, original, mixed(original, load_file(given.trained), given.share))


if __name__ == "__main__":
    main()
