"""`speaker-tasks doctor`: what could be wrong here, one line each, with the cure."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import typer

from speaker_tasks.commands.edge import connected_settings, console
from speaker_tasks.commands.service import AsJson, Key, Url, service, show_json
from speaker_tasks.errors import SpeakerTasksError
from speaker_tasks.interpreter import outdated
from speaker_tasks.redis_server import check_writable, eviction, is_full, is_refusal, refusal
from speaker_tasks.settings import Settings
from speaker_tasks.variables import forgotten

if TYPE_CHECKING:
    import redis

MIN_FREE_BYTES = 1 << 30
MAX_SKEW_SECONDS = 2.0
MOST_USED = 0.8
"""Share of Redis' `maxmemory` that may be in use."""
IDLE_GPU_BYTES = 200 << 20
PACKAGES = ("celery", "redis", "kombu", "flask", "tornado", "keras", "openvino", "numpy")
MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and the cure if it is not well."""

    what: str
    state: Literal["ok", "warn", "fail"]
    found: str
    cure: str = ""


def doctor(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Check Redis, workers, model, web server, disk, versions and clocks. Exit status 1 if a check fails."""
    settings = connected_settings()
    findings = list(examine(settings, url, key))
    for finding in findings:
        if as_json:
            show_json(asdict(finding))
        else:
            cure = f" [dim]-> {finding.cure}[/]" if finding.cure else ""
            console.print(f"{MARKS[finding.state]} {finding.what}: {finding.found}{cure}", soft_wrap=True)
    if any(finding.state == "fail" for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings, url: str | None, key: str | None) -> Iterator[Finding]:
    """All findings, in the order in which one would cure them."""
    yield _versions()
    if forgotten:
        yield _variables(forgotten)
    yield _disk(settings)
    yield _weights(settings)
    client, found = _redis(settings)
    yield found
    if client is not None:
        for look in (_clock, _memory, _persistence, _queue):
            yield _tried(look, client)
        yield _workers(settings)
    if (idle := _gpus()) is not None:
        yield idle
    yield _web(url, key)


def _versions() -> Finding:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    python = ".".join(map(str, sys.version_info[:3]))
    if lacking := outdated():
        return Finding("versions", "warn", lacking, "install Python's newest patch")
    return Finding("versions", "ok", f"Python {python}, {versions}")


def _variables(names: set[str]) -> Finding:
    message = f"{', '.join(sorted(names))}: of other programs, not obeyed here"
    return Finding("variables", "warn", message, "ours begin with SPEAKER_: SPEAKER_FLOWER_PORT, SPEAKER_FLOWER_AUTH")


def _disk(settings: Settings) -> Finding:
    place = next(one for one in (settings.data_dir.absolute(), *settings.data_dir.absolute().parents) if one.exists())
    free = shutil.disk_usage(place).free
    space = f"{free / (1 << 30):.1f} GiB free for {settings.data_dir}"
    if free < MIN_FREE_BYTES:
        return Finding("disk", "warn", space, "make room, or set SPEAKER_DATA_DIR to a larger disk")
    return Finding("disk", "ok", space)


def _weights(settings: Settings) -> Finding:
    from speaker_tasks.embedding import weights

    try:
        card = weights.load(settings.model, path=settings.weights, data_dir=settings.data_dir).card
    except SpeakerTasksError as error:
        cure = "`speaker-tasks weights list` shows what is here; SPEAKER_MODEL or SPEAKER_WEIGHTS chooses"
        return Finding("model", "fail", error.message, cure)
    if "operating" not in card.details:
        cure = "identify needs `threshold`, or `speaker-tasks calibrate BANK`"
        return Finding("model", "warn", f"{card.model_id}, not calibrated", cure)
    return Finding("model", "ok", f"{card.model_id}, calibrated")


def _redis(settings: Settings) -> tuple[redis.Redis | None, Finding]:
    """A client, if the server answers it, and whether the server also takes changes."""
    if settings.redis_url is None:
        return None, Finding("Redis", "fail", "no URL and no stack runs here", "`make up`, or set SPEAKER_REDIS_URL")
    import redis

    from speaker_tasks.celery_app import redis_client

    where, client = settings.redis_url.rpartition("@")[2].removeprefix("redis://"), None
    try:
        connecting = redis_client(settings)
        started = time.perf_counter()
        connecting.ping()
        client, took = connecting, time.perf_counter() - started
        check_writable(client)
    except SpeakerTasksError as error:
        return None, Finding("Redis", "fail", error.message, "correct SPEAKER_REDIS_URL")
    except redis.RedisError as error:
        cure = "" if is_refusal(error) else "start it, or correct SPEAKER_REDIS_URL"
        return client, Finding("Redis", "fail", f"{where}: {refusal(error).message}", cure)
    return client, Finding("Redis", "ok", f"{where} answers in {1000 * took:.1f} ms and takes changes")


def _clock(client: redis.Redis) -> Finding:
    now: Any = client.time()
    skew = time.time() - (now[0] + now[1] / 1e6)
    if abs(skew) > MAX_SKEW_SECONDS:
        return Finding("clocks", "warn", f"Redis' clock is {skew:+.1f} s off", "run NTP on both machines")
    return Finding("clocks", "ok", f"{skew:+.2f} s to Redis'")


def _memory(client: redis.Redis) -> Finding:
    about: Any = client.info("memory")
    most, used = about.get("maxmemory", 0), about["used_memory"]
    usage = f"{used >> 20} MB{f' of {most >> 20} MB' if most else ', without a limit'}"
    if is_full(client):
        return Finding(
            "Redis' memory", "fail", f"{usage}: it takes nothing new", "raise maxmemory, or delete banks and jobs"
        )
    if lost := eviction(client):
        state: Literal["warn", "fail"] = "fail" if most and "banks" in lost else "warn"
        return Finding("Redis' memory", state, f"{usage}; {lost}", "set maxmemory-policy noeviction")
    if most and used > MOST_USED * most:
        return Finding("Redis' memory", "warn", usage, "raise maxmemory: a full server takes no jobs")
    return Finding("Redis' memory", "ok", usage)


def _persistence(client: redis.Redis) -> Finding:
    about: Any = client.info("persistence")
    if not about.get("aof_enabled"):
        return Finding("append-only file", "warn", "off: a crash of Redis loses banks and jobs", "set appendonly yes")
    return Finding("append-only file", "ok", "on")


def _queue(client: redis.Redis) -> Finding:
    from speaker_tasks.celery_app import QUEUES

    waiting: dict[str, Any] = {name: client.llen(name) for name in QUEUES}
    counts = ", ".join(f"{count} in {name}" for name, count in waiting.items())
    if waiting["recognize"] > 100:
        return Finding("queues", "warn", counts, "start more workers")
    return Finding("queues", "ok", counts)


def _gpus() -> Finding | None:
    from speaker_tasks.gpus import gpus

    idle = [gpu for gpu in gpus() if gpu.memory_used < IDLE_GPU_BYTES]
    if not idle:
        return None
    names = ", ".join(str(gpu.index) for gpu in idle)
    return Finding("GPUs", "warn", f"nothing uses GPU {names}", "`speaker-tasks worker --gpus all`, or `up --gpus all`")


def _workers(settings: Settings) -> Finding:
    from speaker_tasks.client import TaskClient

    alive = TaskClient(settings).workers()
    if not alive:
        return Finding("workers", "fail", "none with a warm model is alive", "`speaker-tasks worker`; its log says why")
    names = ", ".join(f"{worker.model} on {worker.device} ({worker.host})" for worker in alive)
    if late := [worker for worker in alive if abs(worker.skew) > MAX_SKEW_SECONDS]:
        clocks = ", ".join(f"{worker.host} {worker.skew:+.1f} s" for worker in late)
        return Finding("workers", "warn", f"{names}; clocks off Redis': {clocks}", "run NTP on these machines")
    if len({worker.model for worker in alive}) > 1:
        return Finding(
            "workers", "warn", names, "several models: fine while you roll to another one, else stop the old ones"
        )
    return Finding("workers", "ok", names)


def _web(url: str | None, key: str | None) -> Finding:
    with service(url, key) as client:
        client.attempts = 1
        try:
            client.models()
        except SpeakerTasksError as error:
            cure = "`make up`, or --url" if error.status == 503 else "--key, or SPEAKER_KEY"
            return Finding("web", "fail", error.message, cure)
        return Finding("web", "ok", f"{client.url} answers")


def _tried(look: Callable[[redis.Redis], Finding], client: redis.Redis) -> Finding:
    import redis

    try:
        return look(client)
    except redis.RedisError as error:
        name = look.__name__.lstrip("_")
        return Finding(
            name, "warn", f"could not be checked: {error}", "let the user of SPEAKER_REDIS_URL run INFO and TIME"
        )
