"""Recordings of known length, damaged in known ways: how much of them a reader has to give, or to call lost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from hypothesis import strategies as st

from tests.fuzz.mutations import Draw, Input, chance
from tests.unit.embedding.files import made, tone, with_flac_total, with_wav_length

KINDS = ("WAV", "AIFF", "AU", "CAF", "W64", "RF64", "FLAC", "OGG", "OPUS", "MP3", "ADTS", "M4A", "WEBM", "WMA", "TS")
JOINED = ("WAV", "FLAC", "OGG", "OPUS", "MP3", "ADTS")
"""Kinds of which several in one file are one recording."""
TRACELESS = ("MP3", "ADTS", "TS", "AU")
"""Kinds without a length: what is cut off or taken out leaves no trace."""
LENGTHS = (1.0, 3.0, 7.5, 24.0)
PADDING = 0.4
"""Seconds that codecs add or take."""
FRAMES = 0.3
"""Seconds beside a fault that go with it: the frames it touches and those that need them."""

CHANCE = 1.5
"""Seconds of frames that noise may look like, or that come twice where a reader finds its way again."""


@dataclass(frozen=True)
class Recording:
    """A file, and what is right to say of it."""

    kind: str
    change: str
    content: Input
    least: float
    """Seconds that have to be read unless the reading says that it is damaged."""
    most: float
    """Seconds that there are: more may not be read."""

    def __str__(self) -> str:
        return f"{self.kind}, {self.change}, {len(self.content)} bytes, {self.least:.2f} to {self.most:.2f} s"

    def verdict(self, seconds: float, lost: float, *, damaged: bool) -> str:
        """What is wrong about a reading of it; nothing if it is right."""
        if seconds > self.most:
            return f"{seconds:.2f} s were read where there are {self.most:.2f} s"
        if not damaged and seconds < self.least:
            return f"{seconds:.2f} s were read of {self.least:.2f} s, and nothing is said to be lost"
        if self.change != "length" and seconds + lost > self.most + max(1.0, 0.2 * self.most):
            return f"{seconds:.2f} s were read and {lost:.2f} s are said to be lost, where there are {self.most:.2f} s"
        if not damaged and lost:
            return f"{lost:.2f} s are lost, and it is not damaged"
        return ""


@st.composite
def recordings(draw: Draw) -> Recording:
    """A recording of any kind, whole or damaged in its body, whose length is known."""
    kind, seconds = draw(st.sampled_from(KINDS)), draw(st.sampled_from(LENGTHS))
    content = whole(kind, seconds)
    changes = ["whole", "cut", "noise", "zeros", "taken out", "put in", "behind"]
    changes += ["joined"] * (kind in JOINED) + ["length"] * (kind in ("FLAC", "WAV"))
    change = draw(st.sampled_from(changes))
    made_by = chance(draw)
    if change == "joined":
        second = draw(st.sampled_from(LENGTHS))
        both = seconds + second
        return Recording(kind, change, Input(content + whole(kind, second)), both - 2 * PADDING, both + 2 * PADDING)
    if change == "length":
        lie = draw(st.integers(0, 2**31 - 1))
        content = with_flac_total(content, lie) if kind == "FLAC" else with_wav_length(content, lie)
        return Recording(kind, change, Input(content), seconds - PADDING, seconds + PADDING)
    at = round(draw(st.floats(0.3, 0.95)) * len(content))
    count = min(draw(st.integers(1, 6_000)), len(content) - at)
    share = count / len(content)
    begin, rest = content[:at], content[at + count :]
    most = seconds + PADDING
    match change:
        case "cut":
            content, share = begin, 1 - at / len(content)
        case "noise":
            content = begin + made_by.randbytes(count) + rest
        case "zeros":
            content = begin + bytes(count) + rest
        case "taken out":
            content = begin + rest
        case "put in":
            content = begin + made_by.randbytes(count) + content[at:]
            most += share * seconds
        case "behind":
            content += made_by.randbytes(count)
            most += share * seconds
    if change in ("noise", "put in", "behind"):
        most += CHANCE
    lost = 0.0
    if change not in ("whole", "behind"):
        lost = FRAMES + (share * seconds if kind in TRACELESS else 0.0)
    return Recording(kind, change, Input(content), seconds - lost - PADDING, most)


@st.composite
def strange(draw: Draw) -> bytes:
    """A recording whose beginning lies, two that are mixed up, or no recording at all."""
    content = whole(draw(st.sampled_from(KINDS)), draw(st.sampled_from(LENGTHS[:3])))
    made_by = chance(draw)
    match draw(st.sampled_from(["head", "head", "mixed", "magic"])):
        case "head":
            head = bytearray(content)
            for _ in range(draw(st.integers(1, 12))):
                head[made_by.randrange(min(600, len(head)))] = made_by.choice(
                    [0, 1, 0x7F, 0x80, 0xFF, made_by.randrange(256)]
                )
            return Input(head)
        case "mixed":
            other = whole(draw(st.sampled_from(KINDS)), 1.0)
            at = made_by.randrange(len(content))
            return Input(content[:at] + other[made_by.randrange(len(other)) :] + content[at:])
    return Input(content[: made_by.choice([4, 12, 44, 200])] + made_by.randbytes(made_by.choice([10, 1_000, 50_000])))


@cache
def whole(kind: str, seconds: float) -> bytes:
    """An undamaged recording: tones and soft noise, loud enough for any codec."""
    noise = np.random.default_rng(0).normal(0, 0.02, round(seconds * 16_000)).astype(np.float32)
    return made(kind, tone(440.0, seconds) * 0.7 + noise)
