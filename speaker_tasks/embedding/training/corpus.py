"""The training speech as log mel powers on disk: one view for each speed, clean and degraded, with teacher vectors.

The speech folder holds `manifest.tsv` with the columns path, speaker, corpus, seconds. Views are made once and cached;
`open_corpus` reads them into memory.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from speaker_tasks.embedding import features
from speaker_tasks.embedding.training.degrade import change_speed, degrade
from speaker_tasks.embedding.training.recipe import Recipe

TEACHER_SECONDS = 6.0
LENGTH_STEP = 4_000
"""Teacher clips are cut to multiples of 0.25 s so that many share a length and run as one batch."""
_LOG_FLOOR = 1e-9


@dataclass(frozen=True)
class Clip:
    """One row of the speech folder's manifest."""

    path: Path
    speaker: str
    corpus: str
    seconds: float


@dataclass(frozen=True)
class View:
    """All clips under one speed and one condition. `frames` is `(F, 64)` float16: log mel power."""

    speed: float
    degraded: bool
    frames: np.ndarray
    offsets: np.ndarray
    """`(clips + 1,)`: clip i is `frames[offsets[i]:offsets[i + 1]]`."""


@dataclass(frozen=True)
class Corpus:
    """Views over the same clips, the clips' speakers and the teacher's vectors for each speed."""

    views: tuple[View, ...]
    speakers: np.ndarray
    """`(clips,)` index of each clip's speaker."""
    teacher: dict[float, np.ndarray]
    """For each speed `(clips, 192)` unit vectors."""
    noise: np.ndarray
    """`(F, 64)` float16 log mel power of background noise."""


def read_manifest(speech: Path, part: str) -> list[Clip]:
    """The manifest's clips whose path starts with `part` ("train" or "validation")."""
    with open(speech / "manifest.tsv", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [
            Clip(speech / row["path"], row["speaker"], row["corpus"], float(row["seconds"]))
            for row in rows
            if row["path"].startswith(part + "/")
        ]


def prepare(speech: Path, noise: Path, cache: Path, recipe: Recipe, say=lambda line: None) -> None:
    """Make whatever the cache lacks: views first, then teacher vectors."""
    cache.mkdir(parents=True, exist_ok=True)
    clips = read_manifest(speech, "train")
    rooms = [
        read_audio(path) for path in sorted((noise / "rir").glob("*.*")) if path.suffix in {".opus", ".wav", ".flac"}
    ]
    for speed in recipe.speeds:
        if not (cache / f"teacher-{speed}.npy").exists():
            say(f"teacher vectors at speed {speed}")
            np.save(cache / f"teacher-{speed}.npy", _teacher_vectors(clips, speed))
        for degraded in (False, True) if recipe.rooms else (False,):
            if not (cache / f"{_view_name(speed, degraded)}.json").exists():
                say(f"view {_view_name(speed, degraded)}")
                _write_view(clips, speed, degraded, rooms, cache)
    if not (cache / "noise.npy").exists():
        recordings = sorted([*(noise / "background").glob("*.opus"), *(noise / "esc10").glob("*.opus")])
        np.save(cache / "noise.npy", np.concatenate([_log_power(read_audio(path)) for path in recordings]))


def open_corpus(speech: Path, cache: Path, recipe: Recipe) -> Corpus:
    """Map the prepared cache; a view that is not there yet is left out, one for each speed must be."""
    clips = read_manifest(speech, "train")
    names = {name: index for index, name in enumerate(sorted({clip.speaker for clip in clips}))}
    views = [
        _read_view(cache, speed, degraded)
        for speed in recipe.speeds
        for degraded in (False, True)
        if (cache / f"{_view_name(speed, degraded)}.json").exists() and (recipe.rooms or not degraded)
    ]
    return Corpus(
        views=tuple(views),
        speakers=np.array([names[clip.speaker] for clip in clips]),
        teacher={speed: np.load(cache / f"teacher-{speed}.npy") for speed in recipe.speeds},
        noise=np.load(cache / "noise.npy", mmap_mode="r"),
    )


def read_audio(path: Path) -> np.ndarray:
    """A mono file at 16 kHz: `(N,)` float32."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    if rate != features.SAMPLE_RATE:
        raise ValueError(f"{path} has a rate of {rate} Hz; the training speech is {features.SAMPLE_RATE} Hz")
    return samples.mean(axis=1)


def _log_power(samples: np.ndarray) -> np.ndarray:
    return np.log(features.mel_power(samples).T + _LOG_FLOOR).astype(np.float16)


def _view_name(speed: float, degraded: bool) -> str:
    return f"{'degraded' if degraded else 'clean'}-{speed}"


def _write_view(clips: list[Clip], speed: float, degraded: bool, rooms: list[np.ndarray], cache: Path) -> None:
    """Stream the frames to disk; the index file comes last and marks the view as whole."""
    rng = np.random.default_rng(int(speed * 100))
    name = _view_name(speed, degraded)
    offsets = [0]
    with open(cache / f"{name}.frames", "wb") as file:
        for clip in clips:
            samples = change_speed(read_audio(clip.path), speed)
            if degraded:
                samples = degrade(samples, rng, rooms)
            frames = _log_power(samples)
            frames.tofile(file)
            offsets.append(offsets[-1] + len(frames))
    (cache / f"{name}.json").write_text(json.dumps(offsets))


def _read_view(cache: Path, speed: float, degraded: bool) -> View:
    name = _view_name(speed, degraded)
    offsets = np.array(json.loads((cache / f"{name}.json").read_text()))
    frames = np.fromfile(cache / f"{name}.frames", np.float16).reshape(int(offsets[-1]), features.MEL_BINS)
    return View(speed, degraded, frames, offsets)


def _teacher_vectors(clips: list[Clip], speed: float) -> np.ndarray:
    """The teacher's vector of the middle of each clip: `(clips, 192)`."""
    from speaker_tasks.embedding.training.teacher import EMBEDDING_SIZE, Teacher

    teacher = Teacher()
    middles = [_middle(change_speed(read_audio(clip.path), speed)) for clip in clips]
    lengths = np.array([len(middle) for middle in middles])
    vectors = np.zeros((len(clips), EMBEDDING_SIZE), np.float32)
    for length in np.unique(lengths):
        where = np.flatnonzero(lengths == length)
        for start in range(0, len(where), 16):
            batch = where[start : start + 16]
            vectors[batch] = teacher.embed([middles[index] for index in batch])
    return vectors


def _middle(samples: np.ndarray) -> np.ndarray:
    length = min(len(samples), int(TEACHER_SECONDS * features.SAMPLE_RATE))
    start = (len(samples) - length) // 2
    kept = max(length // LENGTH_STEP * LENGTH_STEP, min(length, 2 * LENGTH_STEP))
    return samples[start : start + kept].astype(np.float32)
