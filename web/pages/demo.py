"""The demo's voices for the pages: a zip to enroll, and one more recording of each speaker, to ask with."""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path

import banks

FOLDER = Path(banks.__file__).parent / "demo" / "speakers"
HELD_OUT = "5.ogg"
"""The recording of each speaker that is not enrolled."""


MEETING = FOLDER.parent / "meeting.ogg"


@cache
def archive() -> bytes:
    """A zip of one folder a speaker, without the held-out recordings."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:  # stored: Ogg packs no further
        for path in sorted(FOLDER.glob("*/*.ogg")):
            if path.name != HELD_OUT:
                file.write(path, f"{path.parent.name}/{path.name}")
    return packed.getvalue()


@cache
def speakers() -> tuple[str, ...]:
    """The demo's people, in the order of their names."""
    return tuple(sorted(path.parent.name for path in FOLDER.glob(f"*/{HELD_OUT}")))


def recording(speaker: str) -> Path | None:
    """The held-out recording of one of them; None for anybody else."""
    return FOLDER / speaker / HELD_OUT if speaker in speakers() else None
