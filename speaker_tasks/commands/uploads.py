"""Recordings that the workers cannot read are sent through Redis."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from speaker_tasks.errors import TooLarge

if TYPE_CHECKING:
    from enrollment.manifest import Entry, Manifest
    from speaker_tasks.client import TaskClient


def uploaded(client: TaskClient, manifest: Manifest) -> Manifest:
    """The manifest with the bytes of its recordings in Redis; those that are not here are left out and named."""
    from speaker_tasks.jobs.audio import Audio

    manifest = those_here(manifest)
    files = {entry.path: Path(entry.path) for entry in manifest.entries if "://" not in entry.path}
    check_size(sum(path.stat().st_size for path in files.values()), client)
    sent_paths: dict[str, str] = {}

    def sent(entry: Entry) -> Entry:
        if entry.path not in files:
            return entry  # a URL, which the worker reads
        if entry.path not in sent_paths:
            sent_paths[entry.path] = f"payload:{client.keep(Audio.of_file(files[entry.path].read_bytes()).pack())}"
        return replace(entry, path=sent_paths[entry.path])

    return replace(manifest, entries=tuple(sent(entry) for entry in manifest.entries))


def those_here(manifest: Manifest) -> Manifest:
    """The manifest without the recordings that this machine has not."""
    from enrollment.manifest import Manifest
    from enrollment.report import Outcome, Reason

    here, missing = [], []
    for entry in manifest.entries:
        if "://" in entry.path or Path(entry.path).is_file():
            here.append(entry)
        else:
            message = f"there is no file {entry.path}"
            missing.append(Outcome(entry.speaker, entry.path, Reason.MISSING, message, entry.row))
    return Manifest.of(here, [*manifest.skipped, *missing], manifest.speakers)


def check_size(size: int, client: TaskClient) -> None:
    """Raise `TooLarge` for more bytes than may be sent."""
    allowed = client.settings.max_upload_bytes
    if size > allowed:
        raise TooLarge(
            f"{size / 1e6:.0f} MB of recordings are too many to send through Redis ({allowed / 1e6:.0f} MB are "
            "allowed): let the workers read the folder by SPEAKER_DATA_ROOTS",
            bytes=size,
        )
