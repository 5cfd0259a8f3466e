"""The command line: `speaker-tasks COMMAND`. An error of our tree is one line on standard error and its exit status.

The commands live in `speaker_tasks.commands`, one noun a module; each imports what is heavy when it runs, so that
`speaker-tasks --help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperCommand
from typer.models import CommandInfo

from speaker_tasks.commands import (
    backup,
    banks,
    calibrate,
    doctor,
    enroll,
    evaluate,
    flower,
    jobs,
    keys,
    questions,
    stack,
    timeline,
    train,
    web,
    weights,
    worker,
)
from speaker_tasks.commands.examples import EXAMPLES
from speaker_tasks.errors import ConfigurationError, RedisAway, SpeakerTasksError
from speaker_tasks.redis_server import is_refusal, refusal
from speaker_tasks.variables import forget_foreign

app = typer.Typer(
    name="speaker-tasks",
    help="Speaker recognition as a service: enrol people, ask who is speaking.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _print_version(given: bool) -> None:
    if given:
        print(f"speaker-tasks {version('speaker-tasks')}")  # noqa: T201
        raise typer.Exit()


@app.callback()
def _program(
    _: Annotated[bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print it.")] = False,
) -> None:
    """Speaker recognition as a service: enrol people, ask who is speaking."""


def commands(group: typer.Typer, name: str = "") -> Iterator[tuple[str, CommandInfo]]:
    """Each command with its words: `up`, `banks list`."""
    for one in group.registered_commands:
        word = one.name or (one.callback.__name__ if one.callback else "")
        yield name + word.replace("_", "-"), one
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            yield from commands(inner.typer_instance, f"{name}{inner.name} ")


class Command(TyperCommand):
    """A command that also takes `--version`, and says of `--url` where it works without HTTP."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """The arguments that are left. Raises `ConfigurationError` for a `--url` that cannot be meant."""
        own = {option for one in self.params for option in one.opts}
        if "--version" in args and "--version" not in own:
            _print_version(True)
        if "--url" not in own and any(one.partition("=")[0] == "--url" for one in args):
            raise ConfigurationError(
                f"`{self.name}` does not work over HTTP: SPEAKER_REDIS_URL names the service's Redis server; what "
                "there is over HTTP says docs/api.md"
            )
        return super().parse_args(ctx, args)


app.command("up")(stack.up)
app.command("demo")(stack.demo)
app.command("flower")(flower.flower)
app.command("web")(web.web)
app.command("worker")(worker.worker)
app.command("identify")(questions.identify)
app.command("verify")(questions.verify)
app.command("compare")(questions.compare)
app.command("timeline")(timeline.timeline)
app.command("enroll")(enroll.enroll)
app.command("calibrate")(calibrate.calibrate)
app.command("models")(jobs.models)
app.command("doctor")(doctor.doctor)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.command("dictionary")(enroll.dictionary)
app.command("evaluate")(evaluate.evaluate)
app.command("train")(train.train)
app.add_typer(banks.app, name="banks")
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")
app.add_typer(weights.app, name="weights")
app.add_typer(timeline.app, name="timelines")
for _name, _command in commands(app):
    _command.cls, _command.epilog = Command, f"Example: {EXAMPLES[_name]}"


def main() -> None:
    """Entry point of the `speaker-tasks` program."""
    forget_foreign(os.environ)
    try:
        app()
    except SpeakerTasksError as error:
        _end(error)
    except _redis_errors() as error:
        refused = refusal(error)
        _end(refused if is_refusal(error) else RedisAway(f"{refused.message}: {error}"))


def _end(error: SpeakerTasksError) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(Text.assemble(("error: ", "bold red"), error.message))
    sys.exit(error.exit_status)


def _redis_errors() -> tuple[type[Exception], ...]:
    """What redis-py raises when the server is away or full; a command that never imported it raises none of it."""
    module = sys.modules.get("redis")
    return (
        (module.ConnectionError, module.TimeoutError, module.OutOfMemoryError, module.ReadOnlyError) if module else ()
    )
