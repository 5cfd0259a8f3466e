"""Sources: a path or URL of any known kind to its manifest."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from enrollment import archive, dictionary, folder, table, workbook
from enrollment.encodings import codec
from enrollment.manifest import Manifest
from enrollment.places import is_url, scan_url
from enrollment.workbook import Layout
from speaker_tasks.errors import Malformed, NotFound, Unusable


@dataclass(frozen=True)
class Options:
    """How to read a source; the workbook's layout has the first server's defaults."""

    root: str | None = None
    """Where relative paths, or a workbook's sheets, start: a folder or an `fsspec` URL. Default: beside the source."""
    recording: int | str = 0
    speaker: int | str = 5
    skip_sheets: tuple[str, ...] = ()
    skip_last: int = 2
    pattern: str = workbook.PATTERN
    encoding: str | None = None
    """Of a table, such as `cp950`. Default: UTF-8, Big5 or GB 18030, as it tells."""

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Options:
        """Options that came as JSON. Raises `Malformed` for unknown names, encodings and wrong types."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise Malformed(f"there is no option {unknown[0]!r}; there is {', '.join(sorted(known))}")
        types: dict[str, tuple[type, ...]] = {"skip_last": (int,), "recording": (int, str), "speaker": (int, str)}
        for name, value in data.items():
            wanted = types.get(name, (list, tuple) if name == "skip_sheets" else (str,))
            if value is not None and (not isinstance(value, wanted) or isinstance(value, bool)):
                raise Malformed(
                    f"the option {name} is {value!r}; {' or '.join(one.__name__ for one in wanted)} is wanted"
                )
        given = {name: value for name, value in data.items() if value is not None}
        if "skip_sheets" in given:
            given["skip_sheets"] = tuple(str(name) for name in given["skip_sheets"])
        if "encoding" in given:
            given["encoding"] = codec(given["encoding"])
        return cls(**given)

    @property
    def layout(self) -> Layout:
        """The workbook's layout. Raises `Malformed` for a path pattern that cannot be filled."""
        return Layout(self.recording, self.speaker, self.skip_sheets, self.skip_last, self.pattern)


def read(source: str, options: Options | None = None) -> Manifest:
    """The manifest of a folder, workbook, JSON dictionary, CSV table, or folder behind a URL, by its ending.

    Archives have to be unpacked first (`archive.unpack`). Raises `NotFound`, `Unusable` and what the source raises.
    """
    options = options or Options()
    if is_url(source):
        return scan_url(source)
    path = Path(source)
    if path.is_dir():
        return folder.scan(path)
    suffix = path.suffix.lower()
    if suffix in (".xlsx", ".xlsm", ".xls"):
        return workbook.read(path, root=options.root, layout=options.layout)
    if suffix == ".json":
        return dictionary.read(path, root=options.root)
    if suffix in (".csv", ".tsv"):
        return table.read(path, root=options.root, encoding=options.encoding)
    if not path.exists():
        raise NotFound(f"there is no {path}", path=str(path))
    if path.name.lower().endswith(archive.SUFFIXES):
        raise Unusable(f"{path.name} is an archive; it has to be sent as an upload", path=str(path))
    raise Unusable(
        f"{path.name} is none of: a folder, .xlsx, .xls, .json, .csv, or an archive ({', '.join(archive.SUFFIXES)})"
    )
