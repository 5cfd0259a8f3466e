"""`speaker-tasks jobs ...`, `models`, `workers`: look at a running service."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from speaker_tasks.commands.edge import console, grid
from speaker_tasks.commands.service import AsJson, Key, Url, service, show_json

app = typer.Typer(help="Running and ended jobs.", no_args_is_help=True)

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
    """List jobs, the newest first."""
    with service(url, key) as client:
        jobs = client.jobs(kind=kind, state=state, limit=limit)
    if as_json:
        for job in jobs:
            show_json(job.raw)
        return
    table = grid("job", "kind", "state", "created", "done", "failed", whole=["job", "kind", "state", "done"])
    for job in jobs:
        created = str(job.raw["created"])[5:19].replace("T", " ")
        table.add_row(job.id, job.kind, job.state, created, f"{job.done}/{job.total}", str(job.failed))
    console.print(table)


@app.command()
def show(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show one job."""
    with service(url, key) as client:
        job = client.job(job_id)
    if as_json:
        show_json(job.raw)
    else:
        console.print_json(json.dumps(job.raw, ensure_ascii=False))


@app.command()
def wait(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Wait until a job has ended and show its progress. Exit status 0 if it succeeded."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with service(url, key) as client, Progress(*columns, console=console, disable=as_json) as bar:
        task = bar.add_task(job_id, total=None)
        ended = client.wait(
            job_id,
            progress=lambda job: bar.update(
                task, description=job.state, total=job.total or None, completed=job.done + job.failed
            ),
        )
    if as_json:
        show_json(ended.raw)
    else:
        console.print(f"{ended.state}")
    if ended.state != "succeeded":
        raise typer.Exit(1)


@app.command()
def cancel(job_id: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Cancel a job that has not ended."""
    with service(url, key) as client:
        job = client.cancel(job_id)
    if as_json:
        show_json(job.raw)
    else:
        console.print(f"{job.id} is {job.state}")


def models(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """List the models that workers have loaded, with their device and precision."""
    with service(url, key) as client:
        answer = client.models()
    if as_json:
        for model in answer:
            show_json(model)
        return
    table = grid("model", "workers", "devices", "runtimes", "precisions", "warm")
    for model in answer:
        lists = (", ".join(model[name]) for name in ("devices", "runtimes", "precisions"))
        table.add_row(model["id"], str(model["workers"]), *lists, "yes" if model["warm"] else "no")
    console.print(table)
