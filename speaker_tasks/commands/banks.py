"""`speaker-tasks banks ...`: look at banks and change them; each change is a new version that can be rolled back."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from speaker_tasks.commands.edge import connected_settings, console, grid, who
from speaker_tasks.commands.outputs import check_writable, written
from speaker_tasks.commands.service import AsJson, show_json
from speaker_tasks.errors import Conflict, SpeakerTasksError, Unusable

if TYPE_CHECKING:
    from speaker_tasks.commands.bankcheck import Recognised
    from speaker_tasks.operations.banks import BankKeeper, Change

app = typer.Typer(help="Show and change the banks of enrolled speakers.", no_args_is_help=True)

MOST_CHECKED = 5_000
"""Clips of a bank up to which `show` also tells who would be recognised; `check` does so for any bank."""

Name = Annotated[str, typer.Argument(help="The bank.")]
Speaker = Annotated[str, typer.Argument(help="The speaker.")]
Keys = Annotated[list[str], typer.Argument(help="Keys, or their first characters; `banks clips` lists them.")]
Version = Annotated[int | None, typer.Option(help="A kept version; default: the newest.")]


@app.command("list")
def list_banks(as_json: AsJson = False) -> None:
    """List all banks with version, model and number of speakers."""
    if as_json:
        for bank in _keeper().overview():
            show_json(bank)
        return
    from banks.active import ActiveMode

    keeper = _keeper()
    table = grid("bank", "version", "model", "speakers", "created", "source")
    for bank in keeper.overview():
        cells = (bank[key] for key in ("name", "version", "model", "speakers", "created", "source"))
        table.add_row(*(str(cell) for cell in cells))
    console.print(table)
    for warning in keeper.left_out().values():
        console.print(f"[yellow]{escape(warning)}[/]", soft_wrap=True)
    console.print(f"questions that name no bank ask [bold]{ActiveMode(keeper.store).mode()}[/]", soft_wrap=True)


@app.command()
def show(name: Name, version: Version = None, as_json: AsJson = False) -> None:
    """Show the speakers of a bank and the versions that are kept."""
    keeper = _keeper()
    about = keeper.about(name)
    checks = {one.speaker: one for one in _checked(keeper, name, version)}
    if as_json:
        people = keeper.speakers(name, version)
        tried = {
            label: {"named": one.named, "clips": one.clips, "nearest": one.nearest} for label, one in checks.items()
        }
        show_json({**about, "people": [person | tried.get(person["label"], {}) for person in people]})
        return
    console.print(
        f"bank [bold]{name}[/]: version {version or about['version']} of {about['versions']}, model {about['model']}",
        soft_wrap=True,
    )
    table = grid("speaker", "recordings", "seconds", *(["named"] if checks else []))
    for speaker in keeper.speakers(name, version):
        one = checks.get(speaker["label"])
        named = [] if one is None else [f"{one.named} of {one.clips}" if one.clips else "?"]
        table.add_row(escape(speaker["label"]), str(speaker["recordings"]), f"{speaker['seconds']:.1f}", *named)
    console.print(table)
    for warning in _warnings_of(checks.values()):
        console.print(f"[yellow]{escape(warning)}[/]", soft_wrap=True)


@app.command()
def check(name: Name, as_json: AsJson = False) -> None:
    """Check which speakers of a bank would be recognised: each clip is compared with the bank without that clip."""
    from speaker_tasks.commands import bankcheck

    keeper = _keeper()
    checks = bankcheck.check(keeper, keeper.store.get(name, clips=True))
    if not checks:
        raise Unusable(f"bank {name!r} keeps no clips, or its model has no thresholds: nothing can be tried")
    checks.sort(key=lambda one: (one.named / one.clips if one.clips else 0.5, one.speaker))
    if as_json:
        for one in checks:
            show_json(one.to_dict())
        return
    table = grid("speaker", "named", "nearest", "why not", whole=["named"])
    for one in checks:
        named = f"{one.named} of {one.clips}" if one.clips else "one clip"
        speaker = f"[yellow]{escape(one.speaker)}[/]" if one.doubtful else escape(one.speaker)
        table.add_row(speaker, named, escape(one.nearest or ""), one.reason or "")
    console.print(table)
    for warning in _warnings_of(checks):
        console.print(f"[yellow]{escape(warning)}[/]", soft_wrap=True)


@app.command()
def create(
    name: Name,
    model: Annotated[str, typer.Option(help="Id of the model whose vectors it will hold.")],
    as_json: AsJson = False,
) -> None:
    """Create an empty bank."""
    _done(_keeper().create(name, model), as_json)


@app.command("import")
def import_npz(
    path: Annotated[Path, typer.Argument(help="An npz file, from the older server or from `banks export`.")],
    name: Name,
    model: Annotated[
        str | None, typer.Option(help="The model that made the vectors, if the file does not name it.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="If the bank exists, write a new version of it.")] = False,
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
    """Write a bank to an npz file, which the older server can read too."""
    check_writable(path)
    with written(path):
        _keeper().export_npz(name, path, version)
    _saved(name, str(path), as_json)


@app.command()
def copy(name: Name, to: Annotated[str, typer.Argument(help="The new bank.")], as_json: AsJson = False) -> None:
    """Copy a bank to a new name."""
    _done(_keeper().copy(name, to), as_json)


@app.command()
def union(
    to: Annotated[str, typer.Argument(help="The new bank.")],
    names: Annotated[list[str], typer.Argument(help="The banks to unite.")],
    as_json: AsJson = False,
) -> None:
    """Make a new bank of all speakers of several banks. A speaker in two of them gets the recordings of both."""
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
    into: Annotated[str, typer.Argument(help="The speaker who gets the recordings.")],
    as_json: AsJson = False,
) -> None:
    """Merge a speaker into another one."""
    _done(_keeper().merge(name, speaker, into), as_json)


@app.command()
def remove(
    name: Name,
    speaker: Speaker,
    purge: Annotated[
        bool, typer.Option("--purge", help="Also remove it from every version, snapshot and cache.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a speaker. Earlier versions keep it for a rollback, unless --purge is given."""
    keeper = _keeper()
    _done(keeper.purge(name, speaker) if purge else keeper.remove(name, speaker), as_json)


@app.command()
def clips(name: Name, speaker: Speaker, as_json: AsJson = False) -> None:
    """List a speaker's recordings, with the similarity to the speaker's others and to the nearest other speaker."""
    rows = _keeper().clips(name, speaker)
    if as_json:
        for clip in rows:
            show_json(clip)
        return
    table = grid("key", "seconds", "cosine", "nearest other", "recording", whole=["seconds", "cosine"])
    for clip in rows:
        nearest = "" if clip["nearest"] is None else f"{escape(clip['nearest'])} {clip['nearest_cosine']:.2f}"
        cosine = "" if clip["cosine"] is None else f"{clip['cosine']:.2f}"
        table.add_row(_short(clip["key"]), f"{clip['seconds']:.1f}", cosine, nearest, escape(_place(clip)))
    console.print(table)


@app.command("remove-clip")
def remove_clip(name: Name, keys: Keys, as_json: AsJson = False) -> None:
    """Remove recordings. Earlier versions keep them for a rollback."""
    _done(_keeper().remove_clips(name, keys), as_json)


@app.command("move-clip")
def move_clip(
    name: Name,
    keys: Keys,
    to: Annotated[str, typer.Option(help="The speaker who gets them.")],
    new: Annotated[bool, typer.Option("--new", help="Create the speaker if the bank does not have it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give recordings to another speaker."""
    _done(_keeper().move_clips(name, keys, to, new=new), as_json)


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
        console.print(f"[yellow]{escape(warning)}[/]")
    console.print(f"bank {name} is deleted")


@app.command()
def rollback(
    name: Name,
    to: Annotated[int | None, typer.Option(help="Default: the version before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Go back to the version before; repeat to go further back. `banks redo` goes forward."""
    _done(_keeper().rollback(name, to), as_json)


@app.command()
def redo(name: Name, as_json: AsJson = False) -> None:
    """Undo the last rollback; repeat to undo the one before it."""
    _done(_keeper().redo(name), as_json)


@app.command()
def diff(
    name: Name,
    before: Annotated[int | None, typer.Option(help="Default: the version before the last.")] = None,
    after: Annotated[int | None, typer.Option(help="Default: the newest.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what changed between two versions of a bank."""
    changes = _keeper().diff(name, before, after)
    if as_json:
        show_json(changes.to_dict())
        return
    table = grid("change", "speaker", "recordings", "cosine")
    for label in changes.added:
        table.add_row("[green]added[/]", escape(label), "", "")
    for label in changes.removed:
        table.add_row("[red]removed[/]", escape(label), "", "")
    for old, new in changes.renamed:
        table.add_row("renamed", escape(f"{old} -> {new}"), "", "")
    for change in changes.changed:
        table.add_row(
            "changed", escape(change.label), f"{change.count_before} -> {change.count_after}", f"{change.cosine:.4f}"
        )
    console.print(table)


@app.command()
def cohort(
    name: Name,
    other: Annotated[
        str | None, typer.Argument(help="A bank of other people; leave it out to remove the cohort.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add AS-norm scores to this bank's answers, with another bank's speakers as the cohort."""
    _keeper().set_cohort(name, other)
    if as_json:
        show_json({"bank": name, "cohort": other})
        return
    console.print(f"bank [bold]{name}[/]: {f'AS-norm against {other}' if other else 'no AS-norm'}")


@app.command("re-enroll")
def re_enroll(
    name: Name,
    to: Annotated[str | None, typer.Option(help="Bank to write; default: the same one.")] = None,
    model: Annotated[str | None, typer.Option(help="The model's id, where workers run several.")] = None,
    as_json: AsJson = False,
) -> None:
    """Build a bank again from its recordings with the model that the workers run now."""
    from speaker_tasks.client import TaskClient
    from speaker_tasks.commands.enroll import follow, refuse

    client = TaskClient(connected_settings(), who=who())
    about = {"bank": to or name, "source": f"bank {name}"}
    mode = "create" if to else "rebuild"
    under = {"model": model} if model else {}
    queued = client.enroll(about, bank=to or name, source={"bank": name}, mode=mode, force=True, **under)
    job = follow(client, queued, quiet=as_json)
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
    """Make a bank the active one, which is searched when a request names no bank."""
    from banks.active import ActiveMode

    keeper = _keeper()
    mode = keeper.activate(ActiveMode(keeper.store), name)
    show_json({"active": mode}) if as_json else console.print(f"questions that name no bank ask [bold]{mode}[/]")


@app.command()
def audit(
    name: Annotated[str | None, typer.Argument(help="Only changes of this bank.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many entries to list, the newest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List who changed which bank, and when."""
    entries = _keeper().audit.newest(limit, bank=name)
    if as_json:
        for entry in entries:
            show_json(entry)
        return
    table = grid("when", "who", "bank", "what", "status", whole=["when"])
    for entry in entries:
        table.add_row(entry["when"][:19], entry["who"], entry["bank"], escape(entry["what"]), str(entry["status"]))
    console.print(table)


@app.command()
def snapshot(name: Name, as_json: AsJson = False) -> None:
    """Write a bank's snapshot now, to the place that SPEAKER_SNAPSHOTS names."""
    _saved(name, str(_keeper().snapshot(name)), as_json)


def _keeper() -> BankKeeper:
    from speaker_tasks.celery_app import redis_client
    from speaker_tasks.operations.banks import BankKeeper

    settings = connected_settings()
    return BankKeeper(redis_client(settings), settings, who=who())


def _checked(keeper: BankKeeper, name: str, version: int | None) -> list[Recognised]:
    """What becomes of the bank's own clips; nothing where that takes long, or the model is not on this machine."""
    from speaker_tasks.commands import bankcheck

    bank = keeper.store.get(name, version=version, clips=True)
    if bank.clips is None or len(bank.clips) > MOST_CHECKED:
        return []
    with suppress(SpeakerTasksError):  # other weights are set up here
        return bankcheck.check(keeper, bank)
    return []


def _warnings_of(checks: Iterable[Recognised]) -> list[str]:
    from speaker_tasks.commands import bankcheck

    return bankcheck.warnings(list(checks))


def _short(key: str) -> str:
    """As much of a key as names it: a hash of 32 digits may be cut, a part of a recording may not."""
    return key if "@" in key else key[:16]


def _place(clip: dict[str, Any]) -> str:
    """Where a recording was read, and which part of it is meant."""
    place = clip["path"] or "not kept"
    if clip["start"] is None:
        return str(place)
    return f"{place} {clip['start']:g}-{'' if clip['end'] is None else format(clip['end'], 'g')} s"


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
        console.print(f"[yellow]{escape(warning)}[/]", soft_wrap=True)
    console.print(f"bank [bold]{change.bank}[/] is at version {change.version}")
