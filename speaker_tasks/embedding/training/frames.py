"""What is trained of campplus is given frames: those of clean clips, and of degraded crops of them, on disk.

What stands before is never trained, so each crop passes it once. A view holds one item for each clip, in the
clips' order: `NAME.f16`, frames `(F, channels)` float16 behind each other, and `NAME.npz` with `offsets` `(clips + 1,)`
and, of whole clips, the network's `vectors` `(clips, D)`: what the same clip's crops are taught to give.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from speaker_tasks.embedding import backend
from speaker_tasks.embedding.fbank import kaldi_fbank
from speaker_tasks.embedding.graphs import traced
from speaker_tasks.embedding.members import DenseTrunk
from speaker_tasks.embedding.training.corpus import Clip, read_audio, read_manifest
from speaker_tasks.embedding.training.crops import Cropper, in_noise, middle, whole
from speaker_tasks.embedding.training.split import development_clips, development_speakers, noise_recordings
from speaker_tasks.embedding.weights import Weights, read

BATCH_FRAMES = 3_200
"""Frames of 10 ms that one call of the network takes at most."""
CLIPS_AT_A_TIME = 512
"""Clips among which those of one length are looked for."""
LEAST_SECONDS = 1.5
"""Shorter clips, single words, say too little of a voice to be a target."""
DEVELOPMENT = {"whole": "dev_whole", "2 s": "dev_2s", "10 dB": "dev_noise"}
"""The views of the development speakers' clips, by condition."""


@dataclass(frozen=True)
class View:
    """One item for each clip."""

    frames: np.ndarray
    """`(F, channels)` float16, mapped from the disk."""
    offsets: np.ndarray
    vectors: np.ndarray | None

    @classmethod
    def open(cls, folder: Path, name: str) -> View:
        """Map a view that `Front.write` wrote."""
        with np.load(folder / f"{name}.npz", allow_pickle=False) as index:
            offsets, channels = index["offsets"], int(index["channels"])
            vectors = index["vectors"] if "vectors" in index.files else None
        frames = np.memmap(folder / f"{name}.f16", np.float16, "r", shape=(int(offsets[-1]), channels))
        return cls(frames, offsets, vectors)

    @property
    def lengths(self) -> np.ndarray:
        """`(clips,)` frames of each item."""
        return np.diff(self.offsets)

    def batch(self, items: np.ndarray, starts: np.ndarray | int = 0, length: int | None = None) -> np.ndarray:
        """Items of one length, or `length` frames of each from `starts` on: `(B, T, channels)` float32."""
        first = self.offsets[items] + starts
        count = length or int(self.lengths[items[0]])
        return np.stack([self.frames[start : start + count] for start in first]).astype(np.float32)


class Front:
    """The network up to what is trained of it, and whole, on the CPU by OpenVINO.

    That is the head, or with `last_block` the last dense block too.
    """

    def __init__(self, weights: Weights, *, last_block: bool = False, threads: int = 0) -> None:
        import openvino

        keras = backend.import_keras("openvino")
        from speaker_tasks.embedding.network import FRAMES

        network = backend.build(weights, masked=False, channels_first=True)
        assert isinstance(weights.config.trunk, DenseTrunk)
        before = network.get_layer(f"transit{len(weights.config.trunk.blocks) - 1}" if last_block else FRAMES).output
        core, options = openvino.Core(), {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
        self._frames, self._both = (
            core.compile_model(traced(keras.Model(network.input, outputs)), "CPU", options)
            for outputs in ([before], [before, network.output])
        )

    def run(self, spectrograms: np.ndarray, *, vectors: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """`(B, bins, T)` to frames `(B, T', channels)` and, if asked for, unit vectors `(B, D)`."""
        outputs: Any = (self._both if vectors else self._frames)(spectrograms[:, None])
        frames = outputs[0][:, :, 0].transpose(0, 2, 1) if outputs[0].ndim == 4 else outputs[0]
        return frames, outputs[1] if vectors else None

    def write(
        self,
        folder: Path,
        name: str,
        clip: Callable[[int], np.ndarray],
        count: int,
        *,
        vectors: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        """Write a view of `count` clips, unless it is there; `clip` gives the samples of each, `(N,)` float32."""
        if (folder / f"{name}.npz").exists():
            return
        lengths: list[int] = []
        made: list[np.ndarray] = []
        with open(folder / f"{name}.f16", "wb") as file:
            for start in range(0, count, CLIPS_AT_A_TIME):
                some = [kaldi_fbank(clip(index)) for index in range(start, min(start + CLIPS_AT_A_TIME, count))]
                for frames, vector in self._in_order(some, vectors=vectors):
                    frames.tofile(file)
                    lengths.append(len(frames))
                    if vector is not None:
                        made.append(vector)
                say(f"{name}: {len(lengths)} of {count} clips")
        offsets, channels = np.concatenate([[0], np.cumsum(lengths)]), np.array(frames.shape[1])
        if vectors:
            np.savez(folder / f"{name}.npz", offsets=offsets, channels=channels, vectors=np.stack(made))
        else:
            np.savez(folder / f"{name}.npz", offsets=offsets, channels=channels)

    def _in_order(self, spectrograms: Sequence[np.ndarray], *, vectors: bool) -> list[tuple[np.ndarray, Any]]:
        """Frames (float16) and vector of each, computed in batches of one length."""
        results: list[Any] = [None] * len(spectrograms)
        lengths = np.array([one.shape[1] for one in spectrograms])
        for length in np.unique(lengths):
            alike = np.flatnonzero(lengths == length)
            size = max(1, BATCH_FRAMES // int(length))
            for at in range(0, len(alike), size):
                rows = alike[at : at + size]
                frames, vector = self.run(np.stack([spectrograms[row] for row in rows]), vectors=vectors)
                for place, row in enumerate(rows):
                    results[row] = frames[place].astype(np.float16), None if vector is None else vector[place].copy()
        return results


def learned_from(speech: Path) -> list[Clip]:
    """The training clips that campplus learns from: not too short, and not of a development speaker."""
    clips = read_manifest(speech, "train")
    aside = development_speakers(clips)
    return [clip for clip in clips if clip.speaker not in aside and clip.seconds >= LEAST_SECONDS]


def prepare(front: Front, shared: Path, cache: Path, views: int, say: Callable[[str], None] = print) -> None:
    """Write what the cache lacks: the development views, the clean clips, and `views` views of crops."""
    cache.mkdir(parents=True, exist_ok=True)
    speech, noise = shared / "speech", shared / "noise"
    tried, learned = development_clips(speech), learned_from(speech)
    held_out = [read_audio(path) for path in noise_recordings(noise, training=False)]
    conditions: dict[str, Callable[[int], np.ndarray]] = {
        "whole": lambda index: whole(tried[index].path),
        "2 s": lambda index: middle(whole(tried[index].path), 2.0),
        "10 dB": lambda index: in_noise(whole(tried[index].path), held_out, 10.0, np.random.default_rng(index)),
    }
    for name, view in DEVELOPMENT.items():
        front.write(cache, view, conditions[name], len(tried), vectors=True, say=say)
    front.write(cache, "clean", lambda index: whole(learned[index].path), len(learned), vectors=True, say=say)
    rooms = [read_audio(path) for path in sorted((noise / "rir").glob("*.*"))]
    cropper = Cropper(learned, [read_audio(path) for path in noise_recordings(noise, training=True)], rooms)
    for seed in range(views):
        front.write(cache, f"view{seed}", partial(cropper.crop, seed), len(learned), say=say)


def main() -> None:
    """Prepare a cache, in a process of its own: the training itself has Keras on torch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("start", type=Path, help="The weights that training begins with.")
    parser.add_argument("shared", type=Path, help="The folder with speech and noise.")
    parser.add_argument("cache", type=Path)
    parser.add_argument("views", type=int)
    parser.add_argument("--last-block", action="store_true", help="The last dense block is trained too.")
    chosen = parser.parse_args()
    prepare(Front(read(chosen.start), last_block=chosen.last_block), chosen.shared, chosen.cache, chosen.views)


if __name__ == "__main__":
    main()
