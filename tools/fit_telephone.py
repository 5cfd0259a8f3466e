"""Fit the map from vectors of telephones to those of broad sound (`speaker_tasks/embedding/telephone.py`).

    python tools/fit_telephone.py --speech FOLDER [--model campplus] [--speakers 700] [--vectors FILE.npz] [--out FILE]

FOLDER holds `manifest.tsv` and the recordings it names; only its training part is read, without the development
speakers (`embedding/training/split.py`). Of each speaker one crop of 1.5 to 5 s is sent through a telephone with A-law
and one of another recording through one with GSM: 300 to 3,400 Hz at 8 kHz. With --vectors the vectors are kept and
used again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from speaker_tasks.embedding.audio import is_silent  # noqa: E402
from speaker_tasks.embedding.embedder import Embedder  # noqa: E402
from speaker_tasks.embedding.telephone import RIDGE, Telephone, path_of  # noqa: E402
from tools.fit_plda import RATE, by_telephone, chosen  # noqa: E402

SPEAKERS = 700
CODES = "ALAW", "GSM610"
SHORTEST, LONGEST = 1.5, 5.0


def embed(speech: Path, embedder: Embedder, speakers: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (N, D) by telephone, and (N, D) of the same crops as they were."""
    rng, narrow, broad = np.random.default_rng(0), [], []
    for number, recordings in enumerate(list(chosen(speech).values())[:speakers]):
        for clip, code in zip(recordings, CODES, strict=False):
            samples, _ = soundfile.read(clip.path, dtype="float32")
            length = min(len(samples), round(rng.uniform(SHORTEST, LONGEST) * RATE))
            first = rng.integers(len(samples) - length + 1)
            crop = samples[first : first + length]
            if not is_silent(crop):
                narrow.append(embedder.embed(by_telephone(crop, code)))
                broad.append(embedder.embed(crop))
        if number % 100 == 0:
            print(f"{number} speakers", flush=True)
    return np.stack(narrow), np.stack(broad)


def main() -> None:
    """Fit on what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--model", default="campplus")
    parser.add_argument("--speakers", type=int, default=SPEAKERS)
    parser.add_argument("--ridge", type=float, default=RIDGE)
    parser.add_argument("--vectors", type=Path, help="where vectors are kept, or were")
    parser.add_argument("--out", type=Path, help="default: the shipped file")
    given = parser.parse_args()
    embedder = Embedder.load(given.model, telephones=False)
    if given.vectors and given.vectors.is_file():
        kept = np.load(given.vectors)
        narrow, broad = kept["narrow"], kept["broad"]
    else:
        narrow, broad = embed(given.speech, embedder, given.speakers)
        if given.vectors:
            np.savez(given.vectors, narrow=narrow, broad=broad)
    out = given.out or path_of(embedder.model_id)
    Telephone.fit(narrow, broad, given.ridge).write(out, {"model": embedder.model_id, "crops": len(narrow)})
    print(f"{out}: {len(narrow)} crops")


if __name__ == "__main__":
    main()
