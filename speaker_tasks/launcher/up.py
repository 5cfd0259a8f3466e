"""`make up`: the Procfile's processes on the embedded server, or on the one that the settings name, until Ctrl-C."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import IO, Any

import redis

from speaker_tasks.celery_app import redis_client, refuse_cluster
from speaker_tasks.errors import RedisAway, Unavailable
from speaker_tasks.gpus import chosen
from speaker_tasks.launcher.claim import Claim, Running
from speaker_tasks.launcher.procfile import environment, flower_url, read_procfile, web_url
from speaker_tasks.launcher.readiness import require_free_port, wait_until_ready
from speaker_tasks.launcher.server import EmbeddedServer
from speaker_tasks.launcher.signals import stop_cleanly_on_sigterm
from speaker_tasks.launcher.supervisor import Child, Command, Supervisor
from speaker_tasks.redis_server import refusal
from speaker_tasks.settings import Settings


def with_redis(settings: Settings, stack: ExitStack) -> Settings:
    """`settings` with the URL of a server that answers: the one they name, or an embedded one that `stack` will end.

    Raises RedisAway or ConfigurationError (no server, a Redis Cluster).
    """
    if not settings.redis_url:
        server = stack.enter_context(EmbeddedServer(settings.data_dir / "redis"))
        settings = settings.model_copy(update={"redis_url": server.url})
    require_redis(settings)
    return settings


def require_redis(settings: Settings) -> None:
    """Raise RedisAway or ConfigurationError (a Redis Cluster) unless the settings' server answers."""
    client = redis_client(settings)
    try:
        refuse_cluster(client)
    except (OSError, redis.RedisError) as error:
        raise RedisAway(f"{refusal(error).message}: {error}") from None
    finally:
        client.close()


def run_up(
    settings: Settings, on_ready: Callable[[Settings, dict[str, Any]], None], *, gpus: str | None = None
) -> None:
    """Run the stack until SIGINT, SIGTERM or SIGHUP; with `gpus`, a worker on each of these.

    `on_ready` is called once with the settings in force and the answer of `/readyz`. Raises Conflict if the stack runs
    already or a port is taken, and Unavailable with its last words if one of the processes does not stay.
    """
    numbers = chosen(gpus, os.environ) if gpus else None
    with ExitStack() as stack:
        claim = stack.enter_context(Claim(settings.data_dir))
        require_free_port(settings.host, settings.port, "SPEAKER_PORT")
        require_free_port(settings.flower_host, settings.flower_port, "SPEAKER_FLOWER_PORT")
        stop_cleanly_on_sigterm()
        children: list[Child] = []
        if not settings.redis_url:
            server = stack.enter_context(EmbeddedServer(settings.data_dir / "redis"))
            settings = settings.model_copy(update={"redis_url": server.url})
            children.append(ServerChild(server))
        require_redis(settings)
        claim.announce(Running(os.getpid(), settings.redis_url or "", web_url(settings), flower_url(settings)))
        children += commands(settings, numbers)
        announcing = threading.Thread(target=_announce_ready, args=(settings, on_ready), daemon=True)
        reason = Supervisor(children).run(announcing.start)
        if reason:
            raise Unavailable(reason)


def run_workers(settings: Settings, gpus: str, arguments: list[str]) -> None:
    """Run a worker on each GPU until a signal. Raises `Unavailable` if one does not stay."""
    workers = worker_commands(settings, chosen(gpus, os.environ), read_procfile()["worker"], arguments)
    reason = Supervisor(workers).run()
    if reason:
        raise Unavailable(reason)


def commands(settings: Settings, gpus: list[int] | None = None) -> list[Command]:
    """The Procfile's processes; of workers, as many as the settings say, or one on each GPU.

    Flower's end never touches serving.
    """
    processes = []
    for name, command in read_procfile().items():
        if name == "worker":
            processes += worker_commands(settings, gpus, command)
        else:
            processes.append(Command(name, command, environment(settings), essential=name != "flower"))
    return processes


def worker_commands(
    settings: Settings, gpus: list[int] | None, command: str, arguments: Sequence[str] = ()
) -> list[Command]:
    """The workers: each knows its GPU, and has a port of its own for its metrics."""
    processes = []
    for number in range(settings.workers if gpus is None else len(gpus)):
        own = environment(settings)
        own.pop("SPEAKER_GPUS", None)
        if settings.metrics_port:
            own["SPEAKER_METRICS_PORT"] = str(settings.metrics_port + number)
        pinned = [] if gpus is None else ["--gpu", str(gpus[number])]
        line = " ".join([command, *map(shlex.quote, [*pinned, *arguments])])
        processes.append(Command(f"worker.{number + 1}" if number else "worker", line, own))
    return processes


class ServerChild:
    """The embedded server under supervision. It runs already, and ends last."""

    name, essential = "redis", True

    def __init__(self, server: EmbeddedServer) -> None:
        self._server = server

    def start(self) -> None:
        """Start it again at the same address, unless it runs."""
        self._server.start_again()

    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._server.status()

    def output(self) -> IO[bytes] | None:
        """It writes a log of its own."""
        return None

    def last_words(self) -> str:
        """The end of its log."""
        return self._server.last_words()

    def signal(self, number: int) -> bool:
        """It gets none: the others need it until they have ended."""
        return False


def _announce_ready(settings: Settings, on_ready: Callable[[Settings, dict[str, Any]], None]) -> None:
    try:
        on_ready(settings, wait_until_ready(settings))
    except Unavailable:
        return  # the processes' own lines on the terminal say why
