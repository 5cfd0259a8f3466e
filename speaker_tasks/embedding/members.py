"""The members of the GhostVLAD family, as frozen configurations; read without importing any framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal


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
class ResidualTrunk:
    """A two-dimensional residual network: stem, stages, and what is left of the frequencies joined at the end."""

    stem_filters: int
    stem_kernel: int
    stem_strides: tuple[int, int]
    stem_pool: bool
    stages: tuple[Stage, ...]
    final_pool: bool

    @property
    def bottleneck(self) -> bool:
        """Whether the stages are made of 1x1, 3x3, 1x1 bottlenecks."""
        return len(self.stages[0].filters) == 3


@dataclass(frozen=True)
class DenseBlock:
    """A densely connected block: `layers` layers whose convolutions over time have the given dilation."""

    layers: int
    dilation: int


@dataclass(frozen=True)
class DenseTrunk:
    """The trunk of CAM++ (Wang et al., arXiv 2303.00332): a small residual head, then densely connected TDNN blocks."""

    blocks: tuple[DenseBlock, ...]
    head_filters: int = 32
    channels: int = 128
    """What the head's map is brought to, at half the frame rate."""
    growth: int = 32
    """Channels that each dense layer adds."""
    bottleneck: int = 128
    """Channels inside of each dense layer."""
    segment: int = 100
    """Frames, at half the frame rate, over which the context masks average."""


@dataclass(frozen=True)
class NetworkConfig:
    """One member of the family: front end, trunk, aggregation."""

    name: str
    front_end: Literal["vgg", "log_mel", "kaldi_fbank"]
    bins: int
    trunk: ResidualTrunk | DenseTrunk
    descriptor_size: int
    clusters: int = 8
    ghosts: int = 2
    embedding_size: int = 512
    relu_embedding: bool = False
    statistics: bool = False
    """Whether mean and deviation of the trunk's frames stand beside GhostVLAD."""
    inner_size: int = 0
    """Size of `fc6`, if an isometry brings it to `embedding_size`; 0 where `fc6` gives the embedding itself."""

    @property
    def pads(self) -> bool:
        """Whether OpenVINO gets masked clips, padded to few lengths.

        Each new length costs a dense trunk, of many small layers, half as long again and some megabytes. A residual
        trunk has few, and masks would cost it more than they save.
        """
        return isinstance(self.trunk, DenseTrunk)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NetworkConfig:
        """What `dataclasses.asdict` gave, also before trunks had an object of their own.

        Raises KeyError or TypeError where that is not what it is.
        """
        if "trunk" in data:
            return cls(**{**data, "trunk": _trunk(data["trunk"])})
        trunk = {field.name: data[field.name] for field in fields(ResidualTrunk)}
        return cls(**{key: value for key, value in data.items() if key not in trunk}, trunk=_trunk(trunk))


def _trunk(data: Mapping[str, Any]) -> ResidualTrunk | DenseTrunk:
    if "stages" not in data:
        return DenseTrunk(**{**data, "blocks": tuple(DenseBlock(**block) for block in data["blocks"])})
    stages = tuple(
        Stage(**{**stage, "filters": tuple(stage["filters"]), "strides": tuple(stage["strides"])})
        for stage in data["stages"]
    )
    return ResidualTrunk(**{**data, "stages": stages, "stem_strides": tuple(data["stem_strides"])})


VGG = NetworkConfig(
    name="vgg",
    front_end="vgg",
    bins=257,
    trunk=ResidualTrunk(
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
    ),
    descriptor_size=512,
    relu_embedding=True,
)
"""The published thin ResNet-34, bit for bit."""

COMPACT = NetworkConfig(
    name="compact",
    front_end="log_mel",
    bins=64,
    trunk=ResidualTrunk(
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
    ),
    descriptor_size=256,
)
"""The light network: about 1 GFLOP for 2.5 s of speech."""

CAMPPLUS = NetworkConfig(
    name="campplus",
    front_end="kaldi_fbank",
    bins=80,
    trunk=DenseTrunk(blocks=(DenseBlock(12, 1), DenseBlock(24, 2), DenseBlock(16, 2))),
    descriptor_size=256,
    statistics=True,
    inner_size=192,
)
"""CAM++'s trunk under GhostVLAD, in CAM++'s own space: about 2.8 GFLOP for 2.5 s of speech."""

CONFIGS = {config.name: config for config in (VGG, COMPACT, CAMPPLUS)}
