"""The versions of a bank that are kept, as its pointer in Redis tells them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Version:
    """One kept version of a bank, as the pointer tells it."""

    version: int
    data: str
    """Id of the data keys; two versions share it after a rollback."""
    model: str
    speakers: int
    size: int
    created: str
    source: str
    has_clips: bool
    restores: int = 0
    """The version that a rollback or a redo brought back; 0 for a change."""

    @property
    def state(self) -> int:
        """The number of the change whose outcome this version is: its own, or the one that it restores."""
        return self.restores or self.version


def read_versions(pointer: Any) -> list[Version]:
    """What `write_versions` wrote, newest first; none for a pointer that is not there."""
    known_fields = {field.name for field in fields(Version)}  # a newer version may write more
    entries = json.loads(pointer) if pointer else []
    return [Version(**{name: entry[name] for name in entry.keys() & known_fields}) for entry in entries]


def write_versions(versions: Sequence[Version]) -> str:
    """The versions as JSON."""
    entries = [
        {name: value for name, value in asdict(version).items() if name != "restores" or value} for version in versions
    ]
    return json.dumps(entries, ensure_ascii=False)


def earlier(kept: Sequence[Version]) -> int | None:
    """The state before the newest one, as `Version.state` numbers them; None if it is not kept."""
    return _before(kept, kept[0].state)


def later(kept: Sequence[Version]) -> int | None:
    """The newest change that was made from the newest state and then rolled back; None if there is none."""
    now = kept[0].state
    return next(
        (one.version for one in kept if one.version > now and not one.restores and _before(kept, one.version) == now),
        None,
    )


def _before(kept: Sequence[Version], state: int) -> int | None:
    """The state that the change `state` started from: that of the version below it."""
    below = [kept[at + 1] for at, one in enumerate(kept[:-1]) if one.version == state]
    return below[0].state if below else None
