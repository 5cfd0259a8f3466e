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
from speaker_tasks.settings import Settings

if TYPE_CHECKING:
    import redis

MIN_FREE_BYTES = 1 << 30
MAX_SKEW_SECONDS = 2.0
PACKAGES = ("celery", "redis", "kombu", "flask", "gunicorn", "keras", "openvino", "numpy")
MARKS = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and the cure if it is not well."""

    what: str
    state: Literal["ok", "warn", "fail"]
    found: str
    cure: str = ""


def doctor(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Check Redis, workers, model, web, disk, versions and clocks. Exit status 1 if something fails."""
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
    yield _disk(settings)
    yield _weights(settings)
    client = _connected(settings)
    yield _redis(settings, client)
    if client is not None:
        for look in (_clock, _persistence, _queue):
            yield _tried(look, client)
        yield _workers(settings)
    yield _web(url, key)


def _versions() -> Finding:
    found = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    python = ".".join(map(str, sys.version_info[:3]))
    return Finding("versions", "ok", f"Python {python}, {found}")


def _disk(settings: Settings) -> Finding:
    place = next(one for one in (settings.data_dir.absolute(), *settings.data_dir.absolute().parents) if one.exists())
    free = shutil.disk_usage(place).free
    told = f"{free / (1 << 30):.1f} GiB free for {settings.data_dir}"
    if free < MIN_FREE_BYTES:
        return Finding("disk", "warn", told, "make room, or set SPEAKER_DATA_DIR to a larger disk")
    return Finding("disk", "ok", told)


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


def _connected(settings: Settings) -> redis.Redis | None:
    import redis

    from speaker_tasks.celery_app import redis_client

    try:
        client = redis_client(settings)
        client.ping()
    except (redis.RedisError, SpeakerTasksError):
        return None
    return client


def _redis(settings: Settings, client: redis.Redis | None) -> Finding:
    if settings.redis_url is None:
        return Finding("Redis", "fail", "no URL and no stack runs here", "`make up`, or set SPEAKER_REDIS_URL")
    where = settings.redis_url.rpartition("@")[2].removeprefix("redis://")
    if client is None:
        return Finding("Redis", "fail", f"no answer from {where}", "start it, or correct SPEAKER_REDIS_URL")
    started = time.perf_counter()
    client.ping()
    return Finding("Redis", "ok", f"{where} answers in {1000 * (time.perf_counter() - started):.1f} ms")


def _clock(client: redis.Redis) -> Finding:
    told: Any = client.time()
    skew = time.time() - (told[0] + told[1] / 1e6)
    if abs(skew) > MAX_SKEW_SECONDS:
        return Finding("clocks", "warn", f"Redis' clock is {skew:+.1f} s off", "run NTP on both machines")
    return Finding("clocks", "ok", f"{skew:+.2f} s to Redis'")


def _persistence(client: redis.Redis) -> Finding:
    about: Any = client.info("persistence")
    if not about.get("aof_enabled"):
        return Finding("append-only file", "warn", "off: a crash of Redis loses banks and jobs", "set appendonly yes")
    return Finding("append-only file", "ok", "on")


def _queue(client: redis.Redis) -> Finding:
    from speaker_tasks.celery_app import QUEUES

    waiting: dict[str, Any] = {name: client.llen(name) for name in QUEUES}
    told = ", ".join(f"{count} in {name}" for name, count in waiting.items())
    if waiting["recognize"] > 100:
        return Finding("queues", "warn", told, "start more workers")
    return Finding("queues", "ok", told)


def _workers(settings: Settings) -> Finding:
    from speaker_tasks.client import TaskClient

    alive = TaskClient(settings).workers()
    if not alive:
        return Finding("workers", "fail", "none with a warm model is alive", "`speaker-tasks worker`; its log says why")
    told = ", ".join(f"{worker.model} on {worker.device} ({worker.host})" for worker in alive)
    if len({worker.model for worker in alive}) > 1:
        return Finding("workers", "warn", told, "all workers of a service have to run one model")
    return Finding("workers", "ok", told)


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
        return Finding(name, "warn", f"cannot be told: {error}", "let the user of SPEAKER_REDIS_URL run INFO and TIME")
