"""One stack a data folder: a lock that ends with its process, and a note of where the running stack listens."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from speaker_tasks.errors import Conflict


@dataclass(frozen=True)
class Running:
    """What a running stack wrote about itself. The URL may hold a password: only its user may read the note."""

    pid: int
    redis_url: str
    web_url: str
    flower_url: str


class Claim:
    """The right to run the stack on `data_dir`; a second `with Claim(...)` raises Conflict in one line.

    A POSIX record lock: the kernel drops it when the process ends, however it ends, and forked children don't hold it.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._file = -1

    def __enter__(self) -> Claim:
        keep_private(self.data_dir)
        self._file = os.open(_lock_path(self.data_dir), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise Conflict(self._who_has_it()) from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        _note_path(self.data_dir).unlink(missing_ok=True)
        os.close(self._file)

    def announce(self, running: Running) -> None:
        """Write down where the stack listens, for other commands of the same user."""
        part = _note_path(self.data_dir).with_suffix(".part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(running), file)
        part.replace(_note_path(self.data_dir))

    def _who_has_it(self) -> str:
        running = _read_note(self.data_dir)
        if running is None:
            return f"another process is starting the stack in {self.data_dir}"
        return f"already running at {running.web_url}; stop it with Ctrl-C in its terminal, or: kill {running.pid}"


def keep_private(folder: Path) -> None:
    """Make a folder that its user alone can enter, or make it one if it is there and the stack's own.

    A folder that others share, with a sticky bit or with other things in it, stays as it is.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    mode = folder.stat().st_mode
    is_own = _lock_path(folder).exists() or not any(folder.iterdir())
    if is_own and not mode & stat.S_ISVTX and mode & 0o077:
        folder.chmod(0o700)


def running_stack(data_dir: Path) -> Running | None:
    """The stack that runs on `data_dir` now, or None. Not for the process that holds the claim itself."""
    path = _lock_path(data_dir)
    if not path.exists():
        return None
    with open(path, "r+") as file, contextlib.suppress(OSError):
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return None
    return _read_note(data_dir)


def _read_note(data_dir: Path) -> Running | None:
    try:
        return Running(**json.loads(_note_path(data_dir).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _lock_path(data_dir: Path) -> Path:
    return data_dir / "stack.lock"


def _note_path(data_dir: Path) -> Path:
    return data_dir / "stack.json"
