"""How a score stands among those with a cohort of other people, so that one threshold fits all voices.

Some voices are like many others (children's, say) and reach high cosines with all of them. What is asked of a cosine
is therefore how far it stands out from those that either side has with its nearest people of a cohort: adaptive
symmetric normalisation (AS-norm, Matejka et al., Interspeech 2017), with a cohort that travels in the weights' card.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from banks.vectors import unit

CARD_KEY = "crowd"
"""Where a weights file's card keeps its cohort: the name is that of the shipped files."""
NEAREST = 30
"""People of the cohort whose cosines are looked at for each side."""
LEAST_DEVIATION = 1e-3
KEPT = 16_384
"""Enrolled vectors for which it is remembered what they have with the nearest."""


@dataclass(frozen=True)
class Standing:
    """How the cosines between a voice and an enrolled one are read: how many deviations they stand out."""

    slope: float = 1.0
    offset: float = 0.0

    def of(self, cosine: float) -> float:
        """How far a cosine stands out."""
        return self.slope * cosine - self.offset

    def cosine(self, standing: float) -> float:
        """The cosine that stands out so far."""
        return (standing + self.offset) / self.slope


PLAIN = Standing()
"""Without a cohort a cosine stands for itself."""


class Nearest(NamedTuple):
    """Mean and deviation, `(R,)` each, of the cosines that vectors have with the nearest of a cohort."""

    mean: np.ndarray
    deviation: np.ndarray

    def at(self, where: Any) -> Nearest:
        """Those of an index, or with another shape: whatever numpy takes in brackets."""
        return Nearest(self.mean[where], self.deviation[where])

    def reading(self, other: Nearest) -> tuple[np.ndarray, np.ndarray]:
        """Slope and offset by which cosines between these and others are read, of the shape that both broadcast to."""
        slope = (1 / self.deviation + 1 / other.deviation) / 2
        return slope, (self.mean / self.deviation + other.mean / other.deviation) / 2


@dataclass(frozen=True, eq=False)
class Cohort:
    """People whom nobody enrolled: `(M, D)` float32 unit vectors, at least `NEAREST` of them."""

    vectors: np.ndarray
    _known: dict[bytes, list[np.float32]] = field(default_factory=dict, repr=False)
    """Mean and deviation for enrolled vectors, by digest."""

    @classmethod
    def of_card(cls, details: Mapping[str, Any]) -> Cohort | None:
        """The cohort that the card's thresholds (`operating`) were measured with, if they were with one."""
        return cls.stored(details) if details.get("operating") else None

    @classmethod
    def stored(cls, details: Mapping[str, Any]) -> Cohort | None:
        """The cohort that a card holds; None without."""
        return cls.from_dict(details[CARD_KEY]) if details.get(CARD_KEY) else None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Cohort:
        """Read what `to_dict` wrote. Raises KeyError, TypeError or ValueError on anything else."""
        stored = np.frombuffer(base64.b64decode(data["vectors"], validate=True), "<f2")
        return cls(unit(stored.reshape(int(data["people"]), -1).astype(np.float32)))

    def to_dict(self) -> dict[str, Any]:
        """The cohort as JSON: the vectors as float16 in base64."""
        stored = self.vectors.astype("<f2").tobytes()
        return {"people": len(self.vectors), "vectors": base64.b64encode(stored).decode()}

    def nearest(self, vectors: np.ndarray) -> Nearest:
        """What `(R, D)` vectors have with the nearest of the cohort."""
        cosines = unit(vectors) @ self.vectors.T
        best = np.partition(cosines, -NEAREST, axis=1)[:, -NEAREST:]
        return Nearest(best.mean(axis=1), np.maximum(best.std(axis=1), LEAST_DEVIATION))

    def standings(self, voice: np.ndarray, enrolled: np.ndarray) -> list[Standing]:
        """How to read the cosines between a voice (D,) and enrolled vectors (K, D)."""
        readings = zip(*self.nearest(voice[None]).reading(self._nearest_again(enrolled)), strict=True)
        return [Standing(float(slope), float(offset)) for slope, offset in readings]

    def _nearest_again(self, enrolled: np.ndarray) -> Nearest:
        """`nearest` for vectors that come again and again: kept by their digests, so no voice outlives its bank."""
        keys = [hashlib.blake2b(vector.tobytes(), digest_size=16).digest() for vector in enrolled]
        kept = [(key, self._known.get(key)) for key in keys]
        pairs = {key: pair for key, pair in kept if pair is not None}
        if missing := [row for row, key in enumerate(keys) if key not in pairs]:
            mean, deviation = self.nearest(enrolled[missing])
            pairs |= {keys[row]: pair for row, *pair in zip(missing, mean, deviation, strict=True)}
            if len(self._known) > KEPT:
                self._known.clear()
            self._known.update(pairs)
        mean, deviation = np.array([pairs[key] for key in keys], np.float32).reshape(-1, 2).T
        return Nearest(mean, deviation)
