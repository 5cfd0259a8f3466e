"""The service's processes as the Procfile names them, and the environment that they run in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from speaker_tasks.settings import Settings
from speaker_tasks.variables import unknown as unknown_variables

PROCFILE = Path(__file__).resolve().parents[2] / "Procfile"
"""The checkout's. An installed package has none beside it, and runs the same processes."""
PROCESSES = {"web": "speaker-tasks web", "worker": "speaker-tasks worker", "flower": "speaker-tasks flower"}


def read_procfile(path: Path = PROCFILE) -> dict[str, str]:
    """Shell commands by process name, in the file's order; without a file those of `PROCESSES`."""
    if not path.is_file():
        return dict(PROCESSES)
    lines = (line.partition(":") for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    return {name.strip(): command.strip() for name, colon, command in lines if colon}


def environment(settings: Settings) -> dict[str, str]:
    """This process's environment, with `settings` spelled out for the children and our own programs first on PATH."""
    programs = str(Path(sys.executable).parent)
    ours = {
        "SPEAKER_REDIS_URL": settings.redis_url or "",
        "SPEAKER_DATA_DIR": str(settings.data_dir.resolve()),
        "SPEAKER_DATA_ROOTS": ":".join(str(root.resolve()) for root in settings.data_roots),
        "SPEAKER_HOST": settings.host,
        "SPEAKER_PORT": str(settings.port),
        "SPEAKER_FLOWER_HOST": settings.flower_host,
        "SPEAKER_FLOWER_PORT": str(settings.flower_port),
        "PATH": programs + os.pathsep + os.environ.get("PATH", os.defpath),
        "PYTHONUNBUFFERED": "1",
    }
    unknown = set(unknown_variables(os.environ))  # they were named once
    return {name: value for name, value in os.environ.items() if name not in unknown} | ours


def web_url(settings: Settings) -> str:
    """Where the web process of `settings` answers."""
    return f"http://{_reachable(settings.host)}:{settings.port}"


def flower_url(settings: Settings) -> str:
    """Where Flower answers."""
    prefix = settings.flower_path_prefix.strip("/")
    return f"http://{_reachable(settings.flower_host)}:{settings.flower_port}{f'/{prefix}' if prefix else ''}"


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", ""):
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host
