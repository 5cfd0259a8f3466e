"""Who spoke when, by name: error rates, speed and memory on meetings whose truth is known.

    python benchmarks/timeline.py [--meetings FOLDER] [--model campplus] [--one-at-a-time] [--first-look] [--roster]
        [--rttm FOLDER] [--heard FOLDER]

FOLDER is as `SPEAKER_SHARED/meetings/build.py` writes it: meetings/*.flac and *.rttm, enrolled/SPEAKER/, about.json;
without it the meetings are made into a temporary folder, from the validation voices, on whom nothing was fitted. One
bank holds everyone who is enrolled. DER and JER are those of pyannote.metrics (`pip install pyannote.metrics`), overlap
scored.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from banks import editing  # noqa: E402
from banks.bank import Bank, Clips  # noqa: E402
from speaker_tasks.diarization.assembly import timeline_of  # noqa: E402
from speaker_tasks.diarization.clustering import Voices  # noqa: E402
from speaker_tasks.diarization.listening import Heard, Listener  # noqa: E402
from speaker_tasks.diarization.naming import name_voices, of_clusters, present  # noqa: E402
from speaker_tasks.diarization.people import Options, people_of  # noqa: E402
from speaker_tasks.diarization.plda import Plda  # noqa: E402
from speaker_tasks.diarization.segmentation import FOLDER, Segmenter  # noqa: E402
from speaker_tasks.diarization.target import SecondLook  # noqa: E402
from speaker_tasks.embedding import audio  # noqa: E402
from speaker_tasks.embedding.embedder import Embedder  # noqa: E402
from speaker_tasks.scoring.decision import Judge  # noqa: E402
from speaker_tasks.timelines.document import UNKNOWN, Timeline  # noqa: E402
from speaker_tasks.timelines.forms import rttm, spans  # noqa: E402

STEP = 0.01
"""Seconds of the grid on which names are counted."""
GUEST = "a guest"

Spans = list[tuple[float, float, str]]


@dataclass(frozen=True)
class Parts:
    """What hears the meetings."""

    embedder: Embedder
    listener: Listener
    second: SecondLook | None
    plda: Plda | None
    bank: Bank
    judge: Judge


def enrolled_bank(folder: Path, embedder: Embedder) -> Bank:
    """A bank of everyone below `folder`, by all of their recordings."""
    labels, owners, vectors, seconds, keys = [], [], [], [], []
    for owner, path in enumerate(sorted(folder.iterdir())):
        labels.append(path.name)
        for clip in sorted(path.iterdir()):
            samples = audio.decode(clip)
            vectors.append(embedder.embed(samples))
            owners.append(owner)
            seconds.append(len(samples) / audio.SAMPLE_RATE)
            keys.append(f"{path.name}/{clip.name}")
    count = len(keys)
    clips = Clips(
        tuple(keys),
        np.array(owners),
        np.stack(vectors),
        np.array(seconds, np.float32),
        np.ones(count, np.int64),
        ("",) * count,
        (None,) * count,
    )
    return editing.new(labels, clips, embedder.model_id, size=embedder.embedding_size)


def heard(path: Path, parts: Parts, kept: Path | None) -> Heard:
    """What is heard of one meeting, or was kept of it."""
    file = kept / f"{path.stem}.npz" if kept else None
    if file is not None and file.is_file():
        with np.load(file) as stored:
            frames = tuple(np.split(stored["frames"], np.cumsum(stored["counts"])[:-1]))
            columns = (stored[name] for name in ("windows", "speakers", "clean", "vectors"))
            voices, codes, telephone = Voices(*columns, frames), stored.get("codes"), bool(stored["telephone"])
            return Heard(float(stored["seconds"]), tuple(stored["probabilities"]), voices, codes, telephone)
    recording = parts.listener.hear(audio.stream(path))
    if file is not None:
        voices = recording.voices
        np.savez(
            file,
            seconds=recording.seconds,
            telephone=recording.telephone,
            probabilities=np.stack(recording.probabilities),
            windows=voices.windows,
            speakers=voices.speakers,
            clean=voices.clean,
            vectors=voices.vectors,
            frames=np.concatenate(voices.frames),
            counts=np.array([len(one) for one in voices.frames]),
            **({} if recording.codes is None else {"codes": recording.codes}),
        )
    return recording


def kept_in(folder: Path, model: str, second: SecondLook | None) -> Path:
    """Where what was heard is kept: codes are those of one second look's weights, which are trained again and again."""
    if second is None:
        return folder
    return folder / hashlib.sha256((FOLDER / f"target-{model}.safetensors").read_bytes()).hexdigest()[:12]


def named_timeline(recording: Heard, parts: Parts, options: Options, roster: list[str] | None) -> Timeline:
    """The timeline of one meeting."""
    people = people_of(recording, parts.plda, options, parts.second)
    judge = of_clusters(parts.judge, parts.embedder.model_id, telephone=recording.telephone)
    names = name_voices(people.voices, present(parts.bank, roster), judge, people.together)
    return timeline_of(people, names, recording.seconds, {})


def truth_of(path: Path) -> Spans:
    """The turns of an RTTM file."""
    rows = [line.split() for line in path.read_text("utf-8").splitlines() if line.startswith("SPEAKER")]
    return [(float(row[3]), float(row[3]) + float(row[4]), row[7]) for row in rows]


def named_seconds(truth: Spans, given: Spans, guests: set[str]) -> Counter[str]:
    """Seconds of the enrolled under the right and under a wrong name, of guests under any, and of both in all."""
    count = int(max(end for _, end, _ in truth + given) / STEP) + 1
    seconds: Counter[str] = Counter()

    def active(rows: Spans) -> dict[str, np.ndarray]:
        grids: dict[str, np.ndarray] = {}
        for start, end, name in rows:
            grid = grids.setdefault(name, np.zeros(count, bool))
            grid[round(start / STEP) : round(end / STEP)] = True
        return grids

    true, answered = active(truth), active(given)
    names = {name: grid for name, grid in answered.items() if not name.startswith(UNKNOWN)}
    false_name = np.zeros(count, bool)
    for name, grid in names.items():
        false_name |= grid & ~true.get(name, np.zeros(count, bool))
    for name, grid in true.items():
        if name in guests:
            seconds["guests"] += int(grid.sum())
            seconds["guests named"] += int((grid & false_name).sum())
        else:
            right = grid & names.get(name, np.zeros(count, bool))
            seconds["enrolled"] += int(grid.sum())
            seconds["right"] += int(right.sum())
            seconds["wrong"] += int((grid & ~right & false_name).sum())
    return seconds


def annotation(rows: Spans) -> Any:
    """For pyannote.metrics."""
    from pyannote.core import Annotation, Segment

    annotated = Annotation()
    for number, (start, end, name) in enumerate(rows):
        annotated[Segment(start, end), number] = name
    return annotated


def measure(folder: Path, parts: Parts, options: Options, *, roster: bool, out: Path | None, kept: Path | None) -> None:
    """Hear all meetings and print what came of it."""
    from pyannote.core import Segment
    from pyannote.core import Timeline as Stretch
    from pyannote.metrics.diarization import DiarizationErrorRate, JaccardErrorRate
    from pyannote.metrics.identification import IdentificationErrorRate

    about = json.loads((folder / "about.json").read_text("utf-8"))
    guests = set(about["guests"])
    metrics = {
        "DER": DiarizationErrorRate(),
        "DER, collar 0.25 s": DiarizationErrorRate(collar=0.5),  # on both sides together
        "JER": JaccardErrorRate(),
        "named DER": IdentificationErrorRate(),
    }
    seconds, off, counted, wall, cpu = 0.0, 0, Counter[str](), 0.0, 0.0
    for path in sorted((folder / "meetings").glob("*.flac")):
        truth = truth_of(path.with_suffix(".rttm"))
        present_names = sorted({name for _, _, name in truth} - guests) if roster else None
        started, spent = time.perf_counter(), time.process_time()
        timeline = named_timeline(heard(path, parts, kept), parts, options, present_names)
        wall += time.perf_counter() - started
        cpu += time.process_time() - spent
        seconds += timeline.seconds
        if out is not None:
            (out / f"{path.stem}.rttm").write_text(rttm(timeline, path.stem), "utf-8")
        given = [(start, end, name) for start, end, name in spans(timeline)]
        whole = Stretch([Segment(0, timeline.seconds)])
        real, hypothesis = annotation(truth), annotation(given)
        values = {name: metric(real, hypothesis, uem=whole) for name, metric in metrics.items() if name != "named DER"}
        metrics["named DER"](
            real.rename_labels(mapping=dict.fromkeys(guests, GUEST)),
            hypothesis.rename_labels(mapping={name: GUEST for name in hypothesis.labels() if name.startswith(UNKNOWN)}),
            uem=whole,
        )
        people = len({name for _, _, name in truth}), len(timeline.speakers)
        off += abs(people[1] - people[0])
        mine, truths = named_seconds(truth, given, guests), {name for _, _, name in truth} - guests
        counted += mine
        print(
            f"{path.stem}: DER {100 * values['DER']:.1f} %, speakers {people[1]} of {people[0]}, "
            f"right name {_share(mine['right'], mine['enrolled'])}, wrong {_share(mine['wrong'], mine['enrolled'])}, "
            f"guests named {_share(mine['guests named'], mine['guests'])}",
            flush=True,
        )
        unnamed = [one for one in timeline.speakers if not one.enrolled and one.candidates[0]["speaker"] in truths]
        for one in unnamed:
            print(f"    {one.seconds:.0f} s unnamed: {one.message}", flush=True)
    for name, metric in metrics.items():
        print(f"{name}: {100 * abs(metric):.2f} %")
    total = metrics["DER"][:]
    for part in ("missed detection", "false alarm", "confusion"):
        print(f"  {part}: {100 * total[part] / total['total']:.2f} %")
    print(f"speakers wrong by: {off}")
    print(f"enrolled under the right name: {_share(counted['right'], counted['enrolled'])}")
    print(f"enrolled under a wrong name: {_share(counted['wrong'], counted['enrolled'])}")
    print(f"guests under a name: {_share(counted['guests named'], counted['guests'])}")
    print(f"real-time factor: {wall / seconds:.4f}, {cpu / seconds:.4f} of one core; {seconds / 60:.0f} minutes")
    print(f"memory at most: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.2f} %" if whole else "-"


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--meetings", type=Path)
    parser.add_argument("--model", default="campplus")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--one-at-a-time", action="store_true", help="without overlap")
    parser.add_argument("--first-look", action="store_true", help="without a second look at who speaks")
    parser.add_argument("--roster", action="store_true", help="say who is there; guests are not")
    parser.add_argument("--rttm", type=Path, help="where to write what was found")
    parser.add_argument(
        "--heard", type=Path, help="where to keep what was heard: a second run is quick, its speed none"
    )
    given = parser.parse_args()
    embedder = Embedder.load(given.model, precision=given.precision)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(embedder.streams) as pool:
        folder = given.meetings or Path(scratch)
        if given.meetings is None:
            build = Path(os.environ["SPEAKER_SHARED"]) / "meetings" / "build.py"
            subprocess.run([sys.executable, str(build), "--out", scratch], check=True)
        second = None if given.first_look else SecondLook.load(embedder.model_id)
        listener = Listener(
            Segmenter(threads=1),
            embedder.spectrograms,
            lambda rows: pool.submit(embedder.run, list(rows)),
            None if second is None else lambda block: second.code(embedder.trunk_frames(block)),
        )
        bank = enrolled_bank(folder / "enrolled", embedder)
        judge = Judge.of_card(embedder.card.details)
        parts = Parts(embedder, listener, second, Plda.load(embedder.model_id), bank, judge)
        kept = given.heard and kept_in(given.heard, embedder.model_id, second)
        for made in filter(None, (given.rttm, kept)):
            made.mkdir(parents=True, exist_ok=True)
        options = Options(overlap=not given.one_at_a_time)
        measure(folder, parts, options, roster=given.roster, out=given.rttm, kept=kept)


if __name__ == "__main__":
    main()
