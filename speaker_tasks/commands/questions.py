"""`speaker-tasks identify | verify | compare`: ask a running service about recordings.

Exit status: 0 for a match (identify: for any answer), 10 for unknown, 11 for inconclusive, else that of the error.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from speaker_tasks.commands.edge import console, grid
from speaker_tasks.commands.service import AsJson, Key, Sources, Threshold, Url, recordings, service, show_json
from speaker_tasks.errors import NotFound, SpeakerTasksError, Unusable

if TYPE_CHECKING:
    from rich.table import Table

    from speaker_tasks.http_client import Identification, SpeakerTasks, Verification

UNKNOWN_STATUS, INCONCLUSIVE_STATUS = 10, 11
STATUS = {"match": 0, "unknown": UNKNOWN_STATUS, "inconclusive": INCONCLUSIVE_STATUS}
NUMBERS = ("decision", "score", "margin", "probability", "speech s")
OF_THE_RECORDING = {413, 415, 422}
"""Statuses of errors that the next recording need not have."""
COLOURS = {"match": "green", "unknown": "yellow", "inconclusive": "magenta"}

Bank = Annotated[str | None, typer.Option(help="The bank; default: the active one.")]


def identify(
    sources: Sources,
    bank: Bank = None,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="Candidates in the JSON.")] = 5,
    threshold: Threshold = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Who speaks: a match, nobody who is enrolled, or inconclusive and why.

    A recording that cannot be used does not stop the others; the exit status is then that of the first such error.
    """
    table = grid("recording", "decision", "speaker", "score", "margin", "probability", "speech s", "why", whole=NUMBERS)
    failed: SpeakerTasksError | None = None
    try:
        with service(url, key) as client:
            for name, recording in _each(sources):
                found = _asked(client, recording, bank=bank, top_k=top_k, threshold=threshold)
                if isinstance(found, SpeakerTasksError):
                    failed = failed or found
                    _failed(table, name, found, as_json)
                elif as_json:
                    show_json({"recording": name, **found.raw})
                else:
                    table.add_row(*_row(name, found))
    finally:
        if table.row_count:
            console.print(table)
    if failed is not None:
        raise typer.Exit(failed.exit_status)


def verify(
    speaker: Annotated[str, typer.Argument(help="The claimed speaker.")],
    recording: Annotated[str, typer.Argument(help="A file, or - for standard input.")],
    bank: Bank = None,
    threshold: Threshold = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Whether the claimed speaker speaks. Exit status: 0 match, 10 unknown, 11 inconclusive."""
    with service(url, key) as client:
        ((_, content),) = recordings([recording])
        found = client.verify(content, speaker, bank=bank, threshold=threshold)
    _judge(found, as_json)


def compare(
    first: Annotated[str, typer.Argument(help="A file.")],
    second: Annotated[str, typer.Argument(help="A file, or - for standard input.")],
    threshold: Threshold = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Whether two recordings are of one voice. Exit status: 0 match, 10 unknown, 11 inconclusive."""
    with service(url, key) as client:
        one, other = (content for _, content in recordings([first, second]))
        found = client.compare(one, other, threshold=threshold)
    _judge(found, as_json)


def _each(sources: list[str]) -> Iterator[tuple[str, bytes | SpeakerTasksError]]:
    """Each recording's bytes, or why there are none."""
    for source in sources:
        try:
            for name, recording in recordings([source]):
                yield name, _content(recording) if isinstance(recording, Path) else recording
        except NotFound as error:  # a folder without recordings
            yield source, error


def _content(path: Path) -> bytes | SpeakerTasksError:
    try:
        return path.read_bytes()
    except OSError as error:
        return NotFound(f"{path} cannot be read: {error.strerror}", path=str(path))


def _asked(
    client: SpeakerTasks, recording: bytes | SpeakerTasksError, **asked: Any
) -> Identification | SpeakerTasksError:
    """The answer, or what is wrong with the recording. Raises what is wrong with anything else."""
    if isinstance(recording, SpeakerTasksError):
        return recording
    if not recording:
        return Unusable("the recording is empty (0 bytes)")
    try:
        return client.identify(recording, **asked)
    except SpeakerTasksError as error:
        if error.status not in OF_THE_RECORDING:
            raise
        return error


def _judge(found: Verification, as_json: bool) -> None:
    if as_json:
        show_json(found.raw)
    else:
        sure = "" if found.probability is None else f", probability {found.probability:.3f}"
        colour = COLOURS[found.decision]
        console.print(f"[{colour}]{found.decision}[/]: {found.raw['message']}{sure}", soft_wrap=True)
    raise typer.Exit(STATUS[found.decision])


def _row(name: str, found: Identification) -> tuple[str, ...]:
    return (
        name,
        f"[{COLOURS[found.decision]}]{found.decision}[/]",
        found.speaker or "",
        f"{found.score:.3f}",
        "" if found.margin is None else f"{found.margin:.3f}",
        "" if found.probability is None else f"{found.probability:.3f}",
        f"{found.speech_seconds:.1f}",
        found.reason,
    )


def _failed(table: Table, name: str, error: SpeakerTasksError, as_json: bool) -> None:
    told: dict[str, Any] = {"recording": name, "error": error.to_dict()}
    if as_json:
        show_json(told)
    else:
        table.add_row(name, "[red]error[/]", "", "", "", "", "", error.message)
