"""Trial lists as the field publishes them: VoxCeleb's, CN-Celeb's, and what each model of a list is enrolled from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from speaker_tasks.errors import Malformed, NotFound

LABELS = {"1": True, "0": False, "target": True, "nontarget": False}


@dataclass(frozen=True)
class TrialList:
    """Pairs of names, in the order of the list, and whether each is of one speaker."""

    left: Sequence[str]
    right: Sequence[str]
    target: Sequence[bool]

    @property
    def names(self) -> list[str]:
        """Every clip or model that is named, once, in the order in which it comes."""
        return list(dict.fromkeys(name for pair in zip(self.left, self.right, strict=True) for name in pair))


def read_trials(path: Path) -> TrialList:
    """Lines of `LABEL A B` (VoxCeleb) or `A B LABEL` (CN-Celeb); a label is 1 or 0, target or nontarget.

    Raises `NotFound` for no such file, `Malformed` with the line that is neither.
    """
    left, right, target = [], [], []
    for number, fields in _lines(path):
        label_first = len(fields) == 3 and fields[0].lower() in LABELS
        if len(fields) != 3 or not (label_first or fields[2].lower() in LABELS):
            line = " ".join(fields)
            raise Malformed(f"{path}, line {number}: expected `1|0 CLIP CLIP` or `CLIP CLIP 1|0`, got {line!r}")
        label, *names = fields if label_first else (fields[2], fields[0], fields[1])
        left.append(names[0])
        right.append(names[1])
        target.append(LABELS[label.lower()])
    if not left:
        raise Malformed(f"{path} holds no trials")
    return TrialList(left, right, target)


def read_enrolment(path: Path) -> dict[str, list[str]]:
    """Lines of `MODEL CLIP [CLIP ...]`: the clips that each model is enrolled from; a model may have several lines.

    Raises `NotFound` for no such file, `Malformed` with the line that names no clip.
    """
    models: dict[str, list[str]] = {}
    for number, fields in _lines(path):
        if len(fields) < 2:
            raise Malformed(f"{path}, line {number}: expected `MODEL CLIP [CLIP ...]`, got {fields[0]!r}")
        models.setdefault(fields[0], []).extend(fields[1:])
    return models


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Numbers and fields of the lines that are not empty."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Malformed(f"{path} is no list of trials: {error}") from error
    return [(number, fields) for number, line in enumerate(text.splitlines(), 1) if (fields := line.split())]
