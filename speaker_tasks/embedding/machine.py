"""What this machine has and how the process uses it: processors, fast arithmetic, a GPU, freed memory."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
from contextlib import suppress
from pathlib import Path

import numpy as np  # noqa: F401 (its BLAS has to be loaded before it is limited)
from threadpoolctl import ThreadpoolController

KEEP_BELOW = 64 << 20
"""Freed blocks up to this many bytes stay with the process."""
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8

_logger = logging.getLogger(__name__)


def usable_processors() -> int:
    """Processors that this process may use: its affinity, bounded by the container's quota (cgroup 2)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return count if quota == "max" else max(1, min(count, int(quota) // int(period)))
    except (OSError, ValueError):
        return count


def share_of_processors(workers: int) -> int:
    """What each of so many workers on this machine may use: together never more than there are, but at least one."""
    return max(1, usable_processors() // workers)


def has_fast_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AVX-512 BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def has_gpu() -> bool:
    """A cheap look for an NVIDIA GPU that is not masked, so that CPU machines need no framework to find out."""
    masked = os.environ.get("CUDA_VISIBLE_DEVICES", "unset") in ("", "-1")
    return not masked and any(Path("/dev").glob("nvidia[0-9]*"))


def writable(folder: Path) -> bool:
    """Whether files can be put into a folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def give_back() -> None:
    """Return what loading a model left over to the kernel: once, since `settle` keeps freed memory."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def settle() -> None:
    """Make numpy quick in a process that embeds, whatever else it does: freed memory is kept, BLAS takes one thread.

    Spectra of a few seconds are arrays of some megabytes, which the C library gives back to the kernel and faults in
    again each time: two thirds of the front end's time. The mel product is too small to share between threads; it
    took ten times longer when it was. Threads share one heap: with one each, each would keep what it freed.

    Python has no way to say this to its allocator: `mallopt` is glibc's, and is left out where there is another.
    """
    ThreadpoolController().select(user_api="blas").limit(limits=1)
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_ARENA_MAX, 1)
        for option, value in ((_M_MMAP_THRESHOLD, KEEP_BELOW), (_M_TRIM_THRESHOLD, 2 * KEEP_BELOW), (_M_TOP_PAD, 0)):
            libc.mallopt(option, value)
    except (OSError, AttributeError) as error:
        _logger.debug("memory is used as it comes: %s", error)
