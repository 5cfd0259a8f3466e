"""The web process's memory: one arena, so that memory which one thread frees serves the next."""

from __future__ import annotations

import ctypes
import logging

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
ARENAS = 1
"""The C library would make one for each thread, and each would keep the largest body that it has seen: 180 MB in all
after some seconds of JSON from 16 clients, 90 MB with one."""
KEEP_BELOW = 32 << 20
"""Freed blocks up to this many bytes stay: to map and fault in each body anew took twice the time of its parsing."""

_logger = logging.getLogger(__name__)


def settle() -> None:
    """Keep the process small, whatever bodies it is sent. Does nothing where the C library is another."""
    try:
        libc = ctypes.CDLL("libc.so.6")
        for option, value in ((_M_ARENA_MAX, ARENAS), (_M_MMAP_THRESHOLD, KEEP_BELOW), (_M_TRIM_THRESHOLD, KEEP_BELOW)):
            libc.mallopt(option, value)
    except (OSError, AttributeError) as error:
        _logger.debug("memory is used as it comes: %s", error)
