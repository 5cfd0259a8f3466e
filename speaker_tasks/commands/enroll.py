"""`speaker-tasks enroll`: send recordings through the queue, show how it goes, print what became of each."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from speaker_tasks.commands.edge import connected_settings, console, grid, who
from speaker_tasks.commands.outputs import check_writable, write_bank, write_report, written
from speaker_tasks.commands.service import AsJson, show_json
from speaker_tasks.commands.uploads import check_size, uploaded
from speaker_tasks.errors import Conflict, Malformed, SpeakerTasksError, Unusable

if TYPE_CHECKING:
    from enrollment.sources import Options
    from speaker_tasks.client import TaskClient
    from speaker_tasks.jobs import JobRecord

POLL_SECONDS = 0.2
WRONG_IN_SOURCE = frozenset({"missing", "outside_roots", "bad_row", "bad_name"})
"""Outcomes of rows that somebody has to mend: the exit status is then not 0, though the others are enrolled."""
SHOWN_ROWS = 20
"""Recordings that were left out which are printed; the rest is in the report file."""

Encoding = Annotated[
    str | None,
    typer.Option(
        help="Of a CSV table, a JSON file or a zip archive's names, that are not UTF-8: cp950 (Big5), gb18030 (GBK)."
    ),
]


class Mode(StrEnum):
    """What to do with a bank that is there already."""

    CREATE = "create"
    ADD = "add"
    REPLACE = "replace"


def enroll(
    *,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="A folder with one sub-folder a speaker, a workbook (.xlsx, .xls), a JSON dictionary, a CSV table, "
            "a zip or tar archive, or an fsspec URL of a folder; with --name the recordings of one person.",
        ),
    ],
    bank: Annotated[str, typer.Option(help="The bank to write.")],
    name: Annotated[
        str | None, typer.Option(help="Enroll the recordings as this person: files, and folders of files.")
    ] = None,
    mode: Annotated[
        Mode, typer.Option(help="create: the bank must be new; add clips to speakers; replace the clips of speakers.")
    ] = Mode.ADD,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Do everything but write the bank.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also enroll recordings that the quality checks would leave out.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Also write the whole bank to this npz file.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write the report to this file, .csv or .json.")] = None,
    root: Annotated[
        str | None, typer.Option(help="Folder where relative paths, or the folders of a workbook's sheets, start.")
    ] = None,
    recording: Annotated[
        str, typer.Option(help="Workbook: the recording's column, by index from 0, header or letter.")
    ] = "0",
    speaker: Annotated[
        str, typer.Option(help="Workbook: the speaker's column, by index from 0, header or letter.")
    ] = "5",
    skip_sheet: Annotated[list[str] | None, typer.Option(help="Workbook: a sheet that holds no data.")] = None,
    skip_last: Annotated[int, typer.Option(help="Workbook: how many sheets at the end hold no data.")] = 2,
    pattern: Annotated[str | None, typer.Option(help="Workbook: where a recording lies.")] = None,
    encoding: Encoding = None,
    qualify: Annotated[
        bool, typer.Option("--qualify", help="RTTM: enroll labels like SPEAKER_00 as '<file> SPEAKER_00'.")
    ] = False,
    upload: Annotated[
        bool | None,
        typer.Option(
            "--upload/--no-upload",
            help="Send the recordings through Redis instead of their paths. Default: for what is not below "
            "SPEAKER_DATA_ROOTS, which the workers do not read.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Enroll speakers into a bank and print what became of each recording."""
    from speaker_tasks.client import TaskClient

    for path in filter(None, (report, save)):
        check_writable(path)
    client = TaskClient(connected_settings(), who=who())
    options = _options(
        root=root,
        recording=recording,
        speaker=speaker,
        skip_sheet=skip_sheet or [],
        skip_last=skip_last,
        pattern=pattern,
        encoding=encoding,
        qualify=qualify or None,
    )
    arguments = {"mode": mode.value, "dry_run": dry_run, "force": force}
    if name is not None:
        job = submit_person(client, name, sources, bank=bank, options=options, upload=upload, **arguments)
    elif len(sources) > 1:
        raise Malformed(f"one source at a time; got {len(sources)}. To enroll files as one person, use --name")
    else:
        job = submit(client, sources[0], bank=bank, options=options, upload=upload, **arguments)
    if not as_json and not client.workers():
        console.print("[yellow]no worker is alive yet; the job waits for one[/]")
    ended = follow(client, job, quiet=as_json)
    entries = client.long_jobs.report(job.id)
    if as_json:
        show_json(ended.to_dict())
    else:
        _print_summary(ended, entries)
    try:
        if report is not None:
            write_report(report, entries)
    finally:
        if ended.state in ("succeeded", "partial") and save is not None and not dry_run:
            write_bank(client.redis, bank, save)
            if not as_json:
                console.print(f"saved to {save}", soft_wrap=True)
    refuse(ended, entries)


def dictionary(
    *,
    workbook: Annotated[Path, typer.Argument(help="A conference workbook, or another source.")],
    path: Annotated[Path, typer.Argument(help="The JSON file to write.")] = Path("morning_speaker_dict.json"),
    root: Annotated[str | None, typer.Option(help="Where the sheets' folders lie.")] = None,
    recording: Annotated[str, typer.Option(help="The recording's column, by index from 0, header or letter.")] = "0",
    speaker: Annotated[str, typer.Option(help="The speaker's column, by index from 0, header or letter.")] = "5",
    skip_sheet: Annotated[list[str] | None, typer.Option(help="A sheet that holds no data.")] = None,
    skip_last: Annotated[int, typer.Option(help="How many sheets at the end hold no data.")] = 2,
    pattern: Annotated[str | None, typer.Option(help="Where a recording lies.")] = None,
    encoding: Encoding = None,
) -> None:
    """Write a workbook's speakers and recordings as a JSON dictionary, which `enroll` reads too."""
    from enrollment import dictionary as writer
    from enrollment import sources

    check_writable(path)
    options = _options(
        root=root,
        recording=recording,
        speaker=speaker,
        skip_sheet=skip_sheet or [],
        skip_last=skip_last,
        pattern=pattern,
        encoding=encoding,
    )
    manifest = sources.read(str(workbook), sources.Options.from_dict(options))
    with written(path):
        writer.write(manifest, path)
    _print_left_out([outcome.to_dict() for outcome in manifest.skipped])
    console.print(f"{len(manifest.speakers)} speakers, {len(manifest.entries)} recordings: {path}", soft_wrap=True)


def submit_person(
    client: TaskClient,
    name: str,
    places: list[str],
    *,
    bank: str,
    options: dict[str, Any],
    upload: bool | None,
    **arguments: Any,
) -> JobRecord:
    """Send recordings as one person's. Raises `Malformed`, `NotFound`, `Unusable`, `TooLarge`."""
    from banks.names import clean_bank_name, clean_name
    from enrollment import sources

    sources.Options.from_dict(options).check_for("a list of recordings")
    manifest = sources.of_person(clean_name(name), places)
    if upload is None:
        upload = not all(_readable(Path(entry.path), client) for entry in manifest.entries)
    if upload:
        manifest = uploaded(client, manifest)
    return client.enroll_manifest(manifest.to_dict(), bank=clean_bank_name(bank), **arguments)


def submit(
    client: TaskClient, source: str, *, bank: str, options: dict[str, Any], upload: bool | None, **arguments: Any
) -> JobRecord:
    """Send a path, or what lies there. Raises what reading the source raises, and `TooLarge`."""
    from banks.names import clean_bank_name
    from enrollment import sources

    name = clean_bank_name(bank)
    if "://" in source:
        about = {"bank": name, "source": source}
        return client.enroll(about, bank=name, source={"path": source}, options=options, **arguments)
    path = Path(source).absolute()
    packed = path.is_file() and sources.kind_of(path) == sources.Kind.ARCHIVE
    if upload is None:
        upload = not _readable(path, client) or (packed and "encoding" in options)
    if not upload:
        about = {"bank": name, "source": str(path)}
        return client.enroll(about, bank=name, source={"path": str(path)}, options=options, **arguments)
    if packed:
        check_size(path.stat().st_size, client)
        if "encoding" in options:
            return _submit_unpacked(client, path, sources.Options.from_dict(options), bank=name, **arguments)
        key = client.keep(path.read_bytes())
        about = {"bank": name, "source": path.name}
        return client.enroll(about, bank=name, source={"archive": key}, options=options, **arguments)
    manifest = uploaded(client, sources.read(str(path), sources.Options.from_dict(options)))
    return client.enroll_manifest(manifest.to_dict(), bank=name, **arguments)


def _submit_unpacked(client: TaskClient, path: Path, options: Options, **arguments: Any) -> JobRecord:
    """Unpack an archive here, where the encoding of its names is known, and send the recordings."""
    from enrollment import archive, folder

    limits = archive.Limits(total_bytes=client.settings.max_upload_bytes)
    with tempfile.TemporaryDirectory(prefix="enroll-") as temporary:
        top = archive.unpack(path.read_bytes(), Path(temporary), limits, encoding=options.encoding)
        manifest = uploaded(client, folder.scan(top, qualify=options.qualify))
    manifest = replace(manifest, skipped=tuple(replace(one, path=one.row) for one in manifest.skipped))
    return client.enroll_manifest(manifest.to_dict(), **arguments)


def _readable(path: Path, client: TaskClient) -> bool:
    """Whether the workers may read the path, as far as this machine's settings tell."""
    from enrollment.roots import OutsideRoots, inside

    try:
        inside(path, client.settings.data_roots)
    except OutsideRoots:
        return False
    return True


def _options(
    *, root: str | None, recording: str, speaker: str, skip_sheet: list[str], **others: int | str | None
) -> dict[str, Any]:
    given: dict[str, Any] = {
        "root": root if root is None or "://" in root else str(Path(root).absolute()),
        "recording": int(recording) if recording.isdigit() else recording,
        "speaker": int(speaker) if speaker.isdigit() else speaker,
        "skip_sheets": skip_sheet,
        **others,
    }
    return {name: value for name, value in given.items() if value not in (None, [])}


def follow(client: TaskClient, job: JobRecord, *, quiet: bool = False) -> JobRecord:
    """Show a bar until the job has ended; Ctrl-C cancels the job."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=quiet) as progress:
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
            while not job.over:  # it writes its bank, and will end
                time.sleep(POLL_SECONDS)
                job = client.job(job.id)
    return job


def refuse(job: JobRecord, entries: Iterable[dict[str, Any]] = ()) -> None:
    """Raise the error of a job that did not enroll every speaker, or whose source names what is not there."""
    from speaker_tasks.client import outcome

    if job.state == "canceled":
        raise Conflict("the enrollment was canceled; the bank is as it was")
    try:
        result = outcome(job)
    except Unusable as error:  # the service names its own option
        raise type(error)(error.message.replace("`force`", "`--force`"), **error.details) from None
    are = "would be" if result.get("dry_run") else "are"
    without = result.get("speakers_without", [])
    if without:
        raise Unusable(f"no usable recording of {', '.join(without)}; the others {are} enrolled", speakers=without)
    if job.state not in ("succeeded", "partial"):
        raise SpeakerTasksError(f"the job ended as {job.state}")
    wrong = Counter(entry["outcome"] for entry in entries if entry["outcome"] in WRONG_IN_SOURCE)
    if wrong:
        counts = ", ".join(f"{count} {outcome}" for outcome, count in wrong.items())
        rest = "the rest would be enrolled" if result.get("dry_run") else "the rest is enrolled"
        raise Unusable(f"the source names what cannot be enrolled: {counts}; {rest}", outcomes=dict(wrong))


def _print_summary(job: JobRecord, entries: list[dict[str, Any]]) -> None:
    result = job.result or {}
    if result:
        for warning in result.get("warnings", []):
            console.print(f"[yellow]{escape(warning)}[/]", soft_wrap=True)
        version = "would change" if result["dry_run"] else f"version {result['version']}"
        console.print(
            f"bank [bold]{result['bank']}[/] {version} ({result['model']}): "
            f"{result['speakers']} speakers, {result['enrolled']} recordings enrolled, {result['left_out']} left out",
            soft_wrap=True,
        )
    _print_left_out(entries)


def _print_left_out(entries: list[dict[str, Any]]) -> None:
    left_out = [entry for entry in entries if entry["outcome"] != "enrolled"]
    if not left_out:
        return
    reasons = Counter(entry["outcome"] for entry in left_out)
    table = grid("recording", "speaker", "reason", "message", title=", ".join(f"{n} {r}" for r, n in reasons.items()))
    for entry in left_out[:SHOWN_ROWS]:
        cells = (entry["row"] or entry["path"], entry["speaker"], entry["outcome"], entry["message"])
        table.add_row(*map(escape, cells))
    console.print(table)
    if len(left_out) > SHOWN_ROWS:
        console.print(f"and {len(left_out) - SHOWN_ROWS} more; --report FILE writes them all")
