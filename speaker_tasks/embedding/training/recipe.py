"""A training recipe: everything that decides what a run learns, read from a TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class TomlRecipe:
    """Base of recipes: their fields are the keys of a TOML file."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a TOML file of the fields; an unknown key is an error that names it."""
        values = tomllib.loads(path.read_text("utf-8"))
        names = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - names):
            raise ValueError(f"{path}: unknown keys {unknown}; known are {sorted(names)}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


@dataclass(frozen=True)
class Recipe(TomlRecipe):
    """Numbers of one training run; the defaults are those of the shipped compact weights."""

    network: str = "compact"
    speeds: tuple[float, ...] = (1.0, 0.9, 1.1)
    """Speech at each of these rates, the first of them as it is; another one makes new speakers."""
    natural_share: float = 1 / 3
    """How often speech comes at the first rate; the others share the rest."""
    rooms: bool = True
    """Whether each speed also has a degraded copy: rooms, telephone bands, codecs."""

    batch_size: int = 64
    crop_frames: tuple[int, ...] = (100, 120, 150, 200)
    """Lengths of crops in frames of 10 ms; one length a batch. A shorter clip is repeated: padding would
    enter the statistics of batch normalisation, and make them those of no clip."""
    final_crop_frames: tuple[int, ...] = (150, 200, 250, 300)
    final_share: float = 0.2
    """The last part of the run, which uses the longer crops."""
    duration_power: float = 0.8
    """A speaker is drawn in proportion to this power of the seconds there are of it."""
    degraded_share: float = 0.25
    noise_probability: float = 0.4
    snr_db: tuple[float, float] = (3.0, 20.0)
    babble_share: float = 0.4
    frequency_mask_bins: int = 6
    time_mask_frames: int = 15

    minutes: float = 0.0
    """Length of the run by the clock; the learning rate follows it. 0: by `steps`."""
    steps: int = 20_000
    kernel_learning_rate: float = 0.02
    """Muon's, for the kernels of hidden convolutions, in units of an orthogonal matrix."""
    learning_rate: float = 1.5e-3
    """AdamW's, for everything else."""
    weight_decay: float = 0.02
    warm_up: float = 0.05
    """Share of the run in which the learning rate and the margin grow."""
    average_decay: float = 0.999

    margin_weight: float = 0.3
    margin: float = 0.2
    scale: float = 30.0
    teacher_weight: float = 5.0
    similarity_weight: float = 10.0
    speaker_mean_share: float = 0.4
    """How much of a clip's target vector is the mean of its speaker's vectors."""

    validate_minutes: float = 8.0
    seed: int = 1

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON, for the weights' card."""
        return asdict(self)
