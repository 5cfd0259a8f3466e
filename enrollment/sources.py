"""Sources: a path or URL of any known kind to its manifest."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from enrollment import archive, dictionary, table, workbook
from enrollment import folder as folders
from enrollment.encodings import codec
from enrollment.layout import PATTERN, RECORDING, SPEAKER, Layout
from enrollment.manifest import Entry, Manifest
from enrollment.parts import MAX_PARTS
from enrollment.places import is_url, scan_url
from enrollment.report import Outcome, Reason
from enrollment.roots import OutsideRoots, inside
from enrollment.workbook import Inside
from enrollment.zipdir import opened
from speaker_tasks.errors import Malformed, NotFound, TooLarge, Unusable

WORKBOOKS = (".xlsx", ".xlsm", ".xltx", ".xltm", ".xls", ".xlt", ".xlsb", ".ods")
TABLES = (".csv", ".tsv", ".tab", ".txt")
LISTS = (*WORKBOOKS, ".csv", ".tsv", ".tab", ".json")
"""Endings of files that say whose the recordings beside them are."""


@dataclass(frozen=True)
class Options:
    """How to read a source; the workbook's layout has the first server's defaults."""

    root: str | None = None
    """Where relative paths, or a workbook's sheets, start: a folder or an `fsspec` URL. Default: beside the source."""
    recording: int | str = RECORDING
    speaker: int | str = SPEAKER
    skip_sheets: tuple[str, ...] = ()
    skip_last: int = 2
    pattern: str = PATTERN
    encoding: str | None = None
    """Of a table or a dictionary, such as `cp950`. Default: UTF-8, UTF-16, Big5 or GB 18030, as it tells."""
    qualify: bool = False
    """Enroll the anonymous labels of RTTM files (`SPEAKER_00`) as `<file> <label>`, instead of refusing them."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Options:
        """Options that came as JSON. Raises `Malformed` for unknown names, encodings and wrong types."""
        names = {field.name for field in fields(cls)}
        unknown = sorted(set(data) - names)
        if unknown:
            raise Malformed(f"there is no option {unknown[0]!r}; there is {', '.join(sorted(names))}")
        types: dict[str, tuple[type, ...]] = {"skip_last": (int,), "recording": (int, str), "speaker": (int, str)}
        types["qualify"] = (bool,)
        for name, value in data.items():
            wanted = types.get(name, (list, tuple) if name == "skip_sheets" else (str,))
            if value is not None and (not isinstance(value, wanted) or isinstance(value, bool) != (bool in wanted)):
                raise Malformed(
                    f"the option {name} is {value!r}; {' or '.join(one.__name__ for one in wanted)} is wanted"
                )
        given = {name: value for name, value in data.items() if value is not None}
        if "skip_sheets" in given:
            given["skip_sheets"] = tuple(str(name) for name in given["skip_sheets"])
        if "encoding" in given:
            given["encoding"] = codec(given["encoding"])
        return cls(**given)

    def check_for(self, source: str) -> None:
        """Raise `Malformed` if what is asked is of a workbook's layout, and the source is none."""
        defaults = Options()
        for name in ("recording", "speaker", "skip_sheets", "skip_last", "pattern"):
            if getattr(self, name) != getattr(defaults, name):
                message = f"the option {name}={getattr(self, name)!r} is for workbooks, and {source} is none"
                cure = "; to enroll files as one person, use --name" if name == "speaker" else ""
                raise Malformed(message + cure, option=name)

    @property
    def layout(self) -> Layout:
        """The workbook's layout. Raises `Malformed` for a path pattern that cannot be filled."""
        return Layout(self.recording, self.speaker, self.skip_sheets, self.skip_last, self.pattern)


def of_person(speaker: str, places: Sequence[str]) -> Manifest:
    """The manifest of files, and of folders of files to any depth, that are all of one person. Raises `NotFound`."""
    entries: list[Entry] = []
    skipped: list[Outcome] = []
    for place in places:
        path = Path(place).absolute()
        if path.is_dir():
            items = folders.below(path, speaker)
            entries += [one for one in items if isinstance(one, Entry)]
            skipped += [one for one in items if isinstance(one, Outcome)]
        elif not path.is_file():
            raise NotFound(f"there is no {path}", path=str(path))
        else:
            entries.append(Entry(speaker, str(path), row=place))
    return Manifest.of(entries, skipped, [speaker])


def read(source: str, options: Options | None = None, *, inside: Inside | None = None) -> Manifest:
    """The manifest of a folder, workbook, JSON dictionary, CSV table, or folder behind a URL; see `kind_of`.

    A workbook's recordings are looked at through `inside`, see `workbook.read`. Archives have to be unpacked first
    (`archive.unpack`). Raises `NotFound`, `Unusable` and what the source raises.
    """
    options = options or Options()
    if is_url(source):
        options.check_for(source)
        return scan_url(source)
    path = Path(source)
    kind = kind_of(path)
    if kind is not Kind.WORKBOOK:
        options.check_for(f"the {kind} {path.name}")
    match kind:
        case Kind.FOLDER:
            return folders.scan(path, qualify=options.qualify)
        case Kind.WORKBOOK:
            return workbook.read(path, root=options.root, layout=options.layout, inside=inside)
        case Kind.DICTIONARY:
            return dictionary.read(path, root=options.root, encoding=options.encoding)
        case Kind.TABLE:
            return table.read(path, root=options.root, encoding=options.encoding)
    raise Unusable(f"{path.name} is an archive; it has to be sent as an upload", path=str(path))


def read_unpacked(folder: Path, options: Options | None = None) -> Manifest:
    """The manifest of what an archive was unpacked to: one folder a speaker, or the one workbook, table or dictionary
    that lies at its top, whose recordings lie beside it.

    What it names outside of the folder is left out (`outside_roots`, `missing`). Raises what `read` raises.
    """
    options = options or Options()
    folder = folder.resolve()
    lists = [path for path in sorted(folder.iterdir()) if path.is_file() and path.suffix.lower() in LISTS]
    if len(lists) == 1:
        try:
            return _listed(lists[0], folder, options)
        except (Malformed, Unusable):
            others = any(path.is_dir() for path in folder.iterdir())
            if lists[0].suffix.lower() in WORKBOOKS or not others:
                raise  # else it is some other list, beside the speakers' folders
    options.check_for("an archive")
    return folders.scan(folder, qualify=options.qualify)


def _listed(source: Path, folder: Path, options: Options) -> Manifest:
    """The manifest of a list whose recordings all lie in its folder."""
    below = partial(inside, roots=[folder])
    manifest = read(str(source), replace(options, root=str(folder)), inside=below)
    entries: list[Entry] = []
    here = f"{folder}/"  # where it was unpacked is nobody's business
    skipped = [
        replace(one, path=one.path.removeprefix(here), message=one.message.replace(here, ""))
        for one in manifest.skipped
    ]
    for entry in manifest.entries:
        try:
            entries.append(replace(entry, path=str(below(entry.path))))
        except (OutsideRoots, NotFound) as error:
            reason = Reason.MISSING if isinstance(error, NotFound) else Reason.OUTSIDE_ROOTS
            path = str(Path(entry.path).relative_to(folder)) if Path(entry.path).is_relative_to(folder) else entry.path
            message = f"{path} is not in what was sent; send it together with {source.name}"
            skipped.append(Outcome(entry.speaker, path, reason, message, entry.row))
    return Manifest.of(entries, skipped, manifest.speakers)


class Kind(StrEnum):
    """What a source is."""

    FOLDER = "folder"
    WORKBOOK = "workbook"
    DICTIONARY = "dictionary"
    TABLE = "table"
    ARCHIVE = "archive"


def kind_of(path: Path) -> Kind:
    """What a source is by its content; its ending counts where the content tells nothing.

    Raises `NotFound`, and `Unusable` for what is none of them.
    """
    if path.is_dir():
        return Kind.FOLDER
    try:
        with path.open("rb") as file:
            beginning = file.read(1024)
    except FileNotFoundError:
        raise NotFound(f"there is no {path}", path=str(path)) from None
    except (OSError, ValueError) as error:
        raise Unusable(f"{path.name} cannot be read: {getattr(error, 'strerror', error)}", path=str(path)) from None
    ending = path.suffix.lower()
    zipped = beginning.startswith(workbook.ZIP)
    if workbook.looks_like(beginning, ending) or (zipped and (ending in WORKBOOKS or _holds_a_workbook(path))):
        return Kind.WORKBOOK
    packed = zipped or beginning.startswith(tuple(archive.PACKED)) or beginning[257:262] == b"ustar"
    if packed or path.name.lower().endswith(archive.SUFFIXES):
        return Kind.ARCHIVE
    text = beginning.replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if ending == ".json" or text.startswith(b"{"):
        return Kind.DICTIONARY
    if ending in TABLES or (ending in WORKBOOKS and b"speaker" in text.partition(b"\n")[0] and text[:1] != b"<"):
        return Kind.TABLE
    if ending in WORKBOOKS:
        return Kind.WORKBOOK  # its reader says what it is instead
    raise Unusable(
        f"{path.name} is none of: a folder, .xlsx, .xls, .json, .csv, or an archive ({', '.join(archive.SUFFIXES)})"
    )


def _holds_a_workbook(path: Path) -> bool:
    try:
        with path.open("rb") as file, opened(file, MAX_PARTS) as archive:
            return any(name.startswith("xl/workbook.") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, TooLarge):
        return False
