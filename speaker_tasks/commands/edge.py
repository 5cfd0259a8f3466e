"""What every command needs at the edge: the settings of the environment, and where to print."""

from __future__ import annotations

import getpass
import os
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.launcher.claim import running_stack
from speaker_tasks.settings import Settings

console = Console(highlight=False)
"""Standard output of the command line."""


def load_settings(**changes: Any) -> Settings:
    """The settings of the environment; `changes` that are not None win. Raises ConfigurationError in one line."""
    try:
        return Settings(**{name: value for name, value in changes.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "SPEAKER_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{name}: {first['msg']} (got {first['input']!r})") from None


def grid(*columns: str, title: str | None = None, whole: Sequence[str] = ()) -> Table:
    """A table that cuts nothing off: long cells go on in the next line, those of the columns `whole` stay in one."""
    shown = (Column(name, overflow="fold", no_wrap=name in whole) for name in columns)
    return Table(*shown, title=title, box=SIMPLE_HEAD, pad_edge=False)


def who() -> str:
    """How the audit log names who runs this command."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name, as in some containers
        return f"cli:{os.getuid()}"


def connected_settings(**changes: Any) -> Settings:
    """`load_settings`, with the embedded server of the stack that `make up` runs here when no Redis URL is given."""
    settings = load_settings(**changes)
    running = None if settings.redis_url else running_stack(settings.data_dir)
    return settings.model_copy(update={"redis_url": running.redis_url}) if running else settings
