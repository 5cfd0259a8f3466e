"""The service's processes as the Procfile names them, and the environment that they run in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from honcho.environ import parse_procfile

from speaker_tasks.errors import NotFound
from speaker_tasks.settings import Settings

PROCFILE = Path(__file__).resolve().parents[2] / "Procfile"


def read_procfile(path: Path = PROCFILE) -> dict[str, str]:
    """Shell commands by process name, in the file's order. Raises NotFound outside a checkout."""
    if not path.is_file():
        raise NotFound(f"no {path}: `up` and `demo` run from a checkout of the project")
    return dict(parse_procfile(path.read_text()).processes)


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
    return {**os.environ, **ours}


def web_url(settings: Settings) -> str:
    """Where the web process of `settings` answers."""
    return f"http://{_reachable(settings.host)}:{settings.port}"


def flower_url(settings: Settings) -> str:
    """Where Flower answers."""
    return f"http://{_reachable(settings.flower_host)}:{settings.flower_port}"


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::", ""):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
