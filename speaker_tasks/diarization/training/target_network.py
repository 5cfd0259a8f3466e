"""The network of `diarization/target.py` in torch: convolutions over time for each person, who see each other."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import relu

from speaker_tasks.diarization.target import CHANNELS, CODE, DILATIONS, KERNEL, MIXED_BEHIND, SIZE

DROPPED = 0.1


class Block(nn.Module):
    """A depthwise convolution over time and two layers for each step: `(B, S, N, SIZE)` to the same."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        reach = dilation * (KERNEL - 1) // 2
        self.over_time = nn.Conv1d(SIZE, SIZE, KERNEL, padding=reach, dilation=dilation, groups=SIZE)
        self.norm = nn.LayerNorm(SIZE)
        self.inner, self.outer = nn.Linear(SIZE, 2 * SIZE), nn.Linear(2 * SIZE, SIZE)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        batch, people, steps, size = rows.shape
        seen = self.over_time(rows.reshape(batch * people, steps, size).transpose(1, 2)).transpose(1, 2)
        return rows + self.outer(relu(self.inner(self.norm(seen)))).reshape(batch, people, steps, size)


class Target(nn.Module):
    """Log odds that each person speaks in each step; begins as the first look's."""

    def __init__(self, voice: int = CHANNELS) -> None:
        super().__init__()
        self.encode, self.encoded = nn.Linear(CHANNELS, CODE), nn.LayerNorm(CODE)
        self.voice = nn.Linear(voice, CODE, bias=False)
        self.begin, self.dropped = nn.Linear(2 * CODE + 6, SIZE), nn.Dropout(DROPPED)
        self.blocks = nn.ModuleList(Block(dilation) for dilation in DILATIONS)
        self.mix = nn.ModuleList(nn.Linear(SIZE, SIZE) for _ in MIXED_BEHIND)
        self.end = nn.Linear(SIZE, 1)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)
        nn.init.normal_(self.voice.weight)  # of unit vectors: its output has a deviation of 1

    def code(self, frames: torch.Tensor) -> torch.Tensor:
        """What is kept of the trunk's frames: `(..., CHANNELS)` to `(..., CODE)`."""
        return self.encoded(self.encode(frames))

    def forward(
        self, codes: torch.Tensor, sound: torch.Tensor, odds: torch.Tensor, voices: torch.Tensor, there: torch.Tensor
    ) -> torch.Tensor:
        """What is added to the first look's log odds.

        `codes` (B, N, CODE), `sound` (B, N, 3), `odds` (B, S, N), `voices` (B, S, D), `there` (B, S): 1 for people, 0
        for padding. Gives (B, S, N).
        """
        batch, people, steps = odds.shape
        mine = codes[:, None] * self.voice(voices)[:, :, None]
        alike = mine.mean(dim=-1, keepdim=True)
        spread = codes[:, None].expand(batch, people, steps, CODE)
        heard = sound[:, None].expand(batch, people, steps, 3)
        said = torch.sigmoid(odds)[..., None]
        others = said.sum(dim=1, keepdim=True) - said
        rows = self.dropped(self.begin(torch.cat([spread, mine, alike, said, others, heard], dim=-1)))
        count = there.sum(dim=1).clamp(min=1.0)[:, None, None, None]
        mixed = 0
        for number, block in enumerate(self.blocks):
            rows = block(rows)
            if number in MIXED_BEHIND:
                mean = (rows * there[:, :, None, None]).sum(dim=1, keepdim=True) / count
                rows = rows + relu(self.mix[mixed](mean))
                mixed += 1
        return self.end(rows)[..., 0]
