"""The versions of a bank that are kept, as its pointer in Redis tells them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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


def read_versions(pointer: Any) -> list[Version]:
    """What `write_versions` wrote, newest first; none for a pointer that is not there."""
    return [Version(**entry) for entry in json.loads(pointer)] if pointer else []


def write_versions(versions: Sequence[Version]) -> str:
    """The versions as JSON."""
    return json.dumps([asdict(version) for version in versions], ensure_ascii=False)
