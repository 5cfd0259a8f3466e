"""Ties a process to its parent: it is ended by the kernel when the parent ends, even by SIGKILL (Linux only).

Run as a script, this file becomes the command it is given: `python tether.py SIGNAL PARENT_PID COMMAND...`. It imports
nothing of this project, and the tie is made after the fork and before the command, where no thread can interfere.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1


def die_with_parent(number: int, parent: int) -> None:
    """Have the kernel send signal `number` to this process when process `parent` ends; end now if it has already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGTERM)


def tethered(command: list[str], number: int = signal.SIGTERM, parent: int | None = None) -> list[str]:
    """The command line that runs `command` tied to process `parent` (default: this one)."""
    script = str(Path(__file__).resolve())
    return [sys.executable, "-E", "-S", script, str(int(number)), str(parent or os.getpid()), *command]


def main(argv: list[str]) -> None:
    """Tie this process to its parent, then become the command."""
    die_with_parent(int(argv[0]), int(argv[1]))
    os.execvp(argv[2], argv[2:])  # noqa: S606 (no shell is what we want)


if __name__ == "__main__":
    main(sys.argv[1:])
