"""Who is learned from, and who is set aside: development speakers, on whom everything that is chosen is chosen.

Early stopping, the choice of weights, thresholds, margins, calibration and cohort come from the development speakers of
the *training* part. The validation part is measured once, at the end, and nothing is fitted on it.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from speaker_tasks.embedding.training.corpus import Clip, read_manifest

DEVELOPMENT = {
    "an4": 12,
    "cv_en_delta13": 16,
    "cv_fa": 6,
    "cv_rsample60lang": 30,
    "cv_zhCN": 50,
    "librispeech": 10,
    "speechocean762": 46,
}
"""Development speakers of each corpus; single words (speech_commands) and corpora of a few speakers have none."""
LEAST_CLIPS = 5
LEAST_SECONDS = 20.0


def development_speakers(clips: Sequence[Clip]) -> set[str]:
    """Names of the development speakers among the training part's clips: always the same ones.

    They have at least `LEAST_CLIPS` clips and `LEAST_SECONDS` of sound; a hash of the name decides which of these.
    """
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for clip in clips:
        seconds[clip.corpus, clip.speaker].append(clip.seconds)
    chosen: set[str] = set()
    for corpus, count in DEVELOPMENT.items():
        able = [
            speaker
            for (other, speaker), lengths in seconds.items()
            if other == corpus and len(lengths) >= LEAST_CLIPS and sum(lengths) >= LEAST_SECONDS
        ]
        chosen.update(sorted(able, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:count])
    return chosen


def development_clips(speech: Path, *, most: int | None = None) -> list[Clip]:
    """The clips of the development speakers in a speech folder; the first `most` of each, if given."""
    clips = read_manifest(speech, "train")
    chosen = development_speakers(clips)
    seen: Counter[str] = Counter()
    kept = []
    for clip in clips:
        seen[clip.speaker] += 1
        if clip.speaker in chosen and (most is None or seen[clip.speaker] <= most):
            kept.append(clip)
    return kept


def noise_recordings(noise: Path, *, training: bool) -> list[Path]:
    """Every second recording of the noise folder is for training, the others for measuring."""
    return sorted(noise.glob("[be]*/*.opus"))[0 if training else 1 :: 2]
