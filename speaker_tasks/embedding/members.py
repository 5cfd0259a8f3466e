"""The members of the GhostVLAD family, as frozen configurations; read without importing any framework."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Stage:
    """One residual stage: `blocks` blocks of `filters` channels, the first with `strides` (frequency, time).

    Bottleneck networks give three numbers of channels (reduce, 3x3, increase), basic ones a single number.
    """

    filters: tuple[int, ...]
    blocks: int
    strides: tuple[int, int]
    squeeze: int = 0
    """Squeeze-and-excitation reduction; 0 is none."""


@dataclass(frozen=True)
class NetworkConfig:
    """One member of the family: front end, stem, residual stages, aggregation."""

    name: str
    front_end: Literal["vgg", "log_mel"]
    bins: int
    stem_filters: int
    stem_kernel: int
    stem_strides: tuple[int, int]
    stem_pool: bool
    stages: tuple[Stage, ...]
    final_pool: bool
    descriptor_size: int
    clusters: int = 8
    ghosts: int = 2
    embedding_size: int = 512
    relu_embedding: bool = False

    @property
    def bottleneck(self) -> bool:
        """Whether the stages are made of 1x1, 3x3, 1x1 bottlenecks."""
        return len(self.stages[0].filters) == 3


VGG = NetworkConfig(
    name="vgg",
    front_end="vgg",
    bins=257,
    stem_filters=64,
    stem_kernel=7,
    stem_strides=(1, 1),
    stem_pool=True,
    stages=(
        Stage((48, 48, 96), 2, (1, 1)),
        Stage((96, 96, 128), 3, (2, 2)),
        Stage((128, 128, 256), 3, (2, 2)),
        Stage((256, 256, 512), 3, (2, 2)),
    ),
    final_pool=True,
    descriptor_size=512,
    relu_embedding=True,
)
"""The published thin ResNet-34, bit for bit."""

COMPACT = NetworkConfig(
    name="compact",
    front_end="log_mel",
    bins=64,
    stem_filters=32,
    stem_kernel=5,
    stem_strides=(2, 2),
    stem_pool=False,
    stages=(
        Stage((32,), 1, (1, 1)),
        Stage((64,), 2, (2, 2)),
        Stage((128,), 2, (2, 2), squeeze=8),
        Stage((192,), 2, (2, 1), squeeze=8),
    ),
    final_pool=False,
    descriptor_size=256,
)
"""The shipped network: about 1 GFLOP for 2.5 s of speech."""

CONFIGS = {config.name: config for config in (VGG, COMPACT)}
