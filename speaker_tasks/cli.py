"""The command line: `speaker-tasks COMMAND`. An error of our tree is one line on standard error and its exit status.

The commands live in `speaker_tasks.commands`, one noun a module; each imports what is heavy when it runs, so that
`speaker-tasks --help` is quick.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer
from rich.console import Console
from rich.text import Text

from speaker_tasks.commands import (
    banks,
    calibrate,
    doctor,
    enroll,
    evaluate,
    jobs,
    keys,
    questions,
    stack,
    train,
    weights,
    worker,
)
from speaker_tasks.errors import RedisAway, SpeakerTasksError

app = typer.Typer(
    name="speaker-tasks",
    help="Speaker recognition as a service: enrol people, ask who is speaking.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)

app.command("up")(stack.up)
app.command("demo")(stack.demo)
app.command("flower")(stack.flower)
app.command("worker")(worker.worker)
app.command("identify")(questions.identify)
app.command("verify")(questions.verify)
app.command("compare")(questions.compare)
app.command("enroll")(enroll.enroll)
app.command("calibrate")(calibrate.calibrate)
app.command("models")(jobs.models)
app.command("doctor")(doctor.doctor)
app.command("dictionary")(enroll.dictionary)
app.command("evaluate")(evaluate.evaluate)
app.command("train")(train.train)
app.add_typer(banks.app, name="banks")
app.add_typer(jobs.app, name="jobs")
app.add_typer(keys.app, name="keys")
app.add_typer(weights.app, name="weights")


def main() -> None:
    """Entry point of the `speaker-tasks` program."""
    try:
        app()
    except SpeakerTasksError as error:
        _end(error)
    except _redis_errors() as error:
        _end(RedisAway(f"the Redis server does not answer: {error}"))


def _end(error: SpeakerTasksError) -> NoReturn:
    Console(stderr=True, soft_wrap=True).print(Text.assemble(("error: ", "bold red"), error.message))
    sys.exit(error.exit_status)


def _redis_errors() -> tuple[type[Exception], ...]:
    """What redis-py raises when the server is away; a command that never imported it raises none of it."""
    module = sys.modules.get("redis")
    return (module.ConnectionError, module.TimeoutError) if module else ()
