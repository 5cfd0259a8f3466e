"""The JSON dictionary of the first server: `{"<speaker>": ["<path>", ...], ...}`, read and written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from enrollment.encodings import text_of
from enrollment.manifest import Entry, Manifest, clean_name
from enrollment.report import Outcome, Reason
from speaker_tasks.errors import NotFound, TooLarge, Unusable

MAX_SPEAKERS, MAX_COMMAS = 200_000, 2_000_000
"""Counted before anything is parsed: 64 MB of empty lists would take gigabytes."""
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def read(path: Path, *, root: Path | str | None = None, encoding: str | None = None) -> Manifest:
    """The manifest of a dictionary; relative paths start from `root`, by default the file's own folder.

    A speaker who stands there twice has the recordings of both lists. Raises `NotFound`, `TooLarge`, and `Unusable` for
    a file of another form.
    """
    stored = _pairs(text_of(path, encoding), path.name)
    place = str(root if root is not None else path.parent.resolve()).rstrip("/")
    entries: list[Entry] = []
    skipped: list[Outcome] = []
    speakers: list[str] = []
    for name, paths in stored:
        for item in _entries(name, paths, place, speakers):
            (entries if isinstance(item, Entry) else skipped).append(item)  # type: ignore[arg-type]
    return Manifest.of(entries, skipped, speakers)


def write(manifest: Manifest, path: Path) -> None:
    """Write the first server's dictionary (`morning_speaker_dict.json`): UTF-8, indented by 4."""
    by_speaker: dict[str, list[str]] = {}
    for entry in manifest.entries:
        by_speaker.setdefault(entry.speaker, []).append(entry.path)
    path.write_text(json.dumps(by_speaker, ensure_ascii=False, indent=4), encoding="utf-8")


def placed(path: str, root: str) -> str:
    """A path as the workers need it: absolute, or a URL. Windows' backslashes are understood.

    Raises `NotFound` for a drive or a share of a Windows computer, which is nowhere here.
    """
    if "://" in path:
        return path
    if _WINDOWS.match(path):
        raise NotFound(
            f"{path} is a place of a Windows computer; write it relative to the file, or to --root", path=path
        )
    path = path.replace("\\", "/")
    return path if path.startswith("/") else f"{root}/{path.removeprefix('./')}"


def _pairs(text: str, name: str) -> list[tuple[str, Any]]:
    """The pairs of the JSON object, a repeated key as often as it stands there."""
    if text.count("[") + text.count("{") > MAX_SPEAKERS or text.count(",") > MAX_COMMAS:
        raise TooLarge(f"{name} holds more than {MAX_SPEAKERS} lists or {MAX_COMMAS} values; split it")
    try:
        stored = json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"{name} is not JSON: {str(error)[:200]}") from None
    if not isinstance(stored, _Object):
        raise Unusable(f"{name} is not a JSON object of speakers and their recordings")
    return stored


class _Object(list[tuple[str, Any]]):
    """A JSON object as it is written: Python's own would drop all but the last of equal keys."""


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
        if not isinstance(path, str) or not path.strip():
            yield Outcome(speaker, str(path)[:200], Reason.BAD_ROW, "the path is not text", row)
            continue
        try:
            yield Entry(speaker, placed(path.strip(), root), row=row)
        except NotFound as error:
            yield Outcome(speaker, path.strip(), Reason.MISSING, error.message, row)
