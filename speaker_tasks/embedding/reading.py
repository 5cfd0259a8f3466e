"""What was read of a recording, and what was not: a part of the sound is never passed off as the whole."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_LOSSES = 10_000
"""Losses that are kept apart; further ones are added to the last."""


@dataclass(frozen=True)
class Loss:
    """Sound that is missing."""

    at: float
    """After so many seconds that were read."""
    seconds: float
    """About how many seconds; 0 if that is unknown."""
    fault: str
    """Why, in words."""


@dataclass
class Reading:
    """What was read, and what was not; it fills while a recording is read."""

    seconds: float = 0.0
    """Seconds that were read."""
    losses: list[Loss] = field(default_factory=list)
    track: int = 1
    """The sound track that was read, from 1."""
    tracks: int = 1

    @property
    def damaged(self) -> bool:
        """Whether something is, or may be, missing."""
        return bool(self.losses)

    @property
    def lost(self) -> float:
        """Seconds that are known to be lost, about; what is missing may leave no trace of its length."""
        return sum(loss.seconds for loss in self.losses)

    def lose(self, seconds: float, fault: str, at: float | None = None) -> None:
        """Take down a loss; by default it is where the reading stands."""
        loss = Loss(self.seconds if at is None else at, max(0.0, seconds), fault)
        last = self.losses[-1] if self.losses else None
        if last is not None and last.fault == fault and (not loss.seconds or len(self.losses) >= MOST_LOSSES):
            self.losses[-1] = Loss(last.at, last.seconds + loss.seconds, fault)
        else:
            self.losses.append(loss)

    def regain(self, seconds: float, since: int) -> None:
        """Take back so many lost seconds, of the losses from number `since` on: they were not lost after all."""
        for number in range(len(self.losses) - 1, since - 1, -1):
            loss = self.losses[number]
            back = max(0.0, min(seconds, loss.seconds))
            self.losses[number] = Loss(loss.at, loss.seconds - back, loss.fault)
            seconds -= back

    def within(self, start: float, end: float | None) -> list[Loss]:
        """The losses that touch the recording between two of its seconds, each with what lies between them."""
        losses, before = [], 0.0
        for loss in self.losses:
            first = loss.at + before
            before += loss.seconds
            last = first + loss.seconds if end is None else min(first + loss.seconds, end)
            if last >= start and (end is None or first <= end):
                losses.append(Loss(loss.at, max(0.0, last - max(first, start)), loss.fault))
        return losses

    @property
    def warnings(self) -> list[str]:
        """What a user has to know, in sentences."""
        messages = []
        if self.damaged:
            lost = f"about {self.lost:.1f} s are lost" if self.lost >= 0.05 else "how much is missing is unknown"
            faults = "; ".join(dict.fromkeys(loss.fault for loss in self.losses))
            messages.append(f"damaged: {self.seconds:.1f} s were read, {lost} ({faults})")
        if self.tracks > 1:
            messages.append(f"sound track {self.track} of {self.tracks} was heard")
        return messages
