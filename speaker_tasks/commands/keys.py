"""`speaker-tasks keys new`: an API key, shown once, and the entry that the service keeps of it."""

from __future__ import annotations

from typing import Annotated

import typer

from speaker_tasks import apikeys
from speaker_tasks.commands.edge import console
from speaker_tasks.commands.service import AsJson, show_json

app = typer.Typer(help="Make API keys.", no_args_is_help=True)


@app.callback()
def _keys() -> None:
    """API keys: hashed at rest, each with its scopes."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the key's owner, shown in jobs and in the audit log.")],
    scopes: Annotated[
        str, typer.Option(help="What the key may do: read, recognize, enroll, admin, metrics; joined by +.")
    ] = "read+recognize",
    as_json: AsJson = False,
) -> None:
    """Make an API key. It is shown once and not stored."""
    key = apikeys.new_key()
    entry = apikeys.entry(name, scopes.split("+"), key)
    if as_json:
        show_json({"key": key, "entry": entry})
        return
    console.print(
        f"the key, for its owner, shown only now:\n{key}\n\nits entry, with which the service is started:\n"
        f"SPEAKER_API_KEYS='{entry}' make up",
        soft_wrap=True,
    )
