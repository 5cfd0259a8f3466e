"""The web processes' metrics for Prometheus, counted together in files that they share.

`route` is the rule of the view, never the requested path: no label holds a name of a person, a bank or a key.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder of the shared files; unset in a process that is alone."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper ends of the buckets."""

REQUESTS = Counter("speaker_http_requests", "Answers, by route and status.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "speaker_http_request_seconds", "Seconds from the whole request to its answer.", ["route"], buckets=SECONDS
)
ERRORS = Counter("speaker_http_errors", "Answers that were errors, by code.", ["code"])


def registry() -> CollectorRegistry:
    """What all processes of this service have counted."""
    if SHARED not in os.environ:
        return REGISTRY
    shared = CollectorRegistry()
    MultiProcessCollector(shared)
    return shared


def resident_memory() -> int:
    """Bytes of memory that the processes of this service take, all together; what they share counts once for each."""
    parent = os.getppid() if SHARED in os.environ else os.getpid()
    children = Path(f"/proc/{parent}/task/{parent}/children")
    try:
        pids = [parent, *map(int, children.read_text().split())]
        return sum(_resident(pid) for pid in pids)
    except OSError:
        return 0


def _resident(pid: int) -> int:
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
