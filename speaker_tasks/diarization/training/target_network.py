"""The network of `diarization/target.py` in torch: convolutions over time for each person, who see each other."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import relu

from speaker_tasks.diarization.target import CHANNELS, DILATIONS, HEARD, KERNEL, MIXED_BEHIND, NOBODY, SIZE, SPANS

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

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.encoded = nn.Linear(CHANNELS, HEARD), nn.LayerNorm(HEARD)
        self.begin, self.dropped = nn.Linear(HEARD + 2 * len(SPANS) + 5, SIZE), nn.Dropout(DROPPED)
        self.blocks = nn.ModuleList(Block(dilation) for dilation in DILATIONS)
        self.mix = nn.ModuleList(nn.Linear(SIZE, SIZE) for _ in MIXED_BEHIND)
        self.end = nn.Linear(SIZE, 1)
        nn.init.zeros_(self.end.weight)
        nn.init.zeros_(self.end.bias)

    def forward(  # noqa: PLR0917 (what it sees, as they come)
        self,
        frames: torch.Tensor,
        near: torch.Tensor,
        sound: torch.Tensor,
        odds: torch.Tensor,
        voices: torch.Tensor,
        there: torch.Tensor,
    ) -> torch.Tensor:
        """What is added to the first look's log odds.

        `frames` (B, N, CHANNELS), `near` (B, N, spans, INNER), `sound` (B, N, 3), `odds` (B, S, N), `voices`
        (B, S, INNER), `there` (B, S): 1 for people, 0 for padding. Gives (B, S, N).
        """
        batch, people, steps = odds.shape
        heard = self.encoded(self.encode(frames))[:, None].expand(batch, people, steps, HEARD)
        alike = torch.einsum("bntd,bsd->bsnt", near, voices)
        alike = torch.where(there[:, :, None, None] > 0, alike, torch.full_like(alike, NOBODY))
        best, second = alike.topk(2, dim=1).values.split(1, dim=1)
        others = torch.where(alike == best, second, best)
        said = torch.sigmoid(odds)[..., None]
        rest = said.sum(dim=1, keepdim=True) - said
        kinds = sound[:, None].expand(batch, people, steps, 3)
        rows = self.dropped(self.begin(torch.cat([heard, alike, others, said, rest, kinds], dim=-1)))
        count = there.sum(dim=1).clamp(min=1.0)[:, None, None, None]
        mixed = 0
        for number, block in enumerate(self.blocks):
            rows = block(rows)
            if number in MIXED_BEHIND:
                mean = (rows * there[:, :, None, None]).sum(dim=1, keepdim=True) / count
                rows = rows + relu(self.mix[mixed](mean))
                mixed += 1
        return self.end(rows)[..., 0]
