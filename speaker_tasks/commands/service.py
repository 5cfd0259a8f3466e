"""Commands ask a running service by HTTP: where it is, and how their answers are printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from enrollment.soundfiles import is_recording
from speaker_tasks.commands.edge import console, load_settings
from speaker_tasks.errors import NotFound

if TYPE_CHECKING:
    from speaker_tasks.sdk.client import SpeakerTasks

STDIN = "-"

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="SPEAKER_URL", help="URL of the service; default: the one on this machine."),
]
Key = Annotated[
    str | None, typer.Option("--key", envvar="SPEAKER_KEY", help="API key of the service.", show_envvar=True)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Sources = Annotated[list[str], typer.Argument(help="Files, folders, or - for standard input.", metavar="RECORDING...")]
Threshold = Annotated[
    float | None, typer.Option(min=-1, max=1, help="Least cosine of a match; default: the calibrated threshold.")
]


def service(url: str | None, key: str | None) -> SpeakerTasks:
    """The client of the service at `url`, or of the one on this machine."""
    from speaker_tasks.sdk.client import SpeakerTasks

    if url is None:
        from speaker_tasks.launcher.procfile import web_url

        url = web_url(load_settings())
    return SpeakerTasks(url, key)


def recordings(sources: list[str]) -> Iterator[tuple[str, bytes | Path]]:
    """Each recording with its name: files as they are, the sound files of folders, standard input."""
    for source in sources:
        if source == STDIN:
            yield STDIN, sys.stdin.buffer.read()
        elif (path := Path(source)).is_dir():
            files = sorted(one for one in path.rglob("*") if one.is_file() and is_recording(one))
            if not files:
                raise NotFound(f"no recording below {path}")
            yield from ((str(one), one) for one in files)
        else:
            yield source, path


def show_json(answer: Mapping[str, Any]) -> None:
    """One object on one line."""
    console.out(json.dumps(answer, ensure_ascii=False))
