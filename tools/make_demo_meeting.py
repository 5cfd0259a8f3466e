"""Join the demo's synthetic voices into a short meeting, with the truth of who speaks when beside it.

    python tools/make_demo_meeting.py --out meeting.flac [--rttm truth.rttm] [--times 1]

`banks/demo/meeting.ogg`, which `make demo` and the page Meetings show, was made with `--times 2`.

David, Brian and Alice are three who may be enrolled (by their clips 1 and 2, which are not in the meeting); Carol is
a guest. Each says the clips 3 to 5, `--times` times over; here and there one begins before the other has ended.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from speaker_tasks.embedding.audio import SAMPLE_RATE, decode  # noqa: E402

SPEAKERS = ROOT / "banks" / "demo" / "speakers"
TURNS = (
    ("David", 3, 0.4),
    ("Brian", 3, 0.5),
    ("Carol", 3, 0.7),
    ("David", 4, -0.8),
    ("Alice", 3, 0.6),
    ("Brian", 4, 0.4),
    ("Alice", 4, -1.0),
    ("Carol", 4, 0.8),
    ("David", 5, 0.3),
    ("Carol", 5, 0.5),
    ("Brian", 5, -0.7),
    ("Alice", 5, 0.6),
)
"""Who says which clip, so many seconds after the turn before has ended."""
NOISE_DB = -35.0
LEVEL = 0.08

Turn = tuple[float, float, str]


def meeting(times: int = 1) -> tuple[np.ndarray, list[Turn]]:
    """The sound, (T,) float32 at 16 kHz, and its turns."""
    pieces: list[tuple[int, np.ndarray]] = []
    turns: list[Turn] = []
    end = 0.0
    for speaker, clip, after in TURNS * times:
        samples = decode(SPEAKERS / speaker / f"{clip}.ogg")
        samples = samples / np.sqrt(np.mean(samples**2)) * LEVEL
        start = end + after
        end = start + len(samples) / SAMPLE_RATE
        pieces.append((round(start * SAMPLE_RATE), samples))
        turns.append((round(start, 2), round(end, 2), speaker))
    mixed = np.zeros(max(start + len(samples) for start, samples in pieces) + SAMPLE_RATE // 2, np.float32)
    for start, samples in pieces:
        mixed[start : start + len(samples)] += samples
    noise = np.random.default_rng(0).normal(0, LEVEL * 10 ** (NOISE_DB / 20), len(mixed))
    return np.clip(mixed + noise.astype(np.float32), -1, 1), turns


def write(path: Path, samples: np.ndarray) -> None:
    """Write the sound; an .ogg file as Opus, at about 20 kbit/s."""
    form = {"format": "OGG", "subtype": "OPUS", "compression_level": 0.94} if path.suffix == ".ogg" else {}
    soundfile.write(path, samples, SAMPLE_RATE, **form)


def main() -> None:
    """Write the meeting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rttm", type=Path)
    parser.add_argument("--times", type=int, default=1)
    given = parser.parse_args()
    samples, turns = meeting(given.times)
    write(given.out, samples)
    if given.rttm:
        lines = [
            f"SPEAKER {given.out.stem} 1 {start:.2f} {end - start:.2f} <NA> <NA> {speaker} <NA> <NA>"
            for start, end, speaker in turns
        ]
        given.rttm.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{given.out}: {len(samples) / SAMPLE_RATE:.1f} s, {len(turns)} turns")


if __name__ == "__main__":
    main()
