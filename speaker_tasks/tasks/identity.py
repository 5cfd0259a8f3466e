"""Whose the recordings of an enrollment are: earlier names of a bank's speakers, and one recording under two names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from banks.bank import Bank
from enrollment.report import Outcome, Reason
from speaker_tasks.tasks.assemble import Clip, outcome, shown

SHOWN = 20
"""Pairs of names that the warnings tell; the report has all."""


@dataclass
class Checked:
    """The recordings that are left, and what became of the others."""

    clips: list[Clip]
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """By the recording's key in the job."""
    warnings: list[str] = field(default_factory=list)


def check(bank: Bank | None, clips: Sequence[Clip], mode: str, *, force: bool, alike: float) -> Checked:
    """Give recordings under earlier names to the speakers of today; leave out what has two names, and repetitions.

    `bank` is the bank before, with its clips; `alike` is the cosine from which on a recording may be a speaker's.
    """
    checked = Checked(list(clips))
    if bank is not None and mode in ("add", "replace"):
        _follow_renames(checked, bank, alike)
        if not force:
            _leave_out(checked, _of_others(checked, bank, mode))
    if not force:
        _leave_out(checked, _of_two(checked))
    _once_each(checked)
    return checked


def _follow_renames(checked: Checked, bank: Bank, alike: float) -> None:
    """A speaker who was renamed or merged in the bank keeps the name of today when the same source comes again.

    The earlier name may be another person's now: only recordings that the bank has, or of the same voice, follow.
    """
    owners = _owners(bank)
    for old in [name for name in dict.fromkeys(clip.entry.speaker for clip in checked.clips) if name in bank.aliases]:
        new, mine = bank.aliases[old], [clip for clip in checked.clips if clip.entry.speaker == old]
        mean = bank.vectors[bank.labels.index(new)]
        voice = np.sum([clip.vector for clip in mine], axis=0)
        cosine = float(mean @ voice / max(1e-12, float(np.linalg.norm(mean) * np.linalg.norm(voice))))
        if cosine < alike and not any(new in owners.get(clip.key, ()) for clip in mine):
            checked.warnings.append(
                f"{old!r} was renamed to {new!r} in this bank, and these recordings of {old!r} are of another voice "
                f"(cosine {cosine:.2f}): they are enrolled as a new speaker {old!r}"
            )
            continue
        checked.warnings.append(f"{old!r} is called {new!r} in this bank: the recordings of {old!r} went to {new!r}")
        checked.clips = [_called(clip, new) if clip.entry.speaker == old else clip for clip in checked.clips]


def _of_others(checked: Checked, bank: Bank, mode: str) -> dict[str, tuple[Clip, str, str]]:
    """Recordings that the bank has under another name than the source gives them."""
    owners = _owners(bank)
    replaced = {clip.entry.speaker for clip in checked.clips} if mode == "replace" else set()
    doubtful = {}
    for clip in checked.clips:
        others = owners.get(clip.key, set()) - replaced
        if others and clip.entry.speaker not in others:
            name = min(others)
            why = f"the bank has this recording as {name!r}; move or remove it there first"
            doubtful[clip.one.key] = (clip, name, why)
    return doubtful


def _of_two(checked: Checked) -> dict[str, tuple[Clip, str, str]]:
    """Recordings that the source gives to two speakers."""
    by_key: dict[str, dict[str, Clip]] = {}
    for clip in checked.clips:
        by_key.setdefault(clip.key, {}).setdefault(clip.entry.speaker, clip)
    doubtful = {}
    for clip in checked.clips:
        others = [(name, one) for name, one in by_key[clip.key].items() if name != clip.entry.speaker]
        if others:
            name, one = others[0]
            why = f"the same recording as {shown(one.entry)}, which is given to {name!r}"
            doubtful[clip.one.key] = (clip, name, why)
    return doubtful


def _leave_out(checked: Checked, doubtful: dict[str, tuple[Clip, str, str]]) -> None:
    pairs: dict[tuple[str, frozenset[str]], str] = {}
    for key, (clip, name, why) in doubtful.items():
        checked.outcomes[key] = _outcome(clip, Reason.TWO_NAMES, why)
        message = (
            f"one recording under two names, left out: {shown(clip.entry)} is given to {clip.entry.speaker!r}; {why}"
        )
        pairs.setdefault((clip.key, frozenset((clip.entry.speaker, name))), message)
    checked.warnings += list(pairs.values())[:SHOWN]
    if len(pairs) > SHOWN:
        checked.warnings.append(f"{len(pairs) - SHOWN} more recordings have two names; the report has them all")
    checked.clips = [clip for clip in checked.clips if clip.one.key not in doubtful]


def _once_each(checked: Checked) -> None:
    first: dict[tuple[str, str], Clip] = {}
    for clip in checked.clips:
        before = first.setdefault((clip.entry.speaker, clip.key), clip)
        if before is not clip:
            message = f"the same recording as {shown(before.entry)}"
            checked.outcomes[clip.one.key] = _outcome(clip, Reason.DUPLICATE, message)
    checked.clips = list(first.values())


def _owners(bank: Bank) -> dict[str, set[str]]:
    """The names that the bank has each recording under."""
    owners: dict[str, set[str]] = {}
    if bank.clips is not None:
        for key, owner in zip(bank.clips.keys, bank.clips.owners.tolist(), strict=True):
            owners.setdefault(key, set()).add(bank.labels[owner])
    return owners


def _called(clip: Clip, name: str) -> Clip:
    return replace(clip, one=replace(clip.one, entry=replace(clip.entry, speaker=name)))


def _outcome(clip: Clip, reason: Reason, message: str) -> Outcome:
    return outcome(clip.entry, reason, message, clip.measures)
