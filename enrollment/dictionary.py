"""The JSON dictionary of the first server: `{"<speaker>": ["<path>", ...], ...}`, read and written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from enrollment.manifest import Entry, Manifest, clean_name
from enrollment.report import Outcome, Reason
from speaker_tasks.errors import NotFound, Unusable


def read(path: Path, *, root: Path | str | None = None) -> Manifest:
    """The manifest of a dictionary; relative paths start from `root`, by default the file's own folder.

    Raises `NotFound`, and `Unusable` for a file of another form.
    """
    try:
        stored = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", path=str(path)) from None
    except (OSError, ValueError) as error:
        raise Unusable(f"{path.name} is not JSON: {error}") from None
    if not isinstance(stored, dict):
        raise Unusable(f"{path.name} is not a JSON object of speakers and their recordings")
    place = str(root if root is not None else path.parent.resolve()).rstrip("/")
    entries: list[Entry] = []
    skipped: list[Outcome] = []
    speakers: list[str] = []
    for name, paths in stored.items():
        for found in _entries(name, paths, place, speakers):
            (entries if isinstance(found, Entry) else skipped).append(found)  # type: ignore[arg-type]
    return Manifest.of(entries, skipped, speakers)


def write(manifest: Manifest, path: Path) -> None:
    """Write the first server's dictionary (`morning_speaker_dict.json`): UTF-8, indented by 4."""
    by_speaker: dict[str, list[str]] = {speaker: [] for speaker in manifest.speakers}
    for entry in manifest.entries:
        by_speaker[entry.speaker].append(entry.path)
    path.write_text(json.dumps(by_speaker, ensure_ascii=False, indent=4), encoding="utf-8")


def placed(path: str, root: str) -> str:
    """A path as the workers need it: absolute, or a URL."""
    return path if "://" in path or path.startswith("/") else f"{root}/{path}"


def _entries(name: str, paths: Any, root: str, speakers: list[str]) -> Iterator[Entry | Outcome]:
    where = f"speaker {name!r}"
    try:
        speaker = clean_name(name)
    except Unusable as error:
        yield Outcome(name[:120], "", Reason.BAD_NAME, error.message, where)
        return
    speakers.append(speaker)
    if not isinstance(paths, list):
        yield Outcome(speaker, "", Reason.BAD_ROW, "its recordings are not a list", where)
        return
    for number, path in enumerate(paths, start=1):
        row = f"{where}, recording {number}"
        if isinstance(path, str) and path.strip():
            yield Entry(speaker, placed(path.strip(), root), row=row)
        else:
            yield Outcome(speaker, str(path)[:200], Reason.BAD_ROW, "the path is not text", row)
