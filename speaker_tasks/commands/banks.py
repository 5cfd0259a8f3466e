"""`speaker-tasks banks ...`: look at banks and change them; each change is a new version that can be rolled back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speaker_tasks.commands.edge import connected_settings, console, grid, who
from speaker_tasks.commands.outputs import check_writable, written
from speaker_tasks.commands.service import AsJson, show_json
from speaker_tasks.errors import Conflict

if TYPE_CHECKING:
    from speaker_tasks.bankkeeper import BankKeeper, Change

app = typer.Typer(help="Look at the banks of enrolled speakers and change them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The bank.")]
Speaker = Annotated[str, typer.Argument(help="The speaker.")]
Version = Annotated[int | None, typer.Option(help="A kept version; default: the newest.")]


@app.command("list")
def list_banks(as_json: AsJson = False) -> None:
    """All banks: version, model, speakers."""
    if as_json:
        for bank in _keeper().overview():
            show_json(bank)
        return
    table = grid("bank", "version", "model", "speakers", "created", "source")
    for bank in _keeper().overview():
        cells = (bank[key] for key in ("name", "version", "model", "speakers", "created", "source"))
        table.add_row(*(str(cell) for cell in cells))
    console.print(table)


@app.command()
def show(name: Name, version: Version = None, as_json: AsJson = False) -> None:
    """The speakers of a bank, and its kept versions."""
    keeper = _keeper()
    about = keeper.about(name)
    if as_json:
        show_json({**about, "people": keeper.speakers(name, version)})
        return
    console.print(
        f"bank [bold]{name}[/]: version {version or about['version']} of {about['versions']}, model {about['model']}",
        soft_wrap=True,
    )
    table = grid("speaker", "recordings", "seconds")
    for speaker in keeper.speakers(name, version):
        table.add_row(speaker["label"], str(speaker["recordings"]), f"{speaker['seconds']:.1f}")
    console.print(table)


@app.command()
def create(
    name: Name,
    model: Annotated[str, typer.Option(help="Id of the model whose vectors it is to hold.")],
    as_json: AsJson = False,
) -> None:
    """A new bank without speakers."""
    _done(_keeper().create(name, model), as_json)


@app.command("import")
def import_npz(
    path: Annotated[Path, typer.Argument(help="An npz file, of the first server or of ours.")],
    name: Name,
    model: Annotated[str | None, typer.Option(help="The model that made it, if the file does not say so.")] = None,
    replace: Annotated[bool, typer.Option(help="Write a new version of a bank that is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read an npz file into a bank."""
    _done(_keeper().import_npz(name, path, model=model, replace_it=replace), as_json)


@app.command("export")
def export_npz(
    name: Name,
    path: Annotated[Path, typer.Argument(help="The file.")],
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Write a bank to an npz file that the first server's readers read too."""
    check_writable(path)
    with written(path):
        _keeper().export_npz(name, path, version)
    _saved(name, str(path), as_json)


@app.command()
def copy(name: Name, to: Annotated[str, typer.Argument(help="The new bank.")], as_json: AsJson = False) -> None:
    """The same bank under another name."""
    _done(_keeper().copy(name, to), as_json)


@app.command()
def union(
    to: Annotated[str, typer.Argument(help="The new bank.")],
    names: Annotated[list[str], typer.Argument(help="The banks to unite.")],
    as_json: AsJson = False,
) -> None:
    """A new bank of all speakers of others; who is in two of them has the recordings of both."""
    _done(_keeper().unite(names, to), as_json)


@app.command()
def rename(
    name: Name, speaker: Speaker, to: Annotated[str, typer.Argument(help="The new name.")], as_json: AsJson = False
) -> None:
    """Give a speaker another name."""
    _done(_keeper().rename(name, speaker, to), as_json)


@app.command()
def merge(
    name: Name,
    speaker: Speaker,
    into: Annotated[str, typer.Argument(help="Who gets the recordings.")],
    as_json: AsJson = False,
) -> None:
    """Make one speaker of two."""
    _done(_keeper().merge(name, speaker, into), as_json)


@app.command()
def remove(
    name: Name,
    speaker: Speaker,
    purge: Annotated[
        bool, typer.Option("--purge", help="From every version, the snapshot and the caches too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a speaker. Earlier versions keep it for a rollback, unless it is purged."""
    keeper = _keeper()
    _done(keeper.purge(name, speaker) if purge else keeper.remove(name, speaker), as_json)


@app.command()
def delete(
    name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, as_json: AsJson = False
) -> None:
    """Delete a bank with all its versions and its snapshot."""
    if not yes and not typer.confirm(f"Delete bank {name} with all its versions?"):
        raise Conflict("nothing was deleted")
    warnings = list(_keeper().delete(name))
    if as_json:
        show_json({"bank": name, "deleted": True, "warnings": warnings})
        return
    for warning in warnings:
        console.print(f"[yellow]{warning}[/]")
    console.print(f"bank {name} is deleted")


@app.command()
def rollback(
    name: Name,
    to: Annotated[int | None, typer.Option(help="Default: the version before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an earlier version the newest again."""
    _done(_keeper().rollback(name, to), as_json)


@app.command()
def diff(
    name: Name,
    before: Annotated[int | None, typer.Option(help="Default: the version before the last.")] = None,
    after: Annotated[int | None, typer.Option(help="Default: the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """What changed between two versions."""
    found = _keeper().diff(name, before, after)
    if as_json:
        show_json(found.to_dict())
        return
    table = grid("change", "speaker", "recordings", "cosine")
    for label in found.added:
        table.add_row("[green]added[/]", label, "", "")
    for label in found.removed:
        table.add_row("[red]removed[/]", label, "", "")
    for old, new in found.renamed:
        table.add_row("renamed", f"{old} -> {new}", "", "")
    for change in found.changed:
        table.add_row("changed", change.label, f"{change.count_before} -> {change.count_after}", f"{change.cosine:.4f}")
    console.print(table)


@app.command()
def cohort(
    name: Name,
    other: Annotated[str | None, typer.Argument(help="A bank of other people; without it, none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Tell the bank's scores also as AS-norm against the speakers of another bank."""
    _keeper().set_cohort(name, other)
    if as_json:
        show_json({"bank": name, "cohort": other})
        return
    console.print(f"bank [bold]{name}[/]: {f'AS-norm against {other}' if other else 'no AS-norm'}")


@app.command("re-enroll")
def re_enroll(
    name: Name,
    to: Annotated[str | None, typer.Option(help="Another bank to write; default: the same one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Build a bank again from its recordings, under the model that the workers run now."""
    from speaker_tasks.client import TaskClient
    from speaker_tasks.commands.enroll import follow, refuse

    client = TaskClient(connected_settings(), who=who())
    about = {"bank": to or name, "source": f"bank {name}"}
    mode = "create" if to else "rebuild"
    asked = client.enroll(about, bank=to or name, source={"bank": name}, mode=mode, force=True)
    job = follow(client, asked, quiet=as_json)
    refuse(job)
    result = job.result or {}
    if as_json:
        show_json(result)
        return
    console.print(f"bank [bold]{result['bank']}[/] is at version {result['version']}, model {result['model']}")


@app.command()
def use(
    name: Annotated[str, typer.Argument(help="The bank, or `all`.")],
    as_json: AsJson = False,
) -> None:
    """Make a bank the active one: the one that is asked where a question names none."""
    from banks.active import ActiveMode

    keeper = _keeper()
    mode = keeper.activate(ActiveMode(keeper.store), name)
    show_json({"active": mode}) if as_json else console.print(f"questions that name no bank ask [bold]{mode}[/]")


@app.command()
def audit(
    name: Annotated[str | None, typer.Argument(help="Of one bank only.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many entries, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Who changed which bank, and when."""
    entries = _keeper().audit.newest(limit, bank=name)
    if as_json:
        for entry in entries:
            show_json(entry)
        return
    table = grid("when", "who", "bank", "what", "status", whole=["when"])
    for entry in entries:
        table.add_row(entry["when"][:19], entry["who"], entry["bank"], entry["what"], str(entry["status"]))
    console.print(table)


@app.command()
def snapshot(name: Name, as_json: AsJson = False) -> None:
    """Write a bank's snapshot now, to the place that SPEAKER_SNAPSHOTS names."""
    _saved(name, str(_keeper().snapshot(name)), as_json)


def _keeper() -> BankKeeper:
    from speaker_tasks.bankkeeper import BankKeeper
    from speaker_tasks.celery_app import redis_client

    settings = connected_settings()
    return BankKeeper(redis_client(settings), settings, who=who())


def _saved(name: str, place: str, as_json: bool) -> None:
    if as_json:
        show_json({"bank": name, "saved": place})
        return
    console.print(f"saved to {place}", soft_wrap=True)


def _done(change: Change, as_json: bool) -> None:
    if as_json:
        show_json(change.to_dict())
        return
    for warning in change.warnings:
        console.print(f"[yellow]{warning}[/]", soft_wrap=True)
    console.print(f"bank [bold]{change.bank}[/] is at version {change.version}")
