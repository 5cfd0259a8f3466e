"""`speaker-tasks identify | verify | compare`: ask a running service about recordings.

Exit status: 0 for a match (identify: for any answer), 10 for unknown, 11 for inconclusive, else that of the error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from speaker_tasks.commands.edge import console, grid
from speaker_tasks.commands.service import AsJson, Key, Sources, Threshold, Url, recordings, service, show_json
from speaker_tasks.errors import SpeakerTasksError

if TYPE_CHECKING:
    from rich.table import Table

    from speaker_tasks.http_client import Identification, Verification

UNKNOWN_STATUS, INCONCLUSIVE_STATUS = 10, 11
STATUS = {"match": 0, "unknown": UNKNOWN_STATUS, "inconclusive": INCONCLUSIVE_STATUS}
NUMBERS = ("decision", "score", "margin", "probability", "speech s")
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
    with service(url, key) as client:
        for name, recording in recordings(sources):
            try:
                found = client.identify(recording, bank=bank, top_k=top_k, threshold=threshold)
            except SpeakerTasksError as error:
                if error.status not in {404, 413, 415, 422} or (error.status == 404 and bank is not None):
                    raise
                failed = failed or error
                _failed(table, name, error, as_json)
                continue
            if as_json:
                show_json({"recording": name, **found.raw})
            else:
                table.add_row(*_row(name, found))
    if not as_json:
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
