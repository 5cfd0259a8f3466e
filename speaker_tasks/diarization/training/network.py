"""The segmentation network in torch, with the weights of pyannote's checkpoint; its first layers are not trained.

SincNet, four bidirectional LSTM layers, two linear layers and a classifier: "PyanNet" of pyannote.audio (MIT).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import leaky_relu, log_softmax

from speaker_tasks.diarization.segmentation import CLASSES, LOCAL_SPEAKERS
from speaker_tasks.embedding.audio import SAMPLE_RATE

LOW_HZ = BAND_HZ = 50.0
STRIDE, POOLED = 10, 3
"""Of the first layer, and of the pooling behind each of its three."""


class Front(nn.Module):
    """Samples `(B, 1, T)` to features `(B, frames, 60)`: band-pass filters and two convolutions."""

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        own = {name.removeprefix("sincnet."): value for name, value in weights.items() if name.startswith("sincnet.")}
        self.register_buffer("filters", _filters(own))
        self.norm = nn.InstanceNorm1d(1, affine=True)
        self.norms = nn.ModuleList(nn.InstanceNorm1d(size, affine=True) for size in (80, 60, 60))
        self.convolutions = nn.ModuleList([nn.Conv1d(80, 60, 5), nn.Conv1d(60, 60, 5)])
        renamed = {
            name.replace("wav_norm1d.", "norm.").replace("norm1d.", "norms."): value
            for name, value in own.items()
            if not name.startswith("conv1d.")
        }
        for number in (0, 1):
            for kind in ("weight", "bias"):
                renamed[f"convolutions.{number}.{kind}"] = own[f"conv1d.{number + 1}.{kind}"]
        self.load_state_dict(renamed | {"filters": self.filters})
        self.requires_grad_(requires_grad=False)

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """The features."""
        rows = torch.conv1d(self.norm(samples), self.filters, stride=STRIDE).abs()
        for number, norm in enumerate(self.norms):
            rows = self.convolutions[number - 1](rows) if number else rows
            rows = leaky_relu(norm(torch.max_pool1d(rows, POOLED)))
        return rows.transpose(1, 2)


class Head(nn.Module):
    """Features `(B, frames, 60)` to the logarithms of the classes' probabilities `(B, frames, classes)`."""

    def __init__(self, weights: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.lstm = nn.LSTM(60, 128, 4, batch_first=True, bidirectional=True)
        self.linear = nn.ModuleList([nn.Linear(256, 128), nn.Linear(128, 128)])
        self.classifier = nn.Linear(128, len(CLASSES))
        self.load_state_dict({name: value for name, value in weights.items() if not name.startswith("sincnet.")})

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """The logarithms."""
        rows, _ = self.lstm(features)
        for layer in self.linear:
            rows = leaky_relu(layer(rows))
        return log_softmax(self.classifier(rows), dim=-1)


class _Stub:
    """In place of what a checkpoint holds beside its weights."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def checkpoint_weights(path: Path) -> dict[str, torch.Tensor]:
    """The weights of pyannote's checkpoint. Of its other classes stubs are made, so that nothing of them runs."""
    stubs = [(_Stub, name) for name in torch.serialization.get_unsafe_globals_in_checkpoint(path)]
    with torch.serialization.safe_globals(stubs):
        return dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])


def loss_of(logarithms: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Cross entropy under the order of local speakers that fits each window best; `classes` are (B, frames)."""
    orders = torch.tensor(_orders(), device=classes.device)
    each = [-logarithms.gather(2, order[classes][..., None])[..., 0].mean(dim=1) for order in orders]
    return torch.stack(each).min(dim=0).values.mean()


def _orders() -> list[list[int]]:
    """For each order of the local speakers the class that each class becomes."""
    return [
        [CLASSES.index(tuple(sorted(order[member] for member in one))) for one in CLASSES]
        for order in permutations(range(LOCAL_SPEAKERS))
    ]


def _filters(own: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The band-pass filters `(80, 1, 251)` of their edges: cosines, then sines."""
    first = "conv1d.0.filterbank."
    low = LOW_HZ + own[f"{first}low_hz_"].abs()
    high = (low + BAND_HZ + own[f"{first}band_hz_"].abs()).clamp(LOW_HZ, SAMPLE_RATE / 2)
    band, time, window = (high - low)[:, 0], own[f"{first}n_"], own[f"{first}window_"]
    lows, highs = low @ time, high @ time
    even = (highs.sin() - lows.sin()) / (time / 2) * window
    odd = (lows.cos() - highs.cos()) / (time / 2) * window
    cosines = torch.cat([even, 2 * band[:, None], even.flip(1)], dim=1)
    sines = torch.cat([odd, torch.zeros_like(band)[:, None], -odd.flip(1)], dim=1)
    return (torch.cat([cosines, sines]) / (2 * band.repeat(2)[:, None]))[:, None]
