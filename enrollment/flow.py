"""The plain enrollment flow of the first server: load paths, generate the speakers' vectors, save them to npz."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from enrollment.folder import scan
from enrollment.manifest import Entry, Manifest
from enrollment.report import Outcome, Reason, Report, reason_of, speakers_without
from speaker_tasks.errors import SpeakerTasksError, Unusable


class Embeds(Protocol):
    """What turns samples into vectors; `speaker_tasks.embedding.Embedder` is one."""

    model_id: str

    def embed(self, samples: np.ndarray) -> np.ndarray:
        """The (D,) float32 unit vector of (T,) samples at 16 kHz."""


@dataclass(frozen=True)
class Decoded:
    """Samples (T,) of a recording of which a part may be lost."""

    samples: np.ndarray
    seconds_lost: float = 0.0
    warnings: tuple[str, ...] = ()
    damaged: bool = False


@dataclass(frozen=True)
class Enrolled:
    """The speakers of one enrollment: the mean of each one's unit vectors, not normalised again."""

    labels: tuple[str, ...]
    vectors: np.ndarray
    """(N, D) float32."""
    counts: np.ndarray
    """(N,) int64: recordings behind each row."""
    seconds: np.ndarray
    """(N,) float32: seconds behind each row."""
    model: str
    report: Report


@dataclass(frozen=True)
class Voice:
    """One recording's vector (D,) and length."""

    speaker: str
    vector: np.ndarray
    seconds: float


class SpeakerEnroll:
    """Enrolls a folder of speakers in this process, without a queue.

    `decode` reads a path to samples at `rate`, or to `Decoded` to tell of damage; `write` saves the
    result (`banks` has a writer of npz files).
    """

    def __init__(
        self,
        embedder: Embeds,
        *,
        decode: Callable[[Path], np.ndarray | Decoded],
        write: Callable[[Path, Enrolled], None] | None = None,
        rate: int = 16_000,
    ) -> None:
        self._embedder, self._decode, self._write, self._rate = embedder, decode, write, rate

    def flow(self, data_path: Path | str, save_embeds_path: Path | str | None = None) -> Enrolled:
        """Enroll `data_path` (one sub-folder a speaker); saved only if `save_embeds_path` is given.

        Recordings that cannot be used are left out and named in the report. Raises `Unusable` for speakers of whom
        nothing is left, with their names; nothing is saved then.
        """
        if save_embeds_path is not None and self._write is None:
            raise TypeError("to save the vectors, SpeakerEnroll needs a writer: write=...")
        enrolled = self.generate_feats(self.load_paths(data_path))
        if save_embeds_path is not None and self._write is not None:
            self._write(Path(save_embeds_path), enrolled)
        return enrolled

    def load_paths(self, data_path: Path | str) -> Manifest:
        """Step 1: the recordings of the folder. Raises what `folder.scan` raises."""
        return scan(data_path)

    def generate_feats(self, manifest: Manifest) -> Enrolled:
        """Step 2: one vector a speaker."""
        voices: list[Voice] = []
        outcomes = list(manifest.skipped)
        for outcome, voice in self._voices(manifest.entries):
            outcomes.append(outcome)
            if voice is not None:
                voices.append(voice)
        report = Report.of(outcomes)
        refuse_empty(manifest, report)
        return _means(manifest.speakers, voices, self._embedder.model_id, report)

    def _voices(self, entries: Iterable[Entry]) -> Iterator[tuple[Outcome, Voice | None]]:
        path, whole = "", Decoded(np.zeros(0, np.float32))
        for entry in entries:
            try:
                if entry.path != path:  # the parts of a recording stand together
                    decoded, path = self._decode(Path(entry.path)), entry.path
                    whole = decoded if isinstance(decoded, Decoded) else Decoded(decoded)
                samples = _part(whole.samples, entry, self._rate)
                vector = self._embedder.embed(samples)
            except SpeakerTasksError as error:
                yield Outcome(entry.speaker, entry.path, reason_of(error), error.message, entry.row), None
                continue
            seconds = len(samples) / self._rate
            message, lost = "; ".join(whole.warnings), whole.seconds_lost
            outcome = Outcome(
                entry.speaker, entry.path, Reason.ENROLLED, message, entry.row, seconds, whole.damaged, lost
            )
            yield outcome, Voice(entry.speaker, vector, seconds)


def _part(samples: np.ndarray, entry: Entry, rate: int) -> np.ndarray:
    """What the entry names of a recording's samples (T,): from its start to its end, by default all."""
    first, last = (None if at is None else round(at * rate) for at in (entry.start, entry.end))
    return samples[first:last]


def refuse_empty(manifest: Manifest, report: Report) -> None:
    """Raise `Unusable`, with the names, if there are speakers of whom no recording is usable, or no recordings."""
    if not manifest.entries:
        why = f": {manifest.skipped[0].message}" if manifest.skipped else ""
        raise Unusable(f"the source holds no recording{why}", skipped=len(manifest.skipped))
    empty = speakers_without(manifest.speakers, report.outcomes)
    if empty:
        raise Unusable(f"no usable recording of {', '.join(empty)}", speakers=empty, reasons=report.counts())


def _means(speakers: tuple[str, ...], voices: list[Voice], model: str, report: Report) -> Enrolled:
    of_each: dict[str, list[Voice]] = {speaker: [] for speaker in speakers}
    for voice in voices:
        of_each[voice.speaker].append(voice)
    return Enrolled(
        labels=speakers,
        vectors=np.stack([np.mean([v.vector for v in mine], axis=0) for mine in of_each.values()]).astype(np.float32),
        counts=np.array([len(mine) for mine in of_each.values()], np.int64),
        seconds=np.array([sum(v.seconds for v in mine) for mine in of_each.values()], np.float32),
        model=model,
        report=report,
    )
