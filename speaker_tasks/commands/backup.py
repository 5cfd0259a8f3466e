"""`speaker-tasks backup` and `restore`: the banks, their settings, the audit log and the API keys, in one file."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from speaker_tasks.commands.edge import connected_settings, console
from speaker_tasks.commands.service import AsJson, show_json
from speaker_tasks.errors import Conflict
from speaker_tasks.operations.backup import About


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; an old one is replaced.")], as_json: AsJson = False
) -> None:
    """Write all banks with their versions, settings, the audit log and the API keys' file into one file."""
    from speaker_tasks.celery_app import redis_client
    from speaker_tasks.operations.backup import back_up

    settings = connected_settings()
    keys = settings.api_keys_file.read_text(encoding="utf-8-sig") if settings.api_keys_file else ""
    with closing(redis_client(settings)) as client:
        _show(back_up(client, file, keys=keys), f"in {file} ({file.stat().st_size / 1e6:.1f} MB)", as_json=as_json)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `backup` wrote.")],
    replace: Annotated[bool, typer.Option(help="Delete the banks that there are.")] = False,
    keys: Annotated[Path | None, typer.Option(help="Where to write the API keys' entries; must not exist.")] = None,
    as_json: AsJson = False,
) -> None:
    """Put the banks of a backup into the service's Redis server; running workers see them at once."""
    from speaker_tasks.celery_app import redis_client
    from speaker_tasks.operations import backup as backups

    if keys is not None and keys.exists():
        raise Conflict(f"{keys} exists already; name another file, or move it away")
    with closing(redis_client(connected_settings())) as client:
        about = backups.restore(client, file, replace=replace)
    if keys is not None and (entries := backups.api_keys(file)):
        keys.touch(mode=0o600)
        keys.write_text(entries, encoding="utf-8")
    _show(about, "restored", as_json=as_json)


def _show(about: About, done: str, *, as_json: bool) -> None:
    if as_json:
        show_json({name: value for name, value in asdict(about).items() if name != "members"})
        return
    console.print(f"{len(about.banks)} banks {done}: {', '.join(about.banks) or 'none'}", soft_wrap=True)
