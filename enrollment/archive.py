"""Archives of a folder tree: zip and tar, unpacked with suspicion into an empty folder.

Refused whole: names that lead out of the folder, links, devices, archives within, encryption, and more files or bytes
than allowed - counted before unpacking, and again while unpacking, because an archive may lie about itself.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from enrollment.encodings import decoded
from enrollment.zipdir import opened
from speaker_tasks.errors import TooLarge, Unusable

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
NESTED = (*SUFFIXES, ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst")
UTF8_FLAG, ENCRYPTED_FLAG = 0x800, 0x1
PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
BLOCK = 1024 * 1024
WRAPPERS = frozenset(
    [
        "speaker",
        "speakers",
        "voice",
        "voices",
        "people",
        "persons",
        "person",
        "members",
        "member",
        "staff",
        "team",
        "class",
        "group",
        "groups",
        "company",
        "users",
        "user",
        "data",
        "dataset",
        "datasets",
        "corpus",
        "corpora",
        "db",
        "enroll",
        "enrol",
        "enrolled",
        "enrollment",
        "enrolment",
        "enrollments",
        "recordings",
        "recording",
        "audio",
        "audios",
        "sound",
        "sounds",
        "speech",
        "wav",
        "wavs",
        "wave",
        "waves",
        "flac",
        "mp3",
        "ogg",
        "samples",
        "sample",
        "clips",
        "clip",
        "train",
        "training",
        "dev",
        "test",
        "eval",
        "valid",
        "validation",
        "part",
        "set",
        "all",
        "new",
        "old",
        "my",
        "our",
        "the",
        "of",
        "and",
        "archive",
        "upload",
        "uploads",
        "export",
        "backup",
        "files",
        "folder",
        "names",
        "v",
        "demo",
        "说话人",
        "說話人",
        "语者",
        "語者",
        "录音",
        "錄音",
        "音频",
        "音檔",
        "声音",
        "聲音",
        "数据",
        "數據",
        "資料",
        "数据集",
        "人员",
        "人員",
        "员工",
        "員工",
        "成员",
        "成員",
    ]
)
"""What a folder is called that holds speakers and is none; numbers may stand beside it (`speakers-2024`, `part1`)."""
_TORN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)
_SPEAKER = re.compile(r"(speaker|spk|person|user|id)[-_ ]?\d+", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """What an archive may hold."""

    files: int = 20_000
    total_bytes: int = 1024**3
    ratio: float = 200.0
    """Unpacked to packed bytes of the whole archive; sound rarely packs to less than a tenth."""


class ArchiveRefused(Unusable):
    """An archive that is broken or not to be trusted; nothing of it is used."""

    code = "archive_refused"


def unpack(data: bytes, folder: Path, limits: Limits | None = None, *, encoding: str | None = None) -> Path:
    """Unpack a zip or tar archive into an empty folder; gives the folder that holds the speakers' folders.

    That is the archive's only folder if all lies in one that is called as no person is (`speakers`, `data`, `part1`).
    `encoding` is of names in a zip archive that are not marked as UTF-8. Raises `ArchiveRefused`, `TooLarge`, and
    `Unusable` for names of unclear encoding; the folder may then hold a part of it, which the caller deletes.
    """
    limits = limits or Limits()
    left = min(limits.total_bytes, int(limits.ratio * max(len(data), 4096)))
    try:
        for name, source in _members(data, limits, left, encoding):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                left = _copy(source, file, left, name)
    except FileExistsError as error:
        raise ArchiveRefused(f"the archive holds {Path(str(error.filename)).name!r} twice") from None
    except NotADirectoryError as error:
        raise ArchiveRefused(f"the archive holds a file where a folder is needed: {error.filename}") from None
    except _TORN as error:
        raise ArchiveRefused(f"the archive cannot be unpacked: {error}") from None
    return _top(folder)


def _members(data: bytes, limits: Limits, most: int, encoding: str | None) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    if zipfile.is_zipfile(io.BytesIO(data)):
        yield from _zip(data, limits, most, encoding)
    else:
        yield from _tar(data, limits, most)


def _zip(data: bytes, limits: Limits, most: int, encoding: str | None) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    with opened(io.BytesIO(data), _entries(limits)) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        _check_count(len(members), limits)
        claimed = sum(member.file_size for member in members)
        if claimed > most:
            raise TooLarge(f"the archive unpacks to {claimed} bytes; {most} are allowed", bytes=claimed)
        for member, name in zip(members, _zip_names(members, encoding), strict=True):
            if member.flag_bits & ENCRYPTED_FLAG:
                raise ArchiveRefused("the archive is encrypted")
            mode = member.external_attr >> 16
            if mode and not stat.S_ISREG(mode) and stat.S_IFMT(mode):
                raise ArchiveRefused(f"the archive holds a link or a device: {name!r}")
            with archive.open(member) as file:
                yield _checked(name), file


def _tar(data: bytes, limits: Limits, most: int) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    count = seen = 0
    with _Bounded(data, most + BLOCK) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
        for member in archive:
            seen += 1
            _check_count(seen, limits, _entries(limits))
            if member.isdir():
                continue
            count += 1
            _check_count(count, limits)
            if not member.isreg():
                raise ArchiveRefused(f"the archive holds a link or a device: {member.name!r}")
            file = archive.extractfile(member)
            if file is not None:
                yield _checked(member.name), file


class _Bounded(io.RawIOBase):
    """A tar archive, decompressed as it is read, up to `most` bytes: headers can be bombs too. Raises `TooLarge`."""

    def __init__(self, data: bytes, most: int) -> None:
        packed = io.BytesIO(data)
        opener = next((one for magic, one in PACKED.items() if data.startswith(magic)), None)
        self._file: Any = opener(packed) if opener else packed
        self._left = most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block: bytes = self._file.read(min(size if size >= 0 else BLOCK, self._left + 1))
        self._left -= len(block)
        if self._left < 0:
            raise TooLarge("the archive unpacks to more than allowed")
        return block


def _checked(name: str) -> PurePosixPath:
    """The member's path below the folder. Raises `ArchiveRefused` for one that leads out of it, or an archive."""
    path = PurePosixPath(name.replace("\\", "/"))
    parts = [part for part in path.parts if part != "."]
    if path.is_absolute() or ".." in parts or not parts or ":" in parts[0] or "\0" in name:
        raise ArchiveRefused(f"the archive holds a name that leads out of its folder: {name!r}")
    if any(len(part.encode("utf-8", "surrogateescape")) > 255 for part in parts) or len(parts) > 16:
        raise ArchiveRefused(f"the archive holds a name that is too long or too deep: {name[:100]!r}")
    if name.lower().endswith(NESTED):
        raise ArchiveRefused(f"the archive holds an archive: {name!r}; unpack it first")
    return PurePosixPath(*parts)


def _zip_names(members: Sequence[zipfile.ZipInfo], encoding: str | None) -> list[str]:
    """The names; those without the UTF-8 mark are often UTF-8 all the same, or of Windows in Taiwan or China."""
    unmarked = [member for member in members if not member.flag_bits & UTF8_FLAG]
    raw = [member.filename.encode("cp437", "replace") for member in unmarked]
    read = iter(decoded(raw, "a name in the archive", encoding))
    return [member.filename if member.flag_bits & UTF8_FLAG else next(read) for member in members]


def _copy(source: IO[bytes], target: IO[bytes], left: int, name: object) -> int:
    while block := source.read(BLOCK):
        left -= len(block)
        if left < 0:
            raise TooLarge(f"the archive unpacks to more than allowed, at {str(name)!r}")
        target.write(block)
    return left


def _entries(limits: Limits) -> int:
    """How many entries the directory of an archive may have: its files, and folders with them."""
    return 2 * limits.files + 1000


def _check_count(count: int, limits: Limits, most: int | None = None) -> None:
    if count > (most or limits.files):
        raise TooLarge(f"the archive holds more than {limits.files} files", files=count)


def _top(folder: Path) -> Path:
    """Where the speakers' folders lie; folders that only hold speakers (`speakers`, `team/spk1`) are passed over."""
    while True:
        items = _folders_and_files(folder)
        inner = _folders_and_files(items[0]) if len(items) == 1 and items[0].is_dir() else []
        folders = [item.name for item in inner if item.is_dir()]
        if not folders or not (_is_wrapper(items[0].name) or all(map(_SPEAKER.fullmatch, folders))):
            return folder
        folder = items[0]


def _is_wrapper(name: str) -> bool:
    words = re.split(r"[-_ .\d]+", unicodedata.normalize("NFC", name).casefold())
    return any(words) and all(word in WRAPPERS for word in words if word)


def _folders_and_files(folder: Path) -> list[Path]:
    return [item for item in folder.iterdir() if not item.name.startswith(".") and item.name != "__MACOSX"]
