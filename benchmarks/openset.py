"""Open-set identification on the validation speakers: half enrolled, half strangers, as `/v1/identify` decides.

    python -m benchmarks.openset [--model campplus] [--speech ../shared/speech/validation] [--splits 20]
    python -m benchmarks.openset --telephone [ALAW,GSM610] [--plain] [--speech ../shared/speech] [--people 85]

Each speaker is enrolled from three recordings; probes are joined from the others and cut to 3 s and 8 s. Over several
random halves, the table says what became of those who are enrolled and of strangers, at the shipped thresholds, which
were fitted on other people (`training/split.py`).

With --telephone the people are the development speakers of the speech folder, on whom the thresholds were fitted, but
not the map for telephones (`embedding/telephone.py`). Each is enrolled and asked for in broad sound and by telephone;
--plain leaves vectors of telephones as the network gives them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from speaker_tasks.embedding.audio import SAMPLE_RATE, decode
from speaker_tasks.embedding.embedder import Embedder
from speaker_tasks.embedding.speech import measure
from speaker_tasks.embedding.training.split import development_clips
from speaker_tasks.scoring import decision
from speaker_tasks.scoring.decision import Judge
from tools.fit_plda import by_telephone

ENROLLED_CLIPS = 3
PROBES = 8
SECONDS = (3.0, 8.0)
WHOLE = math.inf
"""The length of probes that are recordings as they are."""
FEWER_PROBES = 3
"""Of each length by telephone."""
LEAST_CLIPS = 5
BROAD = "broad"
Channel = Callable[[np.ndarray], np.ndarray]
ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("SPEAKER_SHARED", ROOT.parent / "shared"))


def probes(clips: list[np.ndarray], seconds: float, most: int = PROBES) -> list[np.ndarray]:
    """Stretches of `seconds`, joined from clips, which no two share, or the clips as they are; at most `most`."""
    if seconds == WHOLE:
        return clips[:most]
    whole, size = np.concatenate(clips), int(seconds * SAMPLE_RATE)
    return [whole[start : start + size] for start in range(0, len(whole) - size + 1, size)][:most]


class Person:
    """One speaker's enrolled vector, and vectors and seconds of speech of the probes by length."""

    def __init__(
        self,
        embedder: Embedder,
        name: str,
        clips: list[np.ndarray],
        *,
        lengths: Sequence[float] = SECONDS,
        most: int = PROBES,
        channel: Channel = np.asarray,
    ) -> None:
        """`channel` is what the sound of all clips goes through."""
        self.name = name
        self.enrolled = embedder.embed_many([channel(clip) for clip in clips[:ENROLLED_CLIPS]]).mean(axis=0)
        self.enrolled /= np.linalg.norm(self.enrolled)
        self.probes = {}
        for seconds in lengths:
            cut = [channel(probe) for probe in probes(clips[ENROLLED_CLIPS:], seconds, most)]
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


def run(
    judge: Judge, people: list[Person], splits: int, seconds: float, asked: list[Person] | None = None
) -> dict[str, float]:
    """Shares of outcomes over random halves; probes are of `asked`, the same people, if given."""
    asked = asked or people
    random, enrolled, strangers = np.random.default_rng(0), Counter[str](), Counter[str]()
    for _ in range(splits):
        order = random.permutation(len(people))
        half = len(people) // 2
        bank = [people[i] for i in order[:half]]
        for index in order:
            for vector, speech in asked[index].probes[seconds]:
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


def development_people(speech: Path, most: int) -> dict[str, list[Path]]:
    """The recordings of the development speakers, of all or evenly of `most`."""
    found: dict[str, list[Path]] = defaultdict(list)
    for clip in development_clips(speech):
        found[clip.speaker].append(clip.path)
    able = [name for name in sorted(found) if len(found[name]) >= LEAST_CLIPS]
    return {name: found[name] for name in able[:: -(-len(able) // most)]}


def by_channel(embedder: Embedder, people: dict[str, list[Path]], codes: list[str]) -> dict[str, list[Person]]:
    """All people in broad sound, and by telephone in each of the codes."""
    channels: dict[str, Channel] = {BROAD: np.asarray} | {code: partial(by_telephone, code=code) for code in codes}
    made: dict[str, list[Person]] = {channel: [] for channel in channels}
    for number, (name, paths) in enumerate(people.items()):
        clips = [decode(path) for path in paths]
        for channel, through in channels.items():
            made[channel].append(
                Person(embedder, name, clips, lengths=(WHOLE, *SECONDS), most=FEWER_PROBES, channel=through)
            )
        if sys.stderr.isatty():
            print(f"{number + 1} of {len(people)} people", end="\r", file=sys.stderr)
    return made


def printed(rows: dict[str, dict[str, float]], about: str) -> None:
    """Print rows of shares and counts as a table in Markdown."""
    columns = list(next(iter(rows.values())))
    print(f"| {about} | " + " | ".join(columns) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for name, row in rows.items():
        cells = [f"{value:.1%}" if isinstance(value, float) else str(value) for value in row.values()]
        print(f"| {name} | " + " | ".join(cells) + " |")


def named(seconds: float) -> str:
    """A length of probes in words."""
    return "whole" if seconds == WHOLE else f"{seconds:g} s"


def main() -> None:
    """Measure and print the table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="campplus")
    parser.add_argument("--speech", type=Path, help="default: the validation part, or all of it with --telephone")
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--telephone", nargs="?", const="ALAW,GSM610", default="", metavar="CODES")
    parser.add_argument("--plain", action="store_true", help="vectors of telephones as the network gives them")
    parser.add_argument("--people", type=int, default=1_000, help="at most so many development speakers")
    chosen = parser.parse_args()
    embedder = Embedder.load(chosen.model, weights=chosen.weights, telephones=not chosen.plain)
    judge = Judge.of_card(embedder.card.details)
    about = f"half enrolled from {ENROLLED_CLIPS} clips, {chosen.splits} splits"
    if chosen.telephone:
        folder = chosen.speech or SHARED / "speech"
        people = by_channel(embedder, development_people(folder, chosen.people), chosen.telephone.split(","))
        rows = {
            f"{one} / {other}, {named(seconds)}": run(judge, people[one], chosen.splits, seconds, people[other])
            for one in people
            for other in people
            for seconds in (WHOLE, *SECONDS)
        }
        if chosen.json:
            print(json.dumps({"model": embedder.model_id, "people": len(people[BROAD]), "at": rows}))
            return
        print(f"{embedder.model_id}: {len(people[BROAD])} people, {about}\n")
        printed(rows, "enrolled / asked")
        return
    folders = sorted(one for one in (chosen.speech or SHARED / "speech" / "validation").iterdir() if one.is_dir())
    persons = [
        Person(embedder, folder.name, [decode(path) for path in sorted(folder.glob("*.opus"))]) for folder in folders
    ]
    table = {seconds: run(judge, persons, chosen.splits, seconds) for seconds in SECONDS}
    if chosen.json:
        print(json.dumps({"model": embedder.model_id, "people": len(persons), "at": table}))
        return
    print(f"{embedder.model_id}: {len(persons)} people, {about}\n")
    printed({named(seconds): row for seconds, row in table.items()}, "speech")


if __name__ == "__main__":
    main()
