"""`speaker-tasks timeline`: who spoke when in a recording, by name; and its corrections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from speaker_tasks.commands.edge import console, grid
from speaker_tasks.commands.outputs import check_writable, written
from speaker_tasks.commands.service import AsJson, Key, Url, recordings, service, show_json

if TYPE_CHECKING:
    from speaker_tasks.sdk.client import Job, Timeline
    from speaker_tasks.sdk.client import Progress as Tell

Recording = Annotated[str, typer.Argument(help="A file, or - for standard input.")]
Bank = Annotated[str | None, typer.Option(help="Whose names; default: the active bank.")]
Roster = Annotated[list[str] | None, typer.Option(help="Who of the bank may be present; repeat it for each.")]
JobId = Annotated[str, typer.Argument(help="The job of the timeline.", metavar="JOB")]
FORMATS = ("rttm", "srt", "vtt", "png")


def _output(what: str) -> Any:
    return typer.Option(help=f"Write {what} there.", metavar="FILE")


def timeline(
    recording: Recording,
    bank: Bank = None,
    roster: Roster = None,
    speakers: Annotated[int | None, typer.Option(min=1, max=50, help="How many people speak, if known.")] = None,
    min_speakers: Annotated[int | None, typer.Option(min=1, max=50)] = None,
    max_speakers: Annotated[int | None, typer.Option(min=1, max=50)] = None,
    overlap: Annotated[bool, typer.Option(help="Two may speak at once, or one at a time.")] = True,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="The workers read the file where it is (SPEAKER_DATA_ROOTS).")
    ] = False,
    exclusive: Annotated[bool, typer.Option("--exclusive", help="RTTM, SRT and WebVTT without overlap.")] = False,
    rttm: Annotated[Path | None, _output("RTTM")] = None,
    srt: Annotated[Path | None, _output("SubRip subtitles")] = None,
    vtt: Annotated[Path | None, _output("WebVTT subtitles")] = None,
    plot: Annotated[Path | None, _output("a picture (PNG)")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show who spoke when in a recording, by the names of a bank; others are unknown-1, unknown-2 and so on."""
    wanted = {form: path for form, path in zip(FORMATS, (rttm, srt, vtt, plot), strict=True) if path is not None}
    for path in wanted.values():
        check_writable(path)
    with service(url, key) as client:
        content = recording if in_place else next(content for _, content in recordings([recording]))
        with _progress() as progress:
            made = client.timeline(
                content,
                bank=bank,
                roster=roster,
                speakers=speakers,
                min_speakers=min_speakers,
                max_speakers=max_speakers,
                overlap=overlap,
                in_place=in_place,
                progress=progress,
            )
        for form, path in wanted.items():
            with written(path):
                path.write_bytes(client.timeline_as(made.job, form, exclusive=exclusive))
    _show(made, as_json)


def show(
    job: JobId,
    form: Annotated[str | None, typer.Option("--format", help="rttm, srt, vtt or png; default: a table.")] = None,
    out: Annotated[Path | None, _output("it")] = None,
    exclusive: Annotated[bool, typer.Option("--exclusive", help="Without overlap.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show a timeline with its corrections so far."""
    with service(url, key) as client:
        if form is None:
            return _show(client.timeline_of(job), as_json)
        content = client.timeline_as(job, form, exclusive=exclusive)
    if out is not None:
        check_writable(out)
        with written(out):
            out.write_bytes(content)
    else:
        typer.echo(content, nl=False)
    return None


def name(
    job: JobId,
    speaker: Annotated[str, typer.Argument(help="A speaker of the timeline, such as unknown-1.")],
    to: Annotated[str, typer.Argument(help="Their name.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Name a speaker of a timeline."""
    _correct(job, "name", {"speaker": speaker, "name": to}, url, key, as_json)


def reassign(
    job: JobId,
    turn: Annotated[int, typer.Argument(help="The number of the turn.")],
    speaker: Annotated[str, typer.Argument(help="Whose it is.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Give a turn to another speaker."""
    _correct(job, "reassign", {"turn": turn, "speaker": speaker}, url, key, as_json)


def merge(
    job: JobId,
    speaker: Annotated[str, typer.Argument(help="Whose turns go.")],
    into: Annotated[str, typer.Argument(help="Who gets them.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Merge two speakers into one."""
    _correct(job, "merge", {"speaker": speaker, "into": into}, url, key, as_json)


def undo(job: JobId, url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Undo the last correction."""
    _correct(job, "undo", {}, url, key, as_json)


def enroll(
    job: JobId,
    speaker: Annotated[str, typer.Argument(help="A speaker of the timeline.")],
    bank: Annotated[str, typer.Option(help="The bank.")],
    to: Annotated[str | None, typer.Option("--name", help="Their name; default: as in the timeline.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Pass over the quality gates.")] = False,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Enrol a speaker of a timeline from the turns in which they speak alone; `banks rollback` undoes it."""
    with service(url, key) as client:
        result = client.enroll_from(job, speaker, bank, name=to, force=force)
    if as_json:
        return show_json(result)
    console.print(
        f"{escape(result['speaker'])} is enrolled in {escape(result['bank'])} by {result['clips']} clips of "
        f"{result['seconds']:.0f} s: version {result['version']}"
    )
    for warning in result["warnings"]:
        console.print(f"[yellow]{escape(warning)}[/]", soft_wrap=True)
    return None


app = typer.Typer(help="Timelines that were made: look at them, correct them, enrol from them.", no_args_is_help=True)
for _command in (show, name, reassign, merge, undo, enroll):
    app.command()(_command)


def _correct(job: str, action: str, said: Mapping[str, Any], url: str | None, key: str | None, as_json: bool) -> None:
    with service(url, key) as client:
        corrected = client.correct(job, action, **said)
    _show(corrected, as_json)


def _show(timeline: Timeline, as_json: bool) -> None:
    if as_json:
        return show_json({"job": timeline.job, **timeline.raw})
    turns = grid("turn", "from", "to", "speaker", "", whole=("turn", "from", "to"))
    for one in timeline.turns:
        more = "overlap" if one.overlap else ""
        turns.add_row(str(one.id), _clock(one.start), _clock(one.end), escape(one.speaker), more)
    console.print(turns)
    people = grid("speaker", "speech", "score", "prob.", "why", whole=("speech", "score", "prob."))
    for one in timeline.raw["speakers"]:
        numbers = ("" if value is None else f"{value:.3f}" for value in (one["score"], one["probability"]))
        why = one["reason"].replace("_", " ")
        people.add_row(escape(one["speaker"]), f"{one['seconds']:.1f} s", *numbers, why)
    console.print(people)
    for warning in timeline.raw["warnings"]:
        console.print(f"[yellow]{escape(warning)}[/]", soft_wrap=True)
    console.print(
        f"timeline {timeline.job}, revision {timeline.revision}: `speaker-tasks timelines --help` corrects it"
    )
    return None


@contextmanager
def _progress() -> Iterator[Tell]:
    """A progress bar on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    errors = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        line = bar.add_task("listening", total=None)

        def tell(job: Job) -> None:
            bar.update(line, total=job.total or None, completed=job.done, description=job.state)

        yield tell


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:05.2f}"
