"""Fit what is asked of a cluster before it gets a name (`speaker_tasks/diarization/naming.py`).

    python tools/fit_naming.py --speech FOLDER [--model campplus] [--out FILE]

FOLDER holds `manifest.tsv` and the recordings it names; only the development speakers are read
(`embedding/training/split.py`). Each is enrolled from three recordings. The others are heard in pieces of 1.5 to 6 s,
in rooms and noise; clusters are means of so many pieces that they have the seconds of the table. They are tried
against people enrolled as they were recorded, and by telephone. The model's scores are plain cosines.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from banks.vectors import unit  # noqa: E402
from speaker_tasks.diarization.naming import table_of  # noqa: E402
from speaker_tasks.diarization.training.meetings import LEVEL, pink  # noqa: E402
from speaker_tasks.embedding.embedder import Embedder  # noqa: E402
from speaker_tasks.embedding.training.degrade import reverberate, synthetic_room  # noqa: E402
from speaker_tasks.embedding.training.openset import ENROLLED_CLIPS, ModelTrials, operating  # noqa: E402
from speaker_tasks.embedding.training.split import development_clips  # noqa: E402
from speaker_tasks.scoring.decision import Judge  # noqa: E402
from tools.fit_plda import RATE, by_telephone  # noqa: E402

SECONDS = (2.0, 4.0, 8.0, 16.0, 32.0)
ROOMS = 3
HEARD_SECONDS = 60.0
"""Of each speaker."""
SHORTEST, LONGEST = 1.5, 6.0
CLUSTERS = 3
"""Of each length, speaker and room."""
LEAST_PEOPLE = 10
"""A corpus with fewer is left out."""


@dataclass(frozen=True, eq=False)
class Spoken:
    """The pieces of a speaker in one room."""

    speaker: str
    vectors: np.ndarray
    """(N, D)."""
    seconds: np.ndarray
    """(N,)."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """One corpus' speakers: unit vectors (S, D) of the enrolled, and what is heard of them."""

    speakers: list[str]
    broad: np.ndarray
    narrow: np.ndarray
    """The same people enrolled by telephone."""
    heard: list[Spoken]


def listened(speech: Path, embedder: Embedder) -> list[Corpus]:
    """All corpora with enough people."""
    rng, clips = np.random.default_rng(0), defaultdict(lambda: defaultdict(list))
    for clip in development_clips(speech):
        clips[clip.corpus][clip.speaker].append(clip.path)
    corpora = []
    for name, people in sorted(clips.items()):
        able = {
            who: paths
            for who, paths in sorted(people.items())
            if sum(soundfile.info(path).duration for path in paths[ENROLLED_CLIPS:]) >= SHORTEST
        }
        if len(able) < LEAST_PEOPLE:
            continue
        broad, narrow, heard = [], [], []
        for who, paths in able.items():
            enrolled = [_samples(path) for path in paths[:ENROLLED_CLIPS]]
            broad.append(embedder.embed_many(enrolled).mean(axis=0))
            narrow.append(embedder.embed_many([by_telephone(one) for one in enrolled]).mean(axis=0))
            rest = np.concatenate([_samples(path) for path in paths[ENROLLED_CLIPS:]])[: int(HEARD_SECONDS * RATE)]
            heard += [_pieces(who, _in_room(rest, rng), embedder, rng) for _ in range(ROOMS)]
        corpora.append(Corpus(list(able), unit(np.stack(broad)), unit(np.stack(narrow)), heard))
        print(f"{name}: {len(able)} speakers", flush=True)
    return corpora


def _samples(path: Path) -> np.ndarray:
    samples, _ = soundfile.read(path, dtype="float32")
    levelled: np.ndarray = samples * np.float32(LEVEL / (np.sqrt(np.mean(samples**2)) + 1e-6))
    return levelled


def _in_room(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    wet = np.float32(rng.uniform(0.1, 0.6))
    heard = (1 - wet) * samples + wet * reverberate(samples, synthetic_room(rng))
    level = np.sqrt(np.mean(heard**2)) / 10 ** (rng.uniform(12, 33) / 20)
    noisy: np.ndarray = (heard + pink(rng, len(heard)) * level).astype(np.float32)
    return noisy


def _pieces(who: str, samples: np.ndarray, embedder: Embedder, rng: np.random.Generator) -> Spoken:
    pieces, at = [], 0
    while len(samples) - at >= SHORTEST * RATE:
        length = int(rng.uniform(SHORTEST, LONGEST) * RATE)
        pieces.append(samples[at : at + length])
        at += length
    return Spoken(who, embedder.embed_many(pieces), np.array([len(one) / RATE for one in pieces]))


def trials_of(corpora: list[Corpus]) -> dict[float, list[ModelTrials]]:
    """Clusters of each length against the enrolled of their corpus, of both kinds."""
    rng, trials = np.random.default_rng(0), {}
    for seconds in SECONDS:
        trials[seconds] = []
        for corpus in corpora:
            clusters = [(one, made) for one in corpus.heard for made in _clusters(one, seconds, rng)]
            if clusters:
                trials[seconds] += [_tried(corpus, enrolled, clusters) for enrolled in (corpus.broad, corpus.narrow)]
    return trials


def _clusters(heard: Spoken, seconds: float, rng: np.random.Generator) -> list[tuple[np.ndarray, float]]:
    """Means of random pieces with so many seconds in all, and the seconds; none where there are too few."""
    made = []
    for _ in range(CLUSTERS):
        order = rng.permutation(len(heard.seconds))
        count = int(np.searchsorted(np.cumsum(heard.seconds[order]), seconds)) + 1
        if count <= len(order):
            rows = order[:count]
            made.append((heard.seconds[rows] @ heard.vectors[rows], float(heard.seconds[rows].sum())))
    return made


def _tried(
    corpus: Corpus, enrolled: np.ndarray, clusters: list[tuple[Spoken, tuple[np.ndarray, float]]]
) -> ModelTrials:
    cosines = unit(np.stack([vector for _, (vector, _) in clusters])) @ enrolled.T
    speakers, owners = np.array([one.speaker for one, _ in clusters]), np.array(corpus.speakers)
    return ModelTrials(
        cosines,
        cosines,
        np.ones_like(cosines),
        speakers[:, None] == owners[None, :],
        np.ones(cosines.shape, bool),
        np.array([seconds for _, (_, seconds) in clusters]),
        speakers,
        owners,
    )


def main() -> None:
    """Fit on what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--model", default="campplus")
    parser.add_argument("--out", type=Path, help="default: the shipped file")
    given = parser.parse_args()
    embedder = Embedder.load(given.model)
    if Judge.of_card(embedder.card.details).cohort is not None:
        parser.error(f"scores of {given.model} are seen against a cohort; this fits cosines")
    out = given.out or table_of(embedder.model_id)
    fitted = operating(trials_of(listened(given.speech, embedder)))
    out.write_text(json.dumps({"model": embedder.model_id, "operating": fitted}, indent=1) + "\n", "utf-8")
    print(f"{out}: {fitted['impostor_trials']} trials of strangers, {fitted['target_trials']} of the enrolled")


if __name__ == "__main__":
    main()
