"""Train the network that looks a second time at who speaks, on made-up meetings of training speakers.

    python tools/train_target.py hear --wheel WHEEL --out FOLDER [--meetings 150] [--seed 0] [--development]
    python tools/train_target.py train FOLDER [FOLDER ...] --out FOLDER [--minutes 40]

`hear` makes meetings and keeps what the trunk and the first look give of them. `train` writes
`target-MODEL.safetensors`, which `speaker_tasks/diarization/models` holds. WHEEL is pyannote.db.odessa.ami's
(`diarization/training/turnfiles.py`). Needs torch to train, and SPEAKER_SHARED's speech and noise.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from speaker_tasks.diarization.listening import Listener  # noqa: E402
from speaker_tasks.diarization.plda import Plda  # noqa: E402
from speaker_tasks.diarization.segmentation import Segmenter  # noqa: E402
from speaker_tasks.diarization.target import (  # noqa: E402
    BLOCK_STEPS,
    CHANNELS,
    MOST_PEOPLE,
    inner_voices,
    near_voices,
    odds,
    paired,
)
from speaker_tasks.diarization.training.examples import example  # noqa: E402
from speaker_tasks.diarization.training.meetings import Sounds, filled  # noqa: E402
from speaker_tasks.diarization.training.turnfiles import ami, excerpt, numbered  # noqa: E402
from speaker_tasks.diarization.training.turntaking import Turns, conversation  # noqa: E402
from speaker_tasks.embedding.embedder import Embedder  # noqa: E402
from speaker_tasks.embedding.weights import load  # noqa: E402

MEETING_SECONDS = 180.0
WINDOW = 500
"""Steps of a window: 20 s."""
BATCH = 8
KEPT_SECONDS = 180.0
STRANGER = 0.3
"""How often somebody is looked for who is not there."""


def hear(given: argparse.Namespace) -> None:
    """Make meetings and keep what is heard of them."""
    sounds = Sounds.read(given.shared / "speech", given.shared / "noise", development=given.development)
    given.out.mkdir(parents=True, exist_ok=True)
    started = [
        multiprocessing.get_context("fork").Process(target=hear_some, args=(given, sounds, 1000 * given.seed + number))
        for number in range(given.processes)
    ]
    for one in started:
        one.start()
    for one in started:
        one.join()
    if any(one.exitcode for one in started):
        raise SystemExit("a process has failed")


def hear_some(given: argparse.Namespace, sounds: Sounds, seed: int) -> None:
    """One process's meetings."""
    random = np.random.default_rng(seed)
    real = ami(given.wheel, development=given.development)
    embedder = Embedder.load("campplus", threads=1, data_dir=given.data)
    plda = Plda.load(embedder.model_id)
    with ThreadPoolExecutor(1) as pool:
        listener = Listener(
            Segmenter(threads=1), embedder.spectrograms, lambda rows: pool.submit(embedder.run, list(rows))
        )
        for number in range(given.meetings):
            turns = drawn(random, real)
            samples = filled(random, sounds, turns, MEETING_SECONDS)
            heard = example(samples, turns, listener, lambda block: paired(embedder.trunk_frames(block)), plda)
            if heard is not None:
                np.savez(given.out / f"{seed:06}-{number:04}.npz", **vars(heard))
                print(f"{seed}: {number + 1} meetings", flush=True)


def drawn(random: np.random.Generator, real: dict[str, Turns]) -> Turns:
    """Turn-taking of one meeting: half real, some of it two conversations at once, half made up."""
    if random.random() < 0.5:
        people = int(random.choice([1, 2, 3, 4, 5], p=[0.05, 0.25, 0.25, 0.25, 0.2]))
        return conversation(random, people, MEETING_SECONDS)
    turns = excerpt(random, real, MEETING_SECONDS)
    if random.random() < 0.25:
        turns = turns + [
            (start, end, speaker + 10)
            for start, end, speaker in excerpt(random, real, MEETING_SECONDS)
            if random.random() < 0.6
        ]
        kept = random.permutation(sorted({speaker for _, _, speaker in turns}))[:5]
        turns = [turn for turn in turns if turn[2] in kept]
    return numbered(turns)


def fixed_weights() -> dict[str, np.ndarray]:
    """The part of the embedding network that makes a vector of the frames' mean and deviation."""
    tensors = {name: np.asarray(value, np.float32) for name, value in load("campplus").tensors.items()}
    kernel = tensors["fc6/kernel"]
    return {
        "inner.mean": kernel[:CHANNELS],
        "inner.deviation": kernel[CHANNELS : 2 * CHANNELS],
        "inner.bias": tensors["fc6/bias"],
        "inner.isometry": tensors["isometry/kernel"],
    }


def read(file: Path, fixed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A meeting, with the voices around its steps and its people's as they are compared."""
    one = dict(np.load(file))
    blocks = [
        np.stack(list(near_voices(one["frames"][first : first + BLOCK_STEPS].astype(np.float32), fixed)), axis=1)
        for first in range(0, len(one["frames"]), BLOCK_STEPS)
    ]
    return one | {"near": np.concatenate(blocks).astype(np.float16), "voices": inner_voices(one["voices"], fixed)}


def batch_of(random: np.random.Generator, meetings: list[dict[str, np.ndarray]], strangers: np.ndarray) -> Any:
    """Windows of random meetings with equally many people, who come in random order."""
    import torch

    people = min(meetings[int(random.integers(len(meetings)))]["activity"].shape[1], MOST_PEOPLE - 1)
    alike = [one for one in meetings if min(one["activity"].shape[1], MOST_PEOPLE - 1) == people]
    frames, near, sound, said, voices, there, truth = [], [], [], [], [], [], []
    for _ in range(BATCH):
        one = alike[int(random.integers(len(alike)))]
        first = int(random.integers(len(one["frames"]) - WINDOW + 1))
        rows = slice(first, first + WINDOW)
        who = random.permutation(one["activity"].shape[1])[:people]
        activity, real = np.zeros((people + 1, WINDOW), np.float32), np.zeros((people + 1, WINDOW), np.float32)
        activity[:people], real[:people] = one["activity"][rows, who].T, one["truth"][rows, who].T
        voice = np.concatenate([one["voices"][who], strangers[random.integers(len(strangers), size=1)]])
        frames.append(one["frames"][rows])
        near.append(one["near"][rows])
        sound.append(one["sound"][rows])
        said.append(odds(activity))
        voices.append(voice)
        there.append(np.append(np.ones(people), random.random() < STRANGER))
        truth.append(real)
    made = (np.stack(part).astype(np.float32) for part in (frames, near, sound, said, voices, there, truth))
    return [torch.from_numpy(part) for part in made]


def loss_of(network: Any, batch: Any) -> Any:
    """Binary cross-entropy of the second look."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    said, there, truth = batch[3], batch[5], batch[6]
    logits = said + network(*batch[:-1])
    losses = binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(dim=2)
    return (losses * there).sum() / there.sum(), logits


def errors_of(logits: Any, batch: Any) -> tuple[float, float, float]:
    """Missed and false steps, and steps of speech."""
    there, truth = batch[5], batch[6] * batch[5][:, :, None]
    says = (logits > 0).float() * there[:, :, None]
    return float((truth * (1 - says)).sum()), float(((1 - truth) * says).sum()), float(truth.sum())


def tested(network: Any, tests: list[Any]) -> str:
    """The errors on held-out meetings, and those of the first look."""
    import torch

    network.eval()
    with torch.no_grad():
        results = [(loss_of(network, batch), batch) for batch in tests]
    network.train()
    missed, false, spoken = np.sum([errors_of(logits, batch) for (_, logits), batch in results], axis=0)
    first = np.sum([errors_of(batch[3], batch) for batch in tests], axis=0)
    return (
        f"loss {np.mean([float(loss) for (loss, _), _ in results]):.4f}, "
        f"missed {100 * missed / spoken:.2f}, false {100 * false / spoken:.2f} % "
        f"(first look {100 * first[0] / spoken:.2f}, {100 * first[1] / spoken:.2f})"
    )


def train(given: argparse.Namespace) -> None:
    """Train for so many minutes; weights are written now and then."""
    import torch
    from safetensors.torch import load_file, save_file

    from speaker_tasks.diarization.training.target_network import Target

    torch.manual_seed(given.seed)
    torch.set_num_threads(given.threads)
    random, fixed = np.random.default_rng(given.seed), fixed_weights()
    meetings = [read(file, fixed) for folder in given.folders for file in sorted(folder.glob("*.npz"))]
    held = [read(file, fixed) for file in sorted(given.held.glob("*.npz"))]
    strangers = np.concatenate([one["voices"] for one in meetings])
    tests = [batch_of(np.random.default_rng(number), held, strangers) for number in range(24)]
    network = Target()
    if given.start is not None:
        known = {name: value.float() for name, value in load_file(given.start).items()}
        network.load_state_dict({name: known[name] for name in network.state_dict()})
    print(f"{len(meetings)} meetings, {len(held)} held out; {tested(network, tests)}", flush=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=given.rate, weight_decay=1e-2)
    given.out.mkdir(parents=True, exist_ok=True)
    started, step, losses, kept = time.monotonic(), 0, [], 0
    while (gone := time.monotonic() - started) < 60 * given.minutes:
        for group in optimizer.param_groups:
            falling = 0.5 * (1 + math.cos(math.pi * gone / (60 * given.minutes)))
            group["lr"] = given.rate * min(1.0, (step + 1) / 50) * falling
        loss, _ = loss_of(network, batch_of(random, meetings, strangers))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        step += 1
        if gone > (kept + 1) * KEPT_SECONDS:
            kept += 1
            print(f"{step} steps, {gone:.0f} s: {np.mean(losses[-50:]):.4f}; {tested(network, tests)}", flush=True)
            save_file(network.state_dict(), given.out / "last.safetensors")
    print(f"{step} steps: {tested(network, tests)}", flush=True)
    save_file(network.state_dict(), given.out / "last.safetensors")
    card: dict[str, Any] = {"trained on": f"{len(meetings)} made-up meetings", "steps": step}
    if given.start is not None:
        card["started from"] = card_of(given.start)
    write(given.out, network, fixed, card)


def card_of(path: Path) -> dict[str, Any] | None:
    """What weights were trained on, if they say so."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        found: dict[str, Any] | None = json.loads((file.metadata() or {}).get("card", "null"))
    return found


def write(folder: Path, network: Any, fixed: dict[str, np.ndarray], card: dict[str, Any]) -> None:
    """Write the file that is shipped: weights as float16."""
    from safetensors.numpy import save_file

    whole = {name: value.numpy() for name, value in network.state_dict().items()} | fixed
    save_file(
        {name: np.ascontiguousarray(value, np.float16) for name, value in whole.items()},
        folder / f"target-{load('campplus').card.model_id}.safetensors",
        {"card": json.dumps(card)},
    )


def main() -> None:
    """Do what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("hear")
    one.add_argument("--shared", type=Path, default=os.environ.get("SPEAKER_SHARED"), help="default: SPEAKER_SHARED")
    one.add_argument("--wheel", type=Path, required=True)
    one.add_argument("--out", type=Path, required=True)
    one.add_argument("--data", type=Path, default=Path("var"), help="where compiled networks are kept")
    one.add_argument("--meetings", type=int, default=150, help="of each process")
    one.add_argument("--processes", type=int, default=2)
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--development", action="store_true")
    one.set_defaults(run=hear)
    two = commands.add_parser("train")
    two.add_argument("folders", nargs="+", type=Path)
    two.add_argument("--held", type=Path, required=True, help="a folder of development meetings")
    two.add_argument("--out", type=Path, required=True)
    two.add_argument("--start", type=Path, help="weights of an earlier run, or shipped ones, to go on with")
    two.add_argument("--minutes", type=float, default=40.0)
    two.add_argument("--rate", type=float, default=1e-3)
    two.add_argument("--threads", type=int, default=2)
    two.add_argument("--seed", type=int, default=0)
    two.set_defaults(run=train)
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
