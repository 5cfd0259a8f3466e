"""What every command needs at the edge: the settings of the environment, and where to print."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.launcher.claim import running_stack
from speaker_tasks.settings import Settings
from speaker_tasks.variables import misspelt

console = Console(highlight=False)
"""Standard output of the command line."""
_told: set[str] = set()


def load_settings(**changes: Any) -> Settings:
    """The settings of the environment; `changes` that are not None win. Raises ConfigurationError in one line.

    Variables that look like ours and are none are named once, on standard error.
    """
    for line in misspelt(os.environ):
        if line not in _told:
            Console(stderr=True, soft_wrap=True).print(f"warning: {line}", style="yellow", markup=False)
            _told.add(line)
    try:
        return Settings(**{name: value for name, value in changes.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "SPEAKER_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{name}: {first['msg']} (got {first['input']!r})") from None


class Grid(Table):
    """A table that cuts no word: where the words do not fit beside each other, each row is a paragraph."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The table, or its rows as paragraphs."""
        for column in self.columns:
            cells = [column.header, *column.cells]
            sizes = [Measurement.get(console, options, cell) for cell in cells]
            column.min_width = max(size.maximum if column.no_wrap else size.minimum for size in sizes)
        room = options.max_width - 2 * (len(self.columns) - 1)
        if sum(column.min_width or 0 for column in self.columns) <= room:
            yield from super().__rich_console__(console, options)
        else:
            yield from self._paragraphs()

    def _paragraphs(self) -> Iterator[RenderableType]:
        if self.title:
            yield f"[italic]{self.title}[/]"
        for first, *others in zip(*(list(column.cells) for column in self.columns), strict=True):
            yield Padding(Text.from_markup(str(first), style="bold", overflow="fold"), (1, 0, 0, 0))
            for column, cell in zip(self.columns[1:], others, strict=True):
                if str(cell):
                    yield Padding(Text.from_markup(f"{column.header}: {cell}", overflow="fold"), (0, 0, 0, 2))


def grid(*columns: str, title: str | None = None, whole: Sequence[str] = ()) -> Table:
    """A table that cuts nothing off: long cells go on in the next line, those of the columns `whole` stay in one."""
    shown = (Column(name, overflow="fold", no_wrap=name in whole) for name in columns)
    return Grid(*shown, title=title, box=SIMPLE_HEAD, pad_edge=False)


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
