"""`speaker-tasks keys new`: an API key, shown once, and the entry that the service keeps of it."""

from __future__ import annotations

from typing import Annotated

import typer

from speaker_tasks import apikeys
from speaker_tasks.commands.edge import console
from speaker_tasks.commands.service import AsJson, show_json

app = typer.Typer(help="API keys.", no_args_is_help=True)


@app.callback()
def _keys() -> None:
    """API keys: hashed at rest, each with its scopes."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Whose key it is; it stands in jobs and in the audit log.")],
    scopes: Annotated[str, typer.Option(help="read, recognize, enroll, admin; joined by +.")] = "read+recognize",
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown here and kept nowhere."""
    key = apikeys.new_key()
    entry = apikeys.entry(name, scopes.split("+"), key)
    if as_json:
        show_json({"key": key, "entry": entry})
        return
    console.print(f"the key, for the client:\n{key}\n\nits entry, for SPEAKER_API_KEYS:\n{entry}", soft_wrap=True)
