"""Changes of bytes: cut, overwritten, put in, taken out, repeated."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Sequence

from hypothesis import strategies as st

Draw = st.DrawFn
LONGEST = 4 << 20
"""Bytes of an input at most."""


class Input(bytes):
    """Bytes that are not printed whole."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"


def chance(draw: Draw) -> random.Random:
    """A generator whose seed hypothesis chooses, for what need not be made smaller when it fails."""
    return random.Random(draw(st.integers(0, 2**32 - 1)))


def mutated(draw: Draw, data: bytes, tokens: Sequence[bytes] = (), most: int = 4) -> bytes:
    """The data after one change or a few; `tokens` are pieces that its reader knows."""
    for _ in range(draw(st.integers(1, most))):
        data = _changed(draw, data, tokens)[:LONGEST]
    return Input(data)


def _changed(draw: Draw, data: bytes, tokens: Sequence[bytes]) -> bytes:  # noqa: PLR0911
    how = draw(st.sampled_from(["cut", "flip", "noise", "out", "repeat", "token", "token", "swap"]))
    made = chance(draw)
    at = made.randrange(len(data) + 1)
    count = min(made.choice([1, 2, 8, 60, 500, 4000]), len(data) - at)
    piece = data[at : at + count]
    match how:
        case "cut":
            return data[:at]
        case "flip" if data:
            at = min(at, len(data) - 1)
            return data[:at] + bytes([data[at] ^ 1 << made.randrange(8)]) + data[at + 1 :]
        case "noise":
            return data[:at] + made.randbytes(count) + data[at + count :]
        case "out":
            return data[:at] + data[at + count :]
        case "repeat":
            return data[:at] + piece * made.choice([2, 10, 1000, 30_000]) + data[at + count :]
        case "swap":
            there = made.randrange(len(data) + 1)
            return data[:there] + piece + data[there:]
    token = made.choice(list(tokens) or [b"\0", b"\xff" * 8, b"-1", b"1e999", b"\n" * 1000])
    return data[:at] + token + data[at + made.choice([0, len(token), count]) :]


def mutated_zip(draw: Draw, data: bytes, tokens: Sequence[bytes] = ()) -> bytes:
    """A zip file of which a member, its name, or the file itself is changed."""
    if draw(st.booleans()):
        return mutated(draw, data, (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\xff\xff\xff\xff"))
    source, made = zipfile.ZipFile(io.BytesIO(data)), io.BytesIO()
    names = source.namelist()
    chosen = draw(st.sampled_from(names))
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for name in names:
            content = source.read(name)
            target.writestr(name, mutated(draw, content, tokens) if name == chosen else content)
    return Input(made.getvalue())
