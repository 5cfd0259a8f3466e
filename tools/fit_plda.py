"""Fit the PLDA model that clusters a recording's voices (`speaker_tasks/diarization/plda.py`) on training speakers.

    python tools/fit_plda.py --speech FOLDER [--model campplus] [--out FILE.safetensors] [--vectors FILE.npz]
    python tools/fit_plda.py --speech FOLDER [--model campplus] --telephone

FOLDER holds `manifest.tsv` and the recordings it names; only its training part is read, without the development
speakers (`embedding/training/split.py`), on whom the clustering is chosen. Each speaker is heard in crops of 1 to 6 s
of several recordings, all through one room, as a meeting has it. With --vectors the vectors are kept and used again.
--telephone adds to the file that is there by how much a telephone moves all vectors: the mean over speakers of what the
band of 300 to 3,400 Hz, at 8 kHz with A-law, does to a clip.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from safetensors import safe_open
from scipy import signal

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from speaker_tasks.diarization.plda import Plda  # noqa: E402
from speaker_tasks.diarization.segmentation import FOLDER  # noqa: E402
from speaker_tasks.embedding.audio import decode, is_silent  # noqa: E402
from speaker_tasks.embedding.embedder import Embedder  # noqa: E402
from speaker_tasks.embedding.training.corpus import Clip, read_manifest  # noqa: E402
from speaker_tasks.embedding.training.degrade import reverberate, synthetic_room  # noqa: E402
from speaker_tasks.embedding.training.split import development_speakers  # noqa: E402

RATE = 16_000
SPEAKERS, CROPS = 1_000, 4
SIZE = 128
"""Directions that are kept."""
SHORTEST, LONGEST = 1.0, 6.0
SNR_DB = 15.0, 35.0
TELEPHONE_SPEAKERS = 300


def chosen(speech: Path) -> dict[str, list[Clip]]:
    """The recordings of the speakers who are learned from: those with two or more that a crop fits into."""
    clips = read_manifest(speech, "train")
    aside = development_speakers(clips)
    by_speaker: dict[str, list[Clip]] = collections.defaultdict(list)
    for clip in clips:
        if clip.speaker not in aside and clip.seconds >= 1.5:
            by_speaker[clip.speaker].append(clip)
    able = sorted(name for name, recordings in by_speaker.items() if len(recordings) >= 2)
    return {name: by_speaker[name] for name in random.Random(0).sample(able, min(SPEAKERS, len(able)))}


def crops(recordings: list[Clip], rng: np.random.Generator) -> list[np.ndarray]:
    """Crops of one speaker, in one room, each with noise of its own: (T,) float32."""
    room, cut = synthetic_room(rng), []
    for number in range(CROPS):
        samples, _ = soundfile.read(recordings[number % len(recordings)].path, dtype="float32")
        length = min(len(samples), round(rng.uniform(SHORTEST, LONGEST) * RATE))
        first = rng.integers(len(samples) - length + 1)
        heard = reverberate(samples[first : first + length], room)
        level = np.sqrt(np.mean(heard**2)) / 10 ** (rng.uniform(*SNR_DB) / 20)
        if not is_silent(heard):
            cut.append((heard + rng.normal(0, level, length)).astype(np.float32))
    return cut


def embed(speech: Path, embedder: Embedder) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (N, D) of all crops, and whose each is (N,)."""
    rng, vectors, owners = np.random.default_rng(0), [], []
    for number, recordings in enumerate(chosen(speech).values()):
        heard = crops(recordings, rng)
        if len(heard) > 1:
            vectors.append(embedder.embed_many(heard))
            owners += [number] * len(heard)
        if number % 100 == 0:
            print(f"{number} speakers", flush=True)
    return np.concatenate(vectors), np.array(owners)


def telephone_shift(speech: Path, embedder: Embedder, speakers: int = TELEPHONE_SPEAKERS) -> np.ndarray:
    """By how much a telephone moves the vectors of all speakers, (D,) float32."""
    broad, narrow = [], []
    for recordings in list(chosen(speech).values())[:speakers]:
        samples, _ = soundfile.read(recordings[0].path, dtype="float32", frames=round(LONGEST * RATE))
        broad.append(embedder.embed(samples))
        narrow.append(embedder.embed(by_telephone(samples)))
    return (np.mean(narrow, axis=0) - np.mean(broad, axis=0)).astype(np.float32)


def by_telephone(samples: np.ndarray, code: str = "ALAW") -> np.ndarray:
    """Samples (T,) at 16 kHz as they come out of a telephone whose sound is coded so, by soundfile's names."""
    band = signal.butter(8, (300, 3400), "bandpass", fs=RATE, output="sos")
    narrow = soxr.resample(signal.sosfiltfilt(band, samples).astype(np.float32), RATE, 8000)
    file = io.BytesIO()
    soundfile.write(file, narrow, 8000, format="WAV", subtype=code)
    return decode(file.getvalue())


def main() -> None:
    """Fit on what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--model", default="campplus")
    parser.add_argument("--size", type=int, default=SIZE)
    parser.add_argument("--vectors", type=Path, help="where vectors are kept, or were")
    parser.add_argument("--out", type=Path, help="default: the shipped file")
    parser.add_argument("--telephone", action="store_true", help="only add what a telephone does to the shipped file")
    given = parser.parse_args()
    embedder = Embedder.load(given.model, telephones=False)
    shipped = FOLDER / f"plda-{embedder.model_id}.safetensors"
    if given.telephone:
        with safe_open(shipped, framework="numpy") as file:
            card = json.loads(file.metadata()["card"])
        shift = telephone_shift(given.speech, embedder)
        replace(Plda.read(shipped), telephone=shift).write(given.out or shipped, card)
        print(f"{given.out or shipped}: a telephone moves vectors by {np.linalg.norm(shift):.2f}")
        return
    if given.vectors and given.vectors.is_file():
        kept = np.load(given.vectors)
        vectors, owners = kept["vectors"], kept["owners"]
    else:
        vectors, owners = embed(given.speech, embedder)
        if given.vectors:
            np.savez(given.vectors, vectors=vectors, owners=owners)
    out = given.out or shipped
    plda = Plda.fit(vectors, owners, given.size)
    plda.write(out, {"model": embedder.model_id, "speakers": len(set(owners.tolist())), "crops": len(owners)})
    print(f"{out}: {len(set(owners.tolist()))} speakers, {len(owners)} crops")


if __name__ == "__main__":
    main()
