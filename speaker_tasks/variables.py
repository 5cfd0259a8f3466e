"""Environment variables: ours that are misspelt, and other programs' that must not reach ours."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, MutableMapping

from speaker_tasks.settings import Settings

PREFIX = "SPEAKER_"
OTHERS = frozenset(
    {"SPEAKER_URL", "SPEAKER_KEY", "SPEAKER_SHARED", "SPEAKER_WEB_WORKERS", "SPEAKER_GPUS", "SPEAKER_RECORDINGS"}
)
"""Variables of ours that are no fields of the settings."""
FOREIGN = ("CELERY_", "FLOWER_", "FLASK_", "GUNICORN_", "WEB_CONCURRENCY")
"""Beginnings of variables that Celery, Flower and the web server would obey: ours alone configure them.

Kubernetes makes `FLOWER_PORT=tcp://...` of a service that is called flower."""
_OF_KUBERNETES = re.compile(r"_PORT(_\d+_(TCP|UDP)(_(ADDR|PORT|PROTO))?)?$")


def unknown(names: Iterable[str]) -> list[str]:
    """The variables that begin as ours do and are none; those that Kubernetes makes of a service are left aside."""
    ours = (name for name in names if name.startswith(PREFIX) and name not in _known())
    return sorted(name for name in ours if "_SERVICE_" not in name and not _OF_KUBERNETES.search(name))


def misspelt(names: Iterable[str]) -> list[str]:
    """A line for each unknown variable, with the nearest that there is."""
    lines = []
    for name in unknown(names):
        near = difflib.get_close_matches(name, _known(), 1, 0.8)
        lines.append(f"there is no setting {name}" + (f"; is {near[0]} meant?" if near else ""))
    return lines


def _known() -> frozenset[str]:
    return OTHERS | {PREFIX + name.upper() for name in Settings.model_fields}


def forget_foreign(environment: MutableMapping[str, str]) -> None:
    """Take out the variables of other programs, for this process and all that it starts; `forgotten` names them."""
    for name in [name for name in environment if name.startswith(FOREIGN)]:
        del environment[name]
        forgotten.add(name)


forgotten: set[str] = set()
"""The variables of other programs that this process was given, and does not obey."""
