"""`speaker-tasks jobs ...`, `models`, `workers`: look at a running service."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from speaker_tasks.commands.edge import console, grid
from speaker_tasks.commands.service import AsJson, Key, Url, service, show_json

app = typer.Typer(help="What goes on, and what came of it.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(help="The job's id.", metavar="JOB")]


@app.command("list")
def list_jobs(
    kind: Annotated[str | None, typer.Option(help="identify, verify, vector, compare, enroll, ...")] = None,
    state: Annotated[str | None, typer.Option(help="queued, running, succeeded, failed, canceled, expired.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 20,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """The newest jobs first."""
    with service(url, key) as client:
        found = client.jobs(kind=kind, state=state, limit=limit)
    if as_json:
        for job in found:
            show_json(job.raw)
        return
    table = grid("job", "kind", "state", "created", "done", "failed", whole=["job", "kind", "state", "done"])
    for job in found:
        created = str(job.raw["created"])[5:19].replace("T", " ")
        table.add_row(job.id, job.kind, job.state, created, f"{job.done}/{job.total}", str(job.failed))
    console.print(table)


@app.command()
def show(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """One job's record."""
    with service(url, key) as client:
        found = client.job(job_id)
    if as_json:
        show_json(found.raw)
    else:
        console.print_json(json.dumps(found.raw, ensure_ascii=False))


@app.command()
def wait(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Wait until a job has ended, with a bar; exit status 0 if it ended well."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with service(url, key) as client, Progress(*columns, console=console, disable=as_json) as bar:
        task = bar.add_task(job_id, total=None)
        found = client.wait(
            job_id,
            progress=lambda job: bar.update(
                task, description=job.state, total=job.total or None, completed=job.done + job.failed
            ),
        )
    if as_json:
        show_json(found.raw)
    else:
        console.print(f"{found.state}")
    if found.state != "succeeded":
        raise typer.Exit(1)


@app.command()
def cancel(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Cancel a job that has not ended."""
    with service(url, key) as client:
        found = client.cancel(job_id)
    if as_json:
        show_json(found.raw)
    else:
        console.print(f"{found.id} is {found.state}")


def models(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """The models that are loaded: where, in which precision, whether warm."""
    with service(url, key) as client:
        found = client.models()
    if as_json:
        for model in found:
            show_json(model)
        return
    table = grid("model", "workers", "devices", "runtimes", "precisions", "warm")
    for model in found:
        lists = (", ".join(model[name]) for name in ("devices", "runtimes", "precisions"))
        table.add_row(model["id"], str(model["workers"]), *lists, "yes" if model["warm"] else "no")
    console.print(table)
