"""The training loop: resumable by its checkpoint, keeps the average weights that validate best."""

from __future__ import annotations

import json
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from speaker_tasks.embedding.members import CONFIGS
from speaker_tasks.embedding.network import build
from speaker_tasks.embedding.training.batches import Batch, BatchMaker
from speaker_tasks.embedding.training.corpus import Corpus
from speaker_tasks.embedding.training.muon import ADAM_LAYERS, Muon
from speaker_tasks.embedding.training.objective import Distillation
from speaker_tasks.embedding.training.recipe import Recipe
from speaker_tasks.embedding.training.validation import Validation, in_layout

AVERAGE_EVERY = 4
LOG_EVERY = 50


@dataclass
class Progress:
    """How far a run is; written with every checkpoint."""

    step: int = 0
    seconds: float = 0.0
    best: float = 1.0
    curve: list[dict[str, float]] = field(default_factory=list)

    def share(self, recipe: Recipe) -> float:
        """The part of the run that is done, in [0, 1]."""
        if recipe.minutes:
            return min(self.seconds / (60 * recipe.minutes), 1.0)
        return min(self.step / recipe.steps, 1.0)


class Training:
    """One run in one folder: `checkpoint.npz` to go on from, `best.npz` to export, `curve.json` to look at."""

    def __init__(
        self, recipe: Recipe, corpus: Corpus, validation: Validation, folder: Path, say: Callable[[str], None]
    ) -> None:
        keras.utils.set_random_seed(recipe.seed)
        keras.config.set_dtype_policy("mixed_bfloat16")
        if keras.backend.backend() == "torch":
            keras.config.set_image_data_format("channels_first")
        self._recipe, self._validation, self._folder, self._say = recipe, validation, folder, say
        self._batches = BatchMaker(corpus, recipe)
        self.network = build(CONFIGS[recipe.network], masked=False)
        self._model = Distillation(self.network, recipe, self._batches.class_vectors(), recipe.seed)
        self._optimizer = Muon(
            recipe.kernel_learning_rate,
            adam_lr_ratio=recipe.learning_rate / recipe.kernel_learning_rate,
            adam_weight_decay=recipe.weight_decay * recipe.learning_rate / recipe.kernel_learning_rate,
            weight_decay=None,
            exclude_layers=ADAM_LAYERS,
            rms_rate=None,
        )
        self._model.compile(optimizer=self._optimizer, jit_compile=False)
        self._optimizer.build(self._model.trainable_variables)
        self._average = [value.copy() for value in self._network_values()]
        self.progress = Progress()
        folder.mkdir(parents=True, exist_ok=True)

    def run(self) -> Progress:
        """Train to the end of the recipe, going on from the folder's checkpoint if there is one."""
        self._resume()
        recipe, progress = self._recipe, self.progress
        feeder = _Feeder(self._batches, seed=recipe.seed + progress.step)
        validated = progress.seconds
        last = time.monotonic()
        while (share := progress.share(recipe)) < 1.0:
            self._schedule(share)
            feeder.final = share > 1 - recipe.final_share
            logs = self._train_on(feeder.take())
            progress.step += 1
            now = time.monotonic()
            progress.seconds, last = progress.seconds + now - last, now
            if progress.step % AVERAGE_EVERY == 0:
                self._update_average()
            if progress.step % LOG_EVERY == 0:
                self._say(f"step {progress.step} {share:.1%} " + " ".join(f"{k} {v:.3f}" for k, v in logs.items()))
                self._model.reset_metrics()
            if progress.seconds - validated > 60 * recipe.validate_minutes:
                validated = progress.seconds
                self._validate()
                last = time.monotonic()
        feeder.stop()
        self._validate()
        return progress

    def _train_on(self, batch: Batch) -> dict[str, float]:
        targets = {"label": batch.labels, "teacher": batch.targets}
        logs = self._model.train_on_batch(in_layout(batch.spectrograms), targets, return_dict=True)
        return {name: float(value) for name, value in logs.items()}

    def _schedule(self, share: float) -> None:
        """Warm up, then a cosine to zero; the margin grows over the first half."""
        recipe = self._recipe
        grow = min(share / recipe.warm_up, 1.0)
        fall = 0.5 * (1 + math.cos(math.pi * max(share - recipe.warm_up, 0.0) / (1 - recipe.warm_up)))
        self._optimizer.learning_rate = recipe.kernel_learning_rate * max(grow * fall, 1e-3)
        self._model.margin.assign(recipe.margin * min(2 * share, 1.0))

    def _update_average(self) -> None:
        """Exponential average of weights and of batch statistics, shorter at the start of a run."""
        decay = min(self._recipe.average_decay, (1 + self.progress.step) / (10 + self.progress.step)) ** AVERAGE_EVERY
        for average, value in zip(self._average, self._network_values(), strict=True):
            average[...] = value + decay * (average - value)

    def _validate(self) -> None:
        """Score the average weights, keep them if they are the best so far, write the checkpoint."""
        current = [value.copy() for value in self._network_values()]
        self._assign(self._average)
        result = self._validation.eer_by_corpus(self.network)
        self._assign(current)
        progress = self.progress
        progress.curve.append({"step": progress.step, "minutes": progress.seconds / 60, **result})
        line = ", ".join(f"{name} {100 * value:.2f} %" for name, value in result.items())
        self._say(f"after {progress.seconds / 60:.0f} minutes, {progress.step} steps: EER {line}")
        if result["mean"] <= progress.best:
            progress.best = result["mean"]
            _save(
                self._folder / "best.npz",
                {v.path: a for v, a in zip(self.network.variables, self._average, strict=True)},
            )
        self._checkpoint()

    def _checkpoint(self) -> None:
        values = {f"state/{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(self._state())}
        values |= {f"average/{i}": value for i, value in enumerate(self._average)}
        _save(self._folder / "checkpoint.npz", values)
        (self._folder / "curve.json").write_text(json.dumps(self.progress.__dict__, indent=1))

    def _resume(self) -> None:
        path = self._folder / "checkpoint.npz"
        if not path.exists():
            return
        with np.load(path, allow_pickle=False) as stored:
            for index, variable in enumerate(self._state()):
                variable.assign(stored[f"state/{index}"])
            self._average = [stored[f"average/{index}"] for index in range(len(self._average))]
        self.progress = Progress(**json.loads((self._folder / "curve.json").read_text()))
        self._say(f"going on from step {self.progress.step}")

    def _state(self) -> list:
        """All that is learned or counted; not what the corpus gives, so that a run may go on with more of it."""
        given = {id(variable) for variable in self._model.fixed}
        weights = [*self._model.trainable_variables, *self._model.non_trainable_variables]
        return [variable for variable in weights if id(variable) not in given] + [*self._optimizer.variables]

    def _network_values(self) -> list:
        return [keras.ops.convert_to_numpy(variable) for variable in self.network.variables]

    def _assign(self, values: list[np.ndarray]) -> None:
        for variable, value in zip(self.network.variables, values, strict=True):
            variable.assign(value)


class _Feeder:
    """Makes batches in a thread of its own, a few ahead."""

    def __init__(self, batches: BatchMaker, seed: int, ahead: int = 4) -> None:
        self._queue: queue.Queue[Batch] = queue.Queue(ahead)
        self._stopped = threading.Event()
        self.final = False
        self._rng = np.random.default_rng(seed)
        self._thread = threading.Thread(target=self._run, args=(batches,), daemon=True)
        self._thread.start()

    def take(self) -> Batch:
        return self._queue.get()

    def stop(self) -> None:
        self._stopped.set()
        self._queue.get()

    def _run(self, batches: BatchMaker) -> None:
        while not self._stopped.is_set():
            self._queue.put(batches.draw(self._rng, final=self.final))


def _save(path: Path, values: dict[str, np.ndarray]) -> None:
    """Write whole or not at all."""
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, allow_pickle=False, **values)
    partial.replace(path)
