"""`speaker-tasks identify | verify | compare`: ask a running service about recordings.

Exit status: 0 for a match (identify: for any answer), 10 for unknown, 11 for inconclusive, else that of the error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from speaker_tasks.commands.edge import console, grid
from speaker_tasks.commands.service import AsJson, Key, Sources, Threshold, Url, recordings, service, show_json
from speaker_tasks.errors import NotFound, SpeakerTasksError, Unusable

if TYPE_CHECKING:
    from rich.table import Table

    from speaker_tasks.sdk.client import Identification, SpeakerTasks, Verification

UNKNOWN_STATUS, INCONCLUSIVE_STATUS = 10, 11
STATUS = {"match": 0, "unknown": UNKNOWN_STATUS, "inconclusive": INCONCLUSIVE_STATUS}
NUMBERS = ("decision", "score", "prob.", "speech")
OF_THE_RECORDING = {413, 415, 422}
"""Statuses of errors that the next recording need not have."""
COLOURS = {"match": "green", "unknown": "yellow", "inconclusive": "magenta"}

Bank = Annotated[str | None, typer.Option(help="The bank to search; default: the active one.")]


def identify(
    sources: Sources,
    bank: Bank = None,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="How many candidates to list in the JSON.")] = 5,
    threshold: Threshold = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Say who speaks in each recording: a match, nobody who is enrolled, or inconclusive and why.

    A recording that cannot be used does not stop the others; the exit status is that of the first error.
    """
    table = grid("recording", "decision", "speaker", "score", "prob.", "speech", "why", whole=NUMBERS)
    failed: SpeakerTasksError | None = None
    bank_answer: dict[str, Any] = {}
    try:
        with service(url, key) as client:
            for name, recording in _each(sources):
                answer = _asked(client, recording, bank=bank, top_k=top_k, threshold=threshold)
                if isinstance(answer, SpeakerTasksError):
                    failed = failed or answer
                    _failed(table, name, answer, as_json)
                elif as_json:
                    show_json({"recording": name, **answer.raw})
                else:
                    table.add_row(*_row(name, answer))
                    bank_answer = answer.raw.get("bank", {})
    finally:
        if table.row_count:
            console.print(table)
        for line in _on_bank(bank_answer):
            console.print(line, soft_wrap=True)
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
    """Check whether a recording is of the claimed speaker. Exit status: 0 match, 10 unknown, 11 inconclusive."""
    with service(url, key) as client:
        ((_, content),) = recordings([recording])
        answer = client.verify(content, speaker, bank=bank, threshold=threshold)
    _judge(answer, as_json)


def compare(
    first: Annotated[str, typer.Argument(help="A file.")],
    second: Annotated[str, typer.Argument(help="A file, or - for standard input.")],
    threshold: Threshold = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Check whether two recordings are of one speaker. Exit status: 0 match, 10 unknown, 11 inconclusive."""
    with service(url, key) as client:
        one, other = (content for _, content in recordings([first, second]))
        answer = client.compare(one, other, threshold=threshold)
    _judge(answer, as_json)


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
    client: SpeakerTasks, recording: bytes | SpeakerTasksError, **options: Any
) -> Identification | SpeakerTasksError:
    """The answer, or what is wrong with the recording. Raises what is wrong with anything else."""
    if isinstance(recording, SpeakerTasksError):
        return recording
    if not recording:
        return Unusable("the recording is empty (0 bytes)")
    try:
        return client.identify(recording, **options)
    except SpeakerTasksError as error:
        if error.status not in OF_THE_RECORDING:
            raise
        return error


def _judge(answer: Verification, as_json: bool) -> None:
    if as_json:
        show_json(answer.raw)
    else:
        sure = "" if answer.probability is None else f", probability {answer.probability:.3f}"
        colour = COLOURS[answer.decision]
        console.print(f"[{colour}]{answer.decision}[/]: {answer.raw['message']}{sure}", soft_wrap=True)
        for line in _damage(answer.raw):
            console.print(f"[yellow]a recording is {line}[/]", soft_wrap=True)
    raise typer.Exit(STATUS[answer.decision])


def _row(name: str, answer: Identification) -> tuple[str, ...]:
    return (
        escape(name),
        f"[{COLOURS[answer.decision]}]{answer.decision}[/]",
        escape(answer.speaker) if answer.speaker else _nearest(answer),
        f"{answer.score:.3f}",
        "" if answer.probability is None else f"{answer.probability:.3f}",
        f"{answer.speech_seconds:.1f} s",
        "; ".join([answer.reason.replace("_", " "), *_damage(answer.raw)]),
    )


def _damage(answer: Mapping[str, Any]) -> list[str]:
    """What is missing of the recordings of an answer, for each that is damaged."""
    heard = answer.get("recordings", [answer])
    lost = [one.get("seconds_lost", 0.0) for one in heard if one.get("damaged")]
    return [f"damaged, about {seconds:.1f} s lost" if seconds >= 0.05 else "damaged" for seconds in lost]


def _on_bank(bank: dict[str, Any]) -> list[str]:
    """Which banks were asked where none was named, and which ones could not be."""
    lines = []
    if bank.get("default") and bank["name"] not in bank.get("banks", []):
        lines.append(f"no --bank was given: asked {bank['name']}, which is {', '.join(bank['banks']) or 'empty'}")
    elif bank.get("default"):
        lines.append(f"no --bank was given: asked {bank['name']}")
    return lines + [f"[yellow]{why}: it was left out[/]" for why in bank.get("left_out", {}).values()]


def _nearest(answer: Identification) -> str:
    """Who is most like a voice that is nobody's for sure."""
    return f"[dim]nearest:[/] {escape(answer.candidates[0].speaker)}" if answer.candidates else ""


def _failed(table: Table, name: str, error: SpeakerTasksError, as_json: bool) -> None:
    row: dict[str, Any] = {"recording": name, "error": error.to_dict()}
    if as_json:
        show_json(row)
    else:
        table.add_row(escape(name), "[red]error[/]", "", "", "", "", escape(error.message))
