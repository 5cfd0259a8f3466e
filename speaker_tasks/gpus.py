"""The NVIDIA GPUs of this machine by `nvidia-smi`; an empty list where it is missing."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from speaker_tasks.errors import ConfigurationError

MASK = "CUDA_VISIBLE_DEVICES"
QUERY = ("index", "uuid", "memory.used", "memory.total", "utilization.gpu")
SECONDS = 5.0


@dataclass(frozen=True)
class Gpu:
    """One GPU now."""

    index: int
    """Counted in the order of the PCI bus."""
    uuid: str
    memory_used: int
    """Bytes."""
    memory_total: int
    busy: float
    """Share of the last moment in which it computed, 0 to 1."""


def gpus() -> list[Gpu]:
    """The GPUs that the driver shows, whatever mask this process has."""
    command = ["nvidia-smi", f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [_gpu(line) for line in done.stdout.splitlines() if line.strip()]


def chosen(text: str, environ: Mapping[str, str]) -> list[int]:
    """The GPUs that `all`, or `0,2`, means: numbers among those that this process sees.

    Raises `ConfigurationError` for what is not a number, a GPU that does not exist, and `all` without any.
    """
    mask = environ.get(MASK)
    seen = len(shown(mask)) if mask is not None else len(gpus())
    if text.strip() == "all":
        if not seen:
            raise ConfigurationError("there is no GPU: `nvidia-smi` shows none")
        return list(range(seen))
    numbers = [part.strip() for part in text.split(",") if part.strip()]
    if not numbers or not all(part.isdecimal() for part in numbers):
        raise ConfigurationError(f"GPUs are `all` or numbers such as 0,1; got {text!r}")
    if missing := [part for part in numbers if int(part) >= seen]:
        raise ConfigurationError(f"there is no GPU {missing[0]}: there are {seen}")
    return sorted({int(part) for part in numbers})


def shown(mask: str) -> list[str]:
    """The devices that a mask shows: CUDA stops at the first that does not exist, so `2,-1,5` shows 2 alone."""
    devices: list[str] = []
    for part in (part.strip() for part in mask.split(",")):
        if not part or part.startswith("-"):
            break
        devices.append(part)
    return devices


def _gpu(line: str) -> Gpu:
    index, uuid, used, total, busy = (part.strip() for part in line.split(","))
    return Gpu(int(index), uuid, _number(used) << 20, _number(total) << 20, _number(busy) / 100)


def _number(text: str) -> int:
    """A number; some GPUs, and parts of one, say `[N/A]`."""
    return int(text) if text.isdigit() else 0
