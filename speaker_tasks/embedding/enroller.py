"""The first server's `SpeakerEnroll` in one process, put together: our decoder, our network, its npz files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from banks.bank import Bank
from banks.npz import write_npz
from enrollment.flow import Decoded, Embeds, Enrolled, SpeakerEnroll
from speaker_tasks.embedding.audio import Reading, decode
from speaker_tasks.settings import Settings


def speaker_enroll(settings: Settings | None = None, embedder: Embeds | None = None) -> SpeakerEnroll:
    """A `SpeakerEnroll` for `flow(data_path, save_embeds_path=None)`, without a queue or Redis.

    Loads the model of the settings unless an embedder is given. Raises `WeightsMissing`, `WeightsRefused`.
    """
    settings = settings or Settings()
    return SpeakerEnroll(embedder or _loaded(settings), decode=partial(_decoded, settings=settings), write=save)


def _decoded(path: Path, settings: Settings) -> Decoded:
    reading = Reading()
    longest, named = settings.max_recording_seconds, settings.limit_of_enrollment
    samples = decode(path, max_seconds=longest, setting=named, reading=reading)
    return Decoded(samples, reading.lost, tuple(reading.warnings), reading.damaged)


def save(path: Path, enrolled: Enrolled) -> None:
    """Write what `flow` enrolled to an npz file that the first server's readers read."""
    bank = Bank(
        enrolled.labels,
        enrolled.vectors,
        model=enrolled.model,
        counts=enrolled.counts,
        seconds=enrolled.seconds,
        name=path.stem,
        source="SpeakerEnroll",
    )
    write_npz(path, bank)


def _loaded(settings: Settings) -> Embeds:
    from speaker_tasks.embedding.embedder import Embedder

    return Embedder.configured(settings)
