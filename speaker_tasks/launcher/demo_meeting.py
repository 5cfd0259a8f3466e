"""The demo's meeting: who spoke when, by name, among four people of whom one is not enrolled."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from rich.console import Console

from enrollment.folder import scan
from enrollment.manifest import Manifest
from speaker_tasks.client import TaskClient, outcome
from speaker_tasks.jobs import JobRecord
from speaker_tasks.jobs.audio import Audio

DEMO = Path(__file__).resolve().parents[2] / "banks" / "demo"
"""Where the demo's recordings lie."""
MEETING = DEMO / "meeting.ogg"
GUEST = "Carol"
CLIPS = ("1.ogg", "2.ogg")
"""What is enrolled of everyone else; the meeting is joined from other clips."""
EXPECTED = frozenset({"Alice", "Brian", "David", "unknown-1"})
WIDTH = 56
"""Characters of a lane."""

Wait = Callable[[JobRecord], JobRecord]


def enrolled() -> Manifest:
    """Who is enrolled for the meeting."""
    everyone = scan(DEMO / "speakers")
    entries = [one for one in everyone.entries if one.speaker != GUEST and one.path.endswith(CLIPS)]
    return Manifest.of(entries, ())


def ask(client: TaskClient, bank: str, wait: Wait) -> dict[str, Any]:
    """The timeline of the meeting with the names of a bank that is made for it. Raises what the jobs raise."""
    outcome(wait(client.enroll_manifest(enrolled().to_dict(), bank=bank)))
    return outcome(wait(client.timeline(Audio.of_file(MEETING.read_bytes()), {"bank": bank})))


def show(timeline: dict[str, Any], console: Console) -> bool:
    """Print a lane for each person; whether all are there, by name."""
    minutes, seconds = divmod(round(timeline["seconds"]), 60)
    console.print(f"a meeting of {minutes} min {seconds} s; {GUEST}, who is in it, is not enrolled:")
    names = [one["speaker"] for one in timeline["speakers"]]
    for name in names:
        turns = [turn for turn in timeline["turns"] if turn["speaker"] == name]
        lane = drawn(((turn["start"], turn["end"]) for turn in turns), timeline["seconds"])
        spoken = sum(turn["end"] - turn["start"] for turn in turns)
        console.print(f" {name:<10} {lane} {spoken:3.0f} s", markup=False, highlight=False)
    return set(names) == EXPECTED


def drawn(turns: Iterable[tuple[float, float]], seconds: float, width: int = WIDTH) -> str:
    """A lane of `width` characters: a block where somebody speaks for half of its time or more."""
    filled = [0.0] * width
    step = seconds / width
    for start, end in turns:
        for at in range(min(width, int(start / step)), min(width, int(end / step) + 1)):
            filled[at] += max(0.0, min(end, (at + 1) * step) - max(start, at * step))
    return "".join("█" if share >= step / 2 else "·" for share in filled)
