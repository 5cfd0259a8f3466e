"""Allowed roots: which folders recordings may be read from, checked after links are resolved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from speaker_tasks.errors import NotFound, OutsideRoots

__all__ = ["OutsideRoots", "inside"]


def inside(path: Path | str, roots: Sequence[Path]) -> Path:
    """`path` with its links followed, if it lies in or below one of `roots`.

    Raises `OutsideRoots`, also for a path that does not exist outside of them, and `NotFound` for one inside.
    """
    try:
        resolved = Path(path).resolve()
        allowed = any(resolved.is_relative_to(root.resolve()) for root in roots)
        exists = allowed and resolved.exists()
    except (OSError, ValueError, RuntimeError):  # a loop of links, a null byte, a name that is too long
        raise OutsideRoots(f"{path} cannot be followed to a place below the allowed folders", path=str(path)) from None
    if not allowed:
        raise OutsideRoots(
            f"{path} is not below a folder that recordings may be read from; SPEAKER_DATA_ROOTS names them",
            path=str(path),
        )
    if not exists:
        raise NotFound(f"there is no {path}", path=str(path))
    return resolved
