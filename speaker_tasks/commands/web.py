"""`speaker-tasks web`: answer HTTP until a signal ends it."""

from __future__ import annotations

import logging
import os
import tempfile
from typing import Annotated

import typer

from speaker_tasks import logs
from speaker_tasks.commands.edge import connected_settings


def web(
    log_level: Annotated[str, typer.Option(help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Run the HTTP server: SPEAKER_WEB_WORKERS processes with SPEAKER_WEB_THREADS threads each."""
    settings = connected_settings()
    logs.configure(settings.log_format)
    logging.getLogger("web").setLevel(log_level.upper())
    with tempfile.TemporaryDirectory(prefix="speaker-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # read when its library is imported: all processes count there
        from web.processes import serve

        status = serve(settings)
    logging.shutdown()
    os._exit(status)  # nothing is left to tidy up; the interpreter would take up to a second to take itself apart
