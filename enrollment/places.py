"""Places: where recordings may be read from - folders, and `fsspec` URLs below allowed ones."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from enrollment import soundfiles
from enrollment.manifest import Entry, Manifest, bad_name, clean_name
from enrollment.report import Outcome, Reason
from enrollment.roots import OutsideRoots, inside
from speaker_tasks.errors import NotFound, TooLarge, UnsupportedAudio, Unusable

BLOCK = 1024 * 1024


def is_url(path: str) -> bool:
    """Whether a path is an `fsspec` URL rather than a file of this machine."""
    return "://" in path


@dataclass(frozen=True)
class Places:
    """The allowed folders and URLs, and how many bytes one recording may have."""

    roots: tuple[Path, ...] = ()
    urls: tuple[str, ...] = ()
    max_bytes: int = 4 * 1024**3

    def check_url(self, url: str) -> str:
        """The URL, if it lies below an allowed one. Raises `OutsideRoots`, also for chained URLs and `..`."""
        parts = unquote(url.split("://", 1)[1]).split("/")
        below = any(url.startswith(f"{root.rstrip('/')}/") for root in self.urls)
        if "::" in url or ".." in parts or not below:
            raise OutsideRoots(
                f"{url} is not below a URL that recordings may be read from; SPEAKER_DATA_URLS names them", path=url
            )
        return url

    @contextlib.contextmanager
    def local(self, path: str) -> Iterator[Path]:
        """A recording as a file of this machine; what came from a URL is deleted after use.

        Raises `OutsideRoots`, `NotFound`, `TooLarge`, `UnsupportedAudio` for what cannot be read.
        """
        if not is_url(path):
            yield inside(path, self.roots)
            return
        with tempfile.NamedTemporaryFile(suffix=Path(path).suffix[:8]) as file:
            self._fetch(self.check_url(path), file)
            yield Path(file.name)

    def _fetch(self, url: str, target: Any) -> None:
        import fsspec

        left = self.max_bytes
        try:
            with fsspec.open(url, "rb") as source:
                while block := source.read(BLOCK):
                    left -= len(block)
                    if left < 0:
                        raise TooLarge(f"the recording has more than {self.max_bytes} bytes", max_bytes=self.max_bytes)
                    target.write(block)
        except FileNotFoundError:
            raise NotFound(f"there is no {url}", path=url) from None
        except (OSError, ValueError, ImportError) as error:
            raise UnsupportedAudio(f"{url} cannot be read: {error}") from None
        target.flush()


def content_hash(path: Path) -> str:
    """32 hexadecimal digits that name the content (BLAKE2b). Raises `UnsupportedAudio` for what cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise UnsupportedAudio(f"the file cannot be read: {error.strerror}") from None


def scan_url(url: str) -> Manifest:
    """The manifest of a folder tree behind a URL: one sub-folder a speaker. Raises `NotFound`, `Unusable`."""
    import fsspec

    try:
        files, top = fsspec.core.url_to_fs(url)
        paths = sorted(files.find(top))
    except (OSError, ValueError, ImportError) as error:
        raise Unusable(f"{url} cannot be read: {error}", path=url) from None
    if not paths:
        raise NotFound(f"there is nothing below {url}", path=url)
    top = top.strip("/")
    names = [path.strip("/").removeprefix(top).strip("/") for path in paths]
    return _tree(url.rstrip("/"), names)


def _tree(url: str, names: Sequence[str]) -> Manifest:
    entries: list[Entry] = []
    skipped: list[Outcome] = []
    speakers: dict[str, str] = {}
    for name in names:
        folder, *below = name.split("/")
        path = f"{url}/{name}"
        if any(part.startswith(".") for part in (folder, *below)):
            skipped.append(Outcome("", path, Reason.HIDDEN, "hidden", name))
        elif not below:
            skipped.append(Outcome("", path, Reason.MISPLACED, "not in a speaker's folder", name))
        else:
            item = _entry(path, folder, name, speakers)
            (entries if isinstance(item, Entry) else skipped).append(item)  # type: ignore[arg-type]
    return Manifest.of(entries, skipped, speakers)


def _entry(path: str, folder: str, name: str, speakers: dict[str, str]) -> Entry | Outcome:
    try:
        speaker = clean_name(folder)
    except Unusable as error:
        return bad_name(name, error)
    if speakers.setdefault(speaker, folder) != folder:
        message = f"two folders are the same speaker: {speakers[speaker]!r} and {folder!r}"
        return Outcome(speaker, path, Reason.BAD_NAME, message, name)
    if not soundfiles.by_name(name):
        return Outcome(speaker, path, Reason.NOT_AUDIO, "not a sound file, by its ending", name)
    return Entry(speaker, path, row=name)
