"""Open-set identification on the validation speakers: half enrolled, half strangers, as `/v1/identify` decides.

    python benchmarks/openset.py [--model campplus] [--speech ../shared/speech/validation] [--splits 20]

Each speaker is enrolled from three recordings; probes are joined from the others and cut to 3 s and 8 s. Over several
random halves, the table says what became of those who are enrolled and of strangers, at the shipped thresholds, which
were fitted on other people (`training/split.py`).
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np

from speaker_tasks.embedding.audio import SAMPLE_RATE, decode
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.embedding.speech import measure
from speaker_tasks.scoring import decision
from speaker_tasks.scoring.decision import Judge

ENROLLED_CLIPS = 3
PROBES = 8
SECONDS = (3.0, 8.0)
ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SPEAKER_SHARED", ROOT.parent / "shared"))


def probes(clips: list[np.ndarray], seconds: float) -> list[np.ndarray]:
    """Stretches of `seconds`, joined from clips, which no two share; at most `PROBES`."""
    whole, size = np.concatenate(clips), int(seconds * SAMPLE_RATE)
    return [whole[start : start + size] for start in range(0, len(whole) - size + 1, size)][:PROBES]


class Person:
    """One speaker's enrolled vector, and vectors and seconds of speech of the probes by length."""

    def __init__(self, embedder: Embedder, folder: Path) -> None:
        clips = [decode(path) for path in sorted(folder.glob("*.opus"))]
        self.name = folder.name
        self.enrolled = embedder.embed_many(clips[:ENROLLED_CLIPS]).mean(axis=0)
        self.enrolled /= np.linalg.norm(self.enrolled)
        self.probes = {}
        for seconds in SECONDS:
            cut = probes(clips[ENROLLED_CLIPS:], seconds)
            vectors = embedder.embed_many(cut) if cut else np.zeros((0, 512), np.float32)
            self.probes[seconds] = [(vector, measure(one).speech) for vector, one in zip(vectors, cut, strict=True)]


def decide(judge: Judge, bank: list[Person], vector: np.ndarray, speech: float) -> tuple[str, str]:
    """The outcome and the best speaker."""
    scores = np.array([person.enrolled @ vector for person in bank])
    best, second = np.argsort(-scores)[:2]
    (standing,) = judge.standings(vector, bank[best].enrolled[None])
    bar = judge.bar(speech, len(bank), standing=standing)
    decided = decision.identify(float(scores[best]), float(scores[best] - scores[second]), speech, bar)
    return decided.outcome, bank[best].name


def run(judge: Judge, people: list[Person], splits: int, seconds: float) -> dict[str, float]:
    """Shares of outcomes over random halves."""
    random, enrolled, strangers = np.random.default_rng(0), Counter[str](), Counter[str]()
    for _ in range(splits):
        order = random.permutation(len(people))
        half = len(people) // 2
        bank = [people[i] for i in order[:half]]
        for index in order:
            for vector, speech in people[index].probes[seconds]:
                outcome, name = decide(judge, bank, vector, speech)
                if people[index] in bank:
                    right = name == people[index].name
                    enrolled[outcome if outcome != "match" else ("right" if right else "wrong")] += 1
                    enrolled["top1"] += right
                else:
                    strangers[outcome] += 1
    known = sum(enrolled[one] for one in ("right", "wrong", "unknown", "inconclusive"))
    return {
        "top1": enrolled["top1"] / known,
        **{f"enrolled {one}": enrolled[one] / known for one in ("right", "wrong", "inconclusive", "unknown")},
        **{f"strangers {one}": strangers[one] / strangers.total() for one in ("match", "inconclusive", "unknown")},
        "probes of enrolled": known,
        "probes of strangers": strangers.total(),
    }


def main() -> None:
    """Measure and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="campplus")
    parser.add_argument("--speech", type=Path, default=SHARED / "speech" / "validation")
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    embedder = Embedder.load(chosen.model, weights=chosen.weights)
    people = [Person(embedder, folder) for folder in sorted(chosen.speech.iterdir()) if folder.is_dir()]
    judge = Judge.of_card(embedder.card.details)
    table = {seconds: run(judge, people, chosen.splits, seconds) for seconds in SECONDS}
    if chosen.json:
        print(json.dumps({"model": embedder.model_id, "people": len(people), "at": table}))
        return
    about = f"half enrolled from {ENROLLED_CLIPS} clips, {chosen.splits} splits"
    print(f"{embedder.model_id}: {len(people)} people, {about}\n")
    print("| speech | " + " | ".join(next(iter(table.values()))) + " |")
    print("|---" * (1 + len(next(iter(table.values())))) + "|")
    for seconds, row in table.items():
        cells = [f"{value:.1%}" if isinstance(value, float) else str(value) for value in row.values()]
        print(f"| {seconds:g} s | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
