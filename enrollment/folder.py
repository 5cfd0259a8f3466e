"""The folder source: one sub-folder a speaker, its name the label, all recordings below it.

Recordings that lie in the folder itself belong to the speakers that an RTTM file of the same name tells.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from enrollment import rttm, soundfiles
from enrollment.manifest import Entry, Manifest, bad_name, clean_name
from enrollment.report import Outcome, Reason
from speaker_tasks.errors import Conflict, NotFound, Unusable

RTTM_SUFFIX = ".rttm"
HIDDEN_NAMES = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "Thumbs.db", "desktop.ini"})
"""Left by file managers and archivers; hidden like names with a leading dot."""
_SESSION = re.compile(
    r"(19|20)\d\d([-_. ])(0?[1-9]|1[0-2])(\2([0-2]?\d|3[01]))?|((19|20)\d\d年)?(0?[1-9]|1[0-2])月([0-3]?\d[日号號])?"
    r"|(session|sess|day|take|part)[-_ ]?\d+|第.{1,3}[天次場场節节]",
    re.IGNORECASE,
)


def scan(root: Path | str, *, qualify: bool = False) -> Manifest:
    """The manifest of a folder tree; what is not enrolled is named in `skipped`. `qualify`: see `rttm.segments`.

    Folders are followed to any depth, links to folders never, links to files only to files below `root`. Raises
    `NotFound` for no such folder, `Unusable` for one without speakers, `Conflict` for two folders of one name.
    """
    top = Path(root)
    if not top.is_dir():
        raise NotFound(f"there is no folder {top}", path=str(top))
    top = top.resolve()
    folders: dict[str, str] = {}
    items = _sorted(top)
    entries, skipped, meetings = _of_meetings(items, top, qualify)
    for item in items:
        row = _shown(item.name)
        if item.name in meetings:
            continue
        if _hidden(item.name):
            skipped.append(Outcome("", _shown(item.path), Reason.HIDDEN, "hidden", row))
        elif item.is_symlink() and not item.is_file():
            skipped.append(_link_to_folder("", item, row))
        elif not item.is_dir():
            message = "not in a speaker's folder"
            skipped.append(Outcome("", _shown(item.path), Reason.MISPLACED, message, row))
        else:
            try:
                speaker = clean_name(item.name)
            except Unusable as error:
                skipped.append(bad_name(row, error))
                continue
            _claim(folders, speaker, item.name)
    if not folders and not meetings:
        raise Unusable(f"{top} has no folder with a speaker's recordings; one sub-folder a speaker is wanted")
    skipped.extend(_doubts(top, folders))
    for speaker, name in folders.items():
        for one in _below(top, top / name, speaker):
            (entries if isinstance(one, Entry) else skipped).append(one)  # type: ignore[arg-type]
    return Manifest.of(entries, skipped, folders)


def below(folder: Path, speaker: str) -> list[Entry | Outcome]:
    """All recordings of one person below a folder, and what else lies there."""
    top = folder.resolve()
    return list(_below(top, top, speaker))


def is_session(name: str) -> bool:
    """Whether a folder is called after a day or a numbered session, as nobody is; bare numbers may be speakers."""
    return _SESSION.fullmatch(name.strip()) is not None


def _claim(folders: dict[str, str], speaker: str, name: str) -> None:
    if speaker in folders:
        first, second = _shown(folders[speaker]), _shown(name)
        raise Conflict(
            f"two folders are the same speaker {speaker!r}: {first!r} and {second!r}; rename or join them",
            speaker=speaker,
            folders=[first, second],
        )
    folders[speaker] = name


def _doubts(top: Path, folders: dict[str, str]) -> Iterator[Outcome]:
    """Notes on folders that were taken for speakers and may be none."""
    if folders and all(map(is_session, folders)):
        yield _sessions(top, list(folders))
    elif len(folders) == 1:
        yield from _one_speaker(top, *folders.values())


def _sessions(top: Path, names: list[str]) -> Outcome:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    message = f"taken for speakers: {shown}; if these are days or sessions, put them into a folder for each speaker"
    return Outcome("", _shown(str(top)), Reason.MISPLACED, message, names[0])


def _one_speaker(top: Path, name: str) -> Iterator[Outcome]:
    """A note that all recordings go to one name, where its folders may be the speakers."""
    inner = [_shown(item.name) for item in _sorted(top / name) if item.is_dir() and not _hidden(item.name)]
    if len(inner) > 1 and not all(map(is_session, inner)):
        names = ", ".join(inner[:3]) + (", ..." if len(inner) > 3 else "")
        message = (
            f"all is taken for one speaker, {_shown(name)!r}; if the speakers are {names}, give their folder itself"
        )
        yield Outcome("", _shown(str(top / name)), Reason.MISPLACED, message, _shown(name))


def _of_meetings(
    items: list[os.DirEntry[str]], top: Path, qualify: bool
) -> tuple[list[Entry], list[Outcome], set[str]]:
    """The parts of recordings that lie in the folder itself with an RTTM file beside them, and the names of both."""
    entries: list[Entry] = []
    skipped: list[Outcome] = []
    names: set[str] = set()
    rttm_files = {Path(item.name).stem: item for item in items if item.name.lower().endswith(RTTM_SUFFIX)}
    for item in items:
        path = Path(item.path)
        beside = rttm_files.get(path.stem)
        if beside is None or beside is item or _hidden(item.name):
            continue
        if not (_file_below(path, top) and _file_below(Path(beside.path), top) and soundfiles.is_recording(path)):
            continue
        segments, bad = rttm.segments(Path(beside.path), item.path, _shown(beside.name), qualify=qualify)
        entries.extend(segments)
        skipped.extend(bad)
        names |= {item.name, beside.name}
    return entries, skipped, names


def _below(top: Path, folder: Path, speaker: str) -> Iterator[Entry | Outcome]:
    try:
        items = _sorted(folder)
    except Unusable as error:
        row = _shown(os.path.relpath(folder, top))
        yield Outcome(speaker, _shown(str(folder)), Reason.UNREADABLE, error.message, row)
        return
    for item in items:
        row = _shown(os.path.relpath(item.path, top))
        path = _shown(item.path)
        if _hidden(item.name):
            yield Outcome(speaker, path, Reason.HIDDEN, "hidden", row)
        elif item.is_symlink() and not _file_below(Path(item.path), top):
            yield _link_to_folder(speaker, item, row)
        elif item.is_dir():
            yield from _below(top, Path(item.path), speaker)
        elif not item.is_file():
            yield Outcome(speaker, path, Reason.NOT_AUDIO, "neither a file nor a folder", row)
        elif not soundfiles.is_recording(Path(item.path)):
            yield Outcome(speaker, path, Reason.NOT_AUDIO, "not a sound file, by its ending and its first bytes", row)
        elif path != item.path:
            yield Outcome(speaker, path, Reason.BAD_NAME, "the file's name is not UTF-8", row)
        else:
            yield Entry(speaker, item.path, row=row)


def _link_to_folder(speaker: str, item: os.DirEntry[str], row: str) -> Outcome:
    return Outcome(
        speaker, _shown(item.path), Reason.OUTSIDE_ROOTS, "a link that does not lead to a file below the folder", row
    )


def _file_below(link: Path, top: Path) -> bool:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return target.is_file() and target.is_relative_to(top)


def _sorted(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return sorted(items, key=lambda item: item.name)
    except PermissionError:
        raise Unusable(f"the folder {_shown(str(folder))} may not be read", path=_shown(str(folder))) from None


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in HIDDEN_NAMES


def _shown(path: str) -> str:
    """A path that may hold bytes that are not UTF-8, as text that JSON can carry."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
