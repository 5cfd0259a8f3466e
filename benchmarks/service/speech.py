"""What the benchmark says: real speech of 2 to 8 s where there is some, else the demo's, as WAV and as JSON bodies."""

from __future__ import annotations

import io
import os
import random
from pathlib import Path

import numpy as np
import orjson
import soundfile

from speaker_tasks.embedding.audio import SAMPLE_RATE, decode

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("SPEAKER_SHARED", ROOT.parent / "shared"))
SHORTEST, LONGEST = 2.0, 8.0


def clips(count: int) -> list[np.ndarray]:
    """So many clips, (T,) float32 at 16 kHz of 2 to 8 s, of as many speakers as there are."""
    chosen: list[np.ndarray] = []
    chance = np.random.default_rng(6)
    while len(chosen) < count:
        before = len(chosen)
        for path in _recordings():
            samples = decode(path)
            seconds = len(samples) / SAMPLE_RATE
            if seconds >= SHORTEST and len(chosen) < count:
                # Long recordings are cut anywhere, so that all lengths come and none twice as often.
                most = seconds if seconds < LONGEST else chance.uniform(SHORTEST, LONGEST)
                chosen.append(samples[: int(most * SAMPLE_RATE)])
        if len(chosen) == before:
            raise SystemExit(f"there is no recording of {SHORTEST:g} s")
    return chosen


def clip(seconds: float) -> np.ndarray:
    """Speech of so many seconds, (T,) float32: recordings one after another."""
    parts: list[np.ndarray] = []
    wanted = int(seconds * SAMPLE_RATE)
    while sum(map(len, parts)) < wanted:
        parts += [decode(path) for path in _recordings()[:20]]
    return np.concatenate(parts)[:wanted]


def wav(samples: np.ndarray) -> bytes:
    """A 16-bit WAV file."""
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def floats(samples: np.ndarray) -> bytes:
    """The older server's body: the samples as they were read from a 16-bit file, each a JSON number."""
    exact = np.round(samples * 32768) / 32768
    return orjson.dumps({"speaker": exact.astype(np.float64).tolist()})


def write(folder: Path, bodies: list[bytes]) -> Path:
    """The bodies as files of a new folder."""
    folder.mkdir(parents=True)
    for number, body in enumerate(bodies):
        (folder / f"{number:04d}").write_bytes(body)
    return folder


def _recordings() -> list[Path]:
    """Paths, shuffled the same way each time."""
    real = sorted((SHARED / "speech" / "validation").glob("*/*.opus"))
    paths = real or sorted((ROOT / "banks" / "demo" / "speakers").rglob("*.*"))
    return random.Random(6).sample(paths, len(paths))
