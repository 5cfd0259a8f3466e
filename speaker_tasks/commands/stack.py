"""Commands that run the whole stack on this machine, or the demo."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from speaker_tasks.commands.edge import console, load_settings
from speaker_tasks.settings import Settings


def up(
    gpus: Annotated[
        str | None, typer.Option(envvar="SPEAKER_GPUS", help="A worker on each GPU: `all`, or numbers such as 0,1.")
    ] = None,
) -> None:
    """Run web, worker and Flower until Ctrl-C, with a Redis server of their own unless SPEAKER_REDIS_URL is set."""
    from speaker_tasks.launcher.up import run_up

    run_up(load_settings(), _print_addresses, gpus=gpus or None)


def demo(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Your own folder with one sub-folder for each speaker; one clip of each is kept for recognition."
        ),
    ] = None,
) -> None:
    """Show the service at work: start it, enrol speakers, recognise other clips of theirs, print a table, stop it."""
    from speaker_tasks.launcher.demo import run_demo

    raise typer.Exit(run_demo(load_settings(), data, console))


def _print_addresses(settings: Settings, ready: dict[str, Any]) -> None:
    from speaker_tasks.launcher.demo import SPEAKERS
    from speaker_tasks.launcher.procfile import flower_url, web_url

    lines = [f"\n[bold green]ready[/]  web {web_url(settings)}  flower {flower_url(settings)}  model {ready['model']}"]
    lines.append(f"open [bold]{web_url(settings)}[/] in a browser; Ctrl-C here stops it all")
    if not _anyone_enrolled(settings):
        lines.append(f"nobody is enrolled yet: a page does it, or speaker-tasks enroll {_short(SPEAKERS)} --bank demo")
    lines.append(f"or ask: curl -s -F audio=@{_short(SPEAKERS / 'Alice' / '5.ogg')} {web_url(settings)}/v1/identify\n")
    console.print("\n".join(lines), soft_wrap=True)


def _anyone_enrolled(settings: Settings) -> bool:
    from banks.store import BankStore
    from speaker_tasks.celery_app import redis_client

    with closing(redis_client(settings)) as client:
        return bool(BankStore(client).names())


def _short(path: Path) -> Path:
    """The path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
