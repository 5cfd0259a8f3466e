"""Teach campplus to tell from a short, noisy, reverberant crop whose it is, in the space that it has.

It begins as its teacher: the trunk of CAM++ with its own last layer, and GhostVLAD silent beside it. What is trained is
the head, or the last dense block too, on frames that the network before it gave (`frames.View`). A crop is asked which
clean clip of the batch it is of: a soft-max over the cosines to the clips' targets, which are the teacher's vectors of
the clean clips, moved towards the mean of their speaker's (van den Oord et al., arXiv 1807.03748). The targets do not
move, so the space, which has heard 200,000 speakers, stays what it is.

Tried instead, and worse on the development speakers than the start: the cosine to a clip's own clean vector, with the
squared error of the batch's cosines and without; the same to speakers' means; the soft-max with clips' own vectors.
What these reward is also what a clip has of its day, its room and its words. Runs on Keras' torch backend, where a step
of the optimizer may have a rate for each part of the network.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from banks.vectors import unit
from speaker_tasks.embedding import weights as files
from speaker_tasks.embedding.training.frames import DEVELOPMENT, View, learned_from
from speaker_tasks.embedding.training.recipe import TomlRecipe
from speaker_tasks.embedding.training.split import development_clips
from speaker_tasks.embedding.weights import Tensors, Weights
from speaker_tasks.scoring.evaluation import Trials, Utterances, open_set

FRESH = ("x_fc", "gvlad")
"""Names of the layers that begin from nothing begin so; all else that is trained begins as the teacher has it."""
FIXED = "isometry"
LEAST_BATCH = 32
"""Crops of a length, at least, among which the soft-max is."""


@dataclass(frozen=True)
class Recipe(TomlRecipe):
    """Numbers of one run."""

    network: str = "campplus"
    views: int = 2
    """Crops of each clip."""
    last_block: bool = False
    """Whether the last dense block is trained too, or the head alone."""
    minutes: float = 7.0
    batch_size: int = 256
    fresh_rate: float = 1e-3
    taught_rate: float = 1e-4
    """AdamW's learning rates: each grows for the first twentieth and falls as a cosine to zero."""
    weight_decay: float = 1e-4
    scale: float = 15.0
    """Of the cosines in the soft-max."""
    speaker_share: float = 0.8
    """How much of a clip's target is the mean of its speaker's clips; the rest is the clip's own vector."""
    clean_share: float = 0.15
    """Batches of stretches of clean clips, of which the vectors shall not move."""
    clean_frames: int = 200
    """How long these stretches are at most, in frames of 20 ms."""
    average_decay: float = 0.998
    measure_minutes: float = 3.4
    seed: int = 0


@dataclass
class Run:
    """What a run has come to: the best weights so far, and the measures on the way."""

    best: Tensors = field(default_factory=dict)
    score: float = math.inf
    curve: list[dict[str, float]] = field(default_factory=list)


class Development:
    """The development speakers' clips under each condition, as frames; the first `CLIPS` of each speaker are tried."""

    CLIPS = 6

    def __init__(self, views: dict[str, View], speakers: np.ndarray, corpora: np.ndarray) -> None:
        seen = [int(np.count_nonzero(speakers[:place] == speaker)) for place, speaker in enumerate(speakers)]
        self._items = np.flatnonzero(np.array(seen) < self.CLIPS)
        self._views, self._speakers, self._corpora = views, speakers[self._items], corpora[self._items]

    def measure(self, embed: Callable[[View, np.ndarray], np.ndarray]) -> dict[str, float]:
        """Mean EER over the corpora and TPIR at an FPIR of 1 %, each in [0, 1], by condition."""
        vectors = {name: embed(view, self._items) for name, view in self._views.items()}
        figures: dict[str, float] = {}
        enrolled = Utterances.nameless(self._speakers, vectors["whole"], np.ones(len(self._speakers)))
        for name in self._views:
            utterances = Utterances.nameless(self._speakers, vectors[name], np.ones(len(self._speakers)))
            eers = [
                Trials.all_pairs(utterances.where(self._corpora == corpus)).curve().eer()
                for corpus in np.unique(self._corpora)
            ]
            figures[f"eer {name}"] = float(np.mean(eers))
            figures[f"tpir {name}"] = open_set(enrolled, utterances)
        return figures


class Adaptation:
    """One run. `start` are the weights that it begins with; `clean` holds the targets, `speakers` whose each is."""

    def __init__(
        self,
        start: Weights,
        clean: View,
        crops: Sequence[View],
        *,
        speakers: Sequence[str],
        development: Development,
        recipe: Recipe,
        say: Callable[[str], None] = print,
    ) -> None:
        import keras
        import torch

        from speaker_tasks.embedding import network

        keras.config.set_image_data_format("channels_first")
        self._torch, self._recipe, self._development, self._say = torch, recipe, development, say
        self._clean = clean
        assert clean.vectors is not None
        self._speakers, counts = _numbered(speakers)
        self._targets = _towards_speakers(clean.vectors, self._speakers, recipe.speaker_share)
        self._learned = np.flatnonzero(counts[self._speakers] > 1)
        self._start = start
        self._network = (
            network.build_tail(start.config, clean.frames.shape[1])
            if recipe.last_block
            else network.split(network.build(start.config, masked=False))[1]
        )
        files.assign(self._network, {v.path: start.tensors[v.path] for v in self._network.variables})
        trained = [v for v in self._network.trainable_variables if not v.path.startswith(FIXED)]
        fresh = [v.value for v in trained if v.path.startswith(FRESH)]
        taught = [v.value for v in trained if not v.path.startswith(FRESH)]
        groups = [{"params": fresh, "peak": recipe.fresh_rate}, {"params": taught, "peak": recipe.taught_rate}]
        self._optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=recipe.weight_decay)
        self._values = fresh + taught
        self._average = [value.detach().clone() for value in self._values]
        self.take_crops(crops)

    def take_crops(self, crops: Sequence[View]) -> None:
        """Draw from these views from now on: each length as often as there are crops of it."""
        self._buckets = _buckets(crops, self._learned)
        counts = np.array([len(items) for _, items in self._buckets], float)
        self._shares = counts / counts.sum()

    def run(self) -> Run:
        """Train to the end of the recipe; gives the averaged weights that were best on the development speakers."""
        recipe, run, rng = self._recipe, Run(), np.random.default_rng(self._recipe.seed)
        self._measure(run, 0, 0.0)
        seconds = measured = 0.0
        step, last = 0, time.monotonic()
        while seconds < 60 * recipe.minutes:
            self._schedule(seconds / (60 * recipe.minutes))
            loss = self._step(*self._draw(rng))
            step += 1
            self._follow(step)
            now = time.monotonic()
            seconds, last = seconds + now - last, now
            if step % 50 == 0:
                self._say(f"step {step}, {seconds / 60:.1f} minutes: loss {loss:.4f}")
            if seconds - measured > 60 * recipe.measure_minutes:
                measured = seconds
                self._measure(run, step, seconds)
                last = time.monotonic()
        self._measure(run, step, seconds)
        return run

    def save(self, run: Run, path: Path) -> files.Card:
        """Write the whole network with the run's best weights, and how they were made; without thresholds."""
        details = dict(self._start.card.details)
        details["adaptation"] = {"recipe": asdict(self._recipe), "curve": run.curve, "from": self._start.card.model_id}
        tensors = dict(self._start.tensors) | run.best
        path.with_suffix(".curve.json").write_text(json.dumps(run.curve, indent=1))
        return files.write(path, self._start.config, tensors, details=details, dtype=np.float16)

    def _draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Frames `(B, T, C)`, and the numbers of the clips that they are of."""
        recipe = self._recipe
        if rng.random() < recipe.clean_share:
            items = rng.choice(self._learned, min(recipe.batch_size, len(self._learned)), replace=False)
            lengths = self._clean.lengths[items]
            length = min(recipe.clean_frames, int(lengths.min()))
            return self._clean.batch(items, rng.integers(lengths - length + 1), length), items
        view, items = self._buckets[rng.choice(len(self._buckets), p=self._shares)]
        items = rng.choice(items, min(recipe.batch_size, len(items)), replace=False)
        return view.batch(items), items

    def _step(self, frames: np.ndarray, items: np.ndarray) -> float:
        torch = self._torch
        logits = self._recipe.scale * self._call(frames) @ torch.from_numpy(self._targets[items]).T
        speakers = torch.from_numpy(self._speakers[items])
        others = (speakers[:, None] == speakers[None]).fill_diagonal_(False)  # a speaker's other clips are no strangers
        loss = torch.nn.functional.cross_entropy(logits.masked_fill(others, -math.inf), torch.arange(len(items)))
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return float(loss.detach())

    def _call(self, frames: np.ndarray) -> Any:
        given = self._torch.from_numpy(frames)
        return self._network(given.transpose(1, 2)[:, :, None].contiguous() if self._recipe.last_block else given)

    def _schedule(self, share: float) -> None:
        factor = min(1.0, share / 0.05) * 0.5 * (1 + math.cos(math.pi * share))
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor

    def _follow(self, step: int) -> None:
        decay = min(self._recipe.average_decay, (1 + step) / (10 + step))
        with self._torch.no_grad():
            for average, value in zip(self._average, self._values, strict=True):
                average.lerp_(value, 1 - decay)

    def _measure(self, run: Run, step: int, seconds: float) -> None:
        """Try the averaged weights on the development speakers; keep them if they are the best so far."""
        self._swap()
        figures = self._development.measure(self._embed)
        score = sum(figures[f"eer {name}"] + 0.1 * (1 - figures[f"tpir {name}"]) for name in DEVELOPMENT)
        run.curve.append({"step": step, "minutes": round(seconds / 60, 1), "score": score, **figures})
        self._say(f"after {seconds / 60:.0f} minutes: " + ", ".join(f"{k} {100 * v:.2f} %" for k, v in figures.items()))
        if score < run.score:
            run.score = score
            run.best = {k: v.copy() for k, v in files.collect(self._network).items()}
        self._swap()

    def _swap(self) -> None:
        with self._torch.no_grad():
            for average, value in zip(self._average, self._values, strict=True):
                kept = value.clone()
                value.copy_(average)
                average.copy_(kept)

    def _embed(self, view: View, items: np.ndarray) -> np.ndarray:
        """The vectors of some clips, `(N, D)`."""
        vectors = np.empty((len(items), self._targets.shape[1]), np.float32)
        lengths = view.lengths[items]
        with self._torch.inference_mode():
            for length in np.unique(lengths):
                alike = np.flatnonzero(lengths == length)
                for rows in np.array_split(alike, math.ceil(len(alike) / 16)):
                    vectors[rows] = self._call(view.batch(items[rows])).numpy()
        return vectors


def adapt(
    start: Path, shared: Path, cache: Path, path: Path, *, recipe: Recipe, say: Callable[[str], None] = print
) -> files.Card:
    """Train on a prepared cache (`frames.prepare`); the best weights go to `path`, as yet without thresholds."""
    clips = development_clips(shared / "speech")
    development = Development(
        {name: View.open(cache, view) for name, view in DEVELOPMENT.items()},
        np.array([clip.speaker for clip in clips]),
        np.array([clip.corpus for clip in clips]),
    )
    crops = [View.open(cache, f"view{seed}") for seed in range(recipe.views)]
    whose = [clip.speaker for clip in learned_from(shared / "speech")]
    clean = View.open(cache, "clean")
    training = Adaptation(
        files.read(start), clean, crops, speakers=whose, development=development, recipe=recipe, say=say
    )
    return training.save(training.run(), path)


def _buckets(views: Sequence[View], learned: np.ndarray) -> list[tuple[View, np.ndarray]]:
    """The crops of each view by length, where there are enough of one for a batch."""
    groups = []
    for view in views:
        for length in np.unique(view.lengths):
            items = learned[view.lengths[learned] == length]
            if len(items) >= LEAST_BATCH:
                groups.append((view, items))
    return groups


def _numbered(speakers: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The number of each clip's speaker, and how many clips each speaker has."""
    _, numbers, counts = np.unique(np.array(speakers), return_inverse=True, return_counts=True)
    return numbers, counts


def _towards_speakers(vectors: np.ndarray, speakers: np.ndarray, share: float) -> np.ndarray:
    """Each clip's unit vector, `(N, D)`, moved towards the mean of its speaker's."""
    means = np.zeros((speakers.max() + 1, vectors.shape[1]), np.float32)
    np.add.at(means, speakers, vectors)
    return unit((1 - share) * vectors + share * unit(means)[speakers])
