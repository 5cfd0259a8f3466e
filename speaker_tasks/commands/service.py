"""Commands ask a running service by HTTP: where it is, and how their answers are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speaker_tasks.commands.edge import console, load_settings
from speaker_tasks.errors import NotFound

if TYPE_CHECKING:
    from speaker_tasks.http_client import SpeakerTasks

STDIN = "-"
ENDINGS = {".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".mp4", ".webm", ".aac", ".aiff", ".amr", ".wma"}

Url = Annotated[
    str | None, typer.Option("--url", envvar="SPEAKER_URL", help="The service; default: the one on this machine.")
]
Key = Annotated[str | None, typer.Option("--key", envvar="SPEAKER_KEY", help="Its API key.", show_envvar=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Sources = Annotated[list[str], typer.Argument(help="Files, folders, or - for standard input.", metavar="RECORDING...")]
Threshold = Annotated[float | None, typer.Option(min=-1, max=1, help="The cosine of a match; default: calibrated.")]


def service(url: str | None, key: str | None) -> SpeakerTasks:
    """The client of the service at `url`, or of the one on this machine."""
    from speaker_tasks.http_client import SpeakerTasks

    if url is None:
        settings = load_settings()
        url = f"http://{settings.host if settings.host not in {'0.0.0.0', '::'} else '127.0.0.1'}:{settings.port}"
    return SpeakerTasks(url, key)


def recordings(sources: list[str]) -> Iterator[tuple[str, bytes | Path]]:
    """Each recording with its name: files as they are, the sound files of folders, standard input."""
    for source in sources:
        if source == STDIN:
            yield STDIN, sys.stdin.buffer.read()
        elif (path := Path(source)).is_dir():
            found = sorted(one for one in path.rglob("*") if one.suffix.lower() in ENDINGS and one.is_file())
            if not found:
                raise NotFound(f"no recording below {path}")
            yield from ((str(one), one) for one in found)
        else:
            yield source, path


def show_json(found: Mapping[str, Any]) -> None:
    """One object on one line."""
    console.out(json.dumps(found, ensure_ascii=False))
