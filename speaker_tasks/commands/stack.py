"""Commands that run processes on this machine: the whole stack, the demo, Flower."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from speaker_tasks.commands.edge import connected_settings, console, load_settings
from speaker_tasks.settings import Settings

FLOWER_TASKS = 500
"""Tasks that Flower remembers; its own choice, 100,000, takes some hundred megabytes."""


def up() -> None:
    """Run web, worker and Flower here until Ctrl-C; with a Redis server of its own unless SPEAKER_REDIS_URL is set."""
    from speaker_tasks.launcher.up import run_up

    raise typer.Exit(run_up(load_settings(), _print_addresses))


def demo(
    data: Annotated[
        Path | None, typer.Option(help="Your own folder, one sub-folder a speaker; one clip of each is left out.")
    ] = None,
) -> None:
    """Enrol speakers through the queue, recognise clips that were not enrolled, print a table, stop everything."""
    from speaker_tasks.launcher.demo import run_demo

    raise typer.Exit(run_demo(load_settings(), data, console))


def flower() -> None:
    """Run Flower, the page that watches the workers."""
    from speaker_tasks.celery_app import make_celery

    settings = connected_settings()
    make_celery(settings).start(
        argv=[
            "--quiet",
            "flower",
            f"--address={settings.flower_host}",
            f"--port={settings.flower_port}",
            f"--max-tasks={FLOWER_TASKS}",
        ]
    )


def _print_addresses(settings: Settings, ready: dict[str, Any]) -> None:
    from speaker_tasks.launcher.demo import SPEAKERS
    from speaker_tasks.launcher.procfile import flower_url, web_url

    lines = [f"\n[bold green]ready[/]  web {web_url(settings)}  flower {flower_url(settings)}  model {ready['model']}"]
    if not _anyone_enrolled(settings):
        lines.append(f"nobody is enrolled yet: speaker-tasks enroll {_short(SPEAKERS)} --bank demo")
    lines.append(f"curl -s -F audio=@{_short(SPEAKERS / 'Alice' / '5.ogg')} {web_url(settings)}/v1/identify\n")
    console.print("\n".join(lines), soft_wrap=True)


def _anyone_enrolled(settings: Settings) -> bool:
    from banks.store import BankStore
    from speaker_tasks.celery_app import redis_client

    with closing(redis_client(settings)) as client:
        return bool(BankStore(client).names())


def _short(path: Path) -> Path:
    """The path as one would type it here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
