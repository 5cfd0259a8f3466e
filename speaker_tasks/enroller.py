"""The first server's `SpeakerEnroll` in one process, put together: our decoder, our network, its npz files."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from banks.bank import Bank
from banks.npz import write_npz
from enrollment.flow import Embeds, Enrolled, SpeakerEnroll
from speaker_tasks.embedding.audio import decode
from speaker_tasks.settings import Settings


def speaker_enroll(settings: Settings | None = None, embedder: Embeds | None = None) -> SpeakerEnroll:
    """A `SpeakerEnroll` for `flow(data_path, save_embeds_path=None)`, without a queue or Redis.

    Loads the model of the settings unless an embedder is given. Raises `WeightsMissing`, `WeightsRefused`.
    """
    settings = settings or Settings()
    longest = settings.max_recording_seconds
    return SpeakerEnroll(embedder or _loaded(settings), decode=partial(decode, max_seconds=longest), write=save)


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
