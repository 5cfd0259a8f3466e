"""`speaker-tasks enroll`: send a folder of speakers through the queue, show how it goes, print what became of it."""

from __future__ import annotations

import time
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from speaker_tasks.commands.edge import connected_settings, console
from speaker_tasks.errors import Conflict, SpeakerTasksError, TooLarge, Unusable

if TYPE_CHECKING:
    from enrollment.manifest import Entry, Manifest
    from speaker_tasks.client import TaskClient
    from speaker_tasks.jobs import JobRecord

POLL_SECONDS = 0.2
SHOWN_ROWS = 20
"""Recordings that were left out which are printed; the rest is in the report file."""


class Mode(StrEnum):
    """What to do with a bank that is there already."""

    CREATE = "create"
    ADD = "add"
    REPLACE = "replace"


def enroll(
    *,
    source: Annotated[Path, typer.Argument(help="A folder with one sub-folder of recordings a speaker.")],
    bank: Annotated[str, typer.Option(help="The bank to write.")],
    mode: Annotated[
        Mode, typer.Option(help="create: the bank must be new; add clips to speakers; replace the clips of speakers.")
    ] = Mode.ADD,
    save: Annotated[Path | None, typer.Option(help="Also write the whole bank to this npz file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report to this file, .csv or .json.")] = None,
    upload: Annotated[
        bool | None,
        typer.Option(
            "--upload/--no-upload",
            help="Send the recordings through Redis instead of their paths. Default: for folders that are not below "
            "SPEAKER_DATA_ROOTS, which the workers do not read.",
        ),
    ] = None,
) -> None:
    """Enroll a folder of speakers into a bank, as a job on the queue."""
    from speaker_tasks.client import TaskClient

    client = TaskClient(connected_settings())
    job = submit(client, source.absolute(), bank=bank, mode=mode, upload=upload)
    if not client.workers():
        console.print("[yellow]no worker is alive yet; the job waits for one[/]")
    ended = follow(client, job)
    entries = client.long_jobs.report(job.id)
    if report is not None:
        _write_report(report, entries)
    _print_summary(ended, entries)
    if ended.state in ("succeeded", "partial") and save is not None:
        _save(client, bank, save)
    refuse(ended)


def submit(client: TaskClient, folder: Path, *, bank: str, mode: Mode, upload: bool | None) -> JobRecord:
    """Send the folder's path, or its recordings' bytes. Raises what scanning raises, and `TooLarge`."""
    from banks.names import clean_bank_name
    from enrollment.folder import scan
    from enrollment.roots import OutsideRoots, inside

    name, manifest = clean_bank_name(bank), scan(folder)
    if upload is None:
        try:
            inside(folder, client.settings.data_roots)
        except OutsideRoots:
            upload = True
    if upload:
        manifest = _uploaded(client, manifest)
    return client.enroll_manifest(manifest.to_dict(), bank=name, mode=mode.value)


def follow(client: TaskClient, job: JobRecord) -> JobRecord:
    """Show a bar until the job has ended; Ctrl-C cancels the job."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("queued", total=None, left="")
        try:
            while not job.over:
                time.sleep(POLL_SECONDS)
                job = client.job(job.id)
                left = f"[red]{job.failed} left out[/]" if job.failed else ""
                total = job.total or None
                progress.update(bar, description=job.state, total=total, completed=job.done + job.failed, left=left)
        except KeyboardInterrupt:
            job = client.cancel(job.id)
    return job


def refuse(job: JobRecord) -> None:
    """Raise the error of a job that did not enroll every speaker."""
    from speaker_tasks.client import outcome

    if job.state == "canceled":
        raise Conflict("the enrollment was canceled; the bank is as it was")
    without = outcome(job).get("speakers_without", [])
    if without:
        raise Unusable(f"no usable recording of {', '.join(without)}; the others are enrolled", speakers=without)
    if job.state not in ("succeeded", "partial"):
        raise SpeakerTasksError(f"the job ended as {job.state}")


def _uploaded(client: TaskClient, manifest: Manifest) -> Manifest:
    from dataclasses import replace

    from speaker_tasks.payloads import Audio

    size = sum(Path(entry.path).stat().st_size for entry in manifest.entries)
    if size > client.settings.max_upload_bytes:
        allowed = client.settings.max_upload_bytes / 1e6
        raise TooLarge(
            f"{size / 1e6:.0f} MB of recordings are too many to send through Redis ({allowed:.0f} MB are allowed): let "
            "the workers read the folder by SPEAKER_DATA_ROOTS",
            bytes=size,
        )

    def sent(entry: Entry) -> Entry:
        try:
            data = Path(entry.path).read_bytes()
        except OSError:
            data = b""
        return replace(entry, path=f"payload:{client.keep(Audio.of_file(data).pack())}")

    return replace(manifest, entries=tuple(sent(entry) for entry in manifest.entries))


def _print_summary(job: JobRecord, entries: list[dict[str, Any]]) -> None:
    result = job.result or {}
    if result:
        console.print(
            f"bank [bold]{result['bank']}[/] version {result['version']} ({result['model']}): "
            f"{result['speakers']} speakers, {result['enrolled']} recordings enrolled, {result['left_out']} left out",
            soft_wrap=True,
        )
    left_out = [entry for entry in entries if entry["outcome"] != "enrolled"]
    if not left_out:
        return
    reasons = Counter(entry["outcome"] for entry in left_out)
    table = Table("recording", "speaker", "reason", "message", title=", ".join(f"{n} {r}" for r, n in reasons.items()))
    for entry in left_out[:SHOWN_ROWS]:
        table.add_row(entry["row"] or entry["path"], entry["speaker"], entry["outcome"], entry["message"])
    console.print(table)
    if len(left_out) > SHOWN_ROWS:
        console.print(f"and {len(left_out) - SHOWN_ROWS} more; --report FILE writes them all")


def _write_report(path: Path, entries: list[dict[str, Any]]) -> None:
    from enrollment.report import Outcome, Report

    report = Report.of(Outcome.from_dict(entry) for entry in entries)
    path.write_text(report.to_csv() if path.suffix.lower() == ".csv" else report.to_json(), encoding="utf-8")


def _save(client: TaskClient, bank: str, path: Path) -> None:
    from banks.names import clean_bank_name
    from banks.npz import write_npz
    from banks.store import BankStore

    write_npz(path, BankStore(client.redis).get(clean_bank_name(bank), clips=True))
    console.print(f"saved to {path}")
