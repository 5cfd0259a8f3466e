"""`make up`: honcho runs the Procfile on the embedded server, or on the one that the settings name, until Ctrl-C."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import redis
from honcho.manager import Manager
from honcho.process import Process

from speaker_tasks.celery_app import redis_client, refuse_cluster
from speaker_tasks.errors import RedisAway, Unavailable
from speaker_tasks.launcher.claim import Claim, Running
from speaker_tasks.launcher.procfile import environment, flower_url, read_procfile, web_url
from speaker_tasks.launcher.readiness import require_free_port, wait_until_ready
from speaker_tasks.launcher.server import EmbeddedServer
from speaker_tasks.launcher.tether import die_with_parent, tethered
from speaker_tasks.settings import Settings


def with_redis(settings: Settings, stack: ExitStack) -> Settings:
    """`settings` with the URL of a server that answers: the one they name, or an embedded one that `stack` will end.

    Raises RedisAway or ConfigurationError (no server, a Redis Cluster).
    """
    if not settings.redis_url:
        server = stack.enter_context(EmbeddedServer(settings.data_dir / "redis"))
        settings = settings.model_copy(update={"redis_url": server.url})
    client = redis_client(settings)
    try:
        refuse_cluster(client)
    except (OSError, redis.RedisError) as error:
        raise RedisAway(f"the Redis server does not answer: {error}") from None
    finally:
        client.close()
    return settings


def run_up(settings: Settings, on_ready: Callable[[Settings, dict[str, Any]], None]) -> int:
    """Run the stack until a signal or until one of its processes ends; gives the exit status.

    `on_ready` is called once with the settings in force and the answer of `/readyz`. Raises Conflict if the stack runs
    already or a port is taken.
    """
    with ExitStack() as stack:
        claim = stack.enter_context(Claim(settings.data_dir))
        require_free_port(settings.host, settings.port, "SPEAKER_PORT")
        require_free_port(settings.flower_host, settings.flower_port, "SPEAKER_FLOWER_PORT")
        _stop_on_signals()
        settings = with_redis(settings, stack)
        claim.announce(Running(os.getpid(), settings.redis_url or "", web_url(settings), flower_url(settings)))
        manager = StackManager(lambda: _announce_ready(settings, on_ready))
        for name, command in read_procfile().items():
            for number in range(settings.workers if name == "worker" else 1):
                manager.add_process(f"{name}.{number + 1}" if number else name, command, env=environment(settings))
        try:
            manager.loop()
        finally:
            manager.kill_rest()
        return 0 if manager.stopped_by_signal else manager.returncode or 1


class StackManager(Manager):
    """Honcho's manager with processes that end with it, and a call once they have been started."""

    def __init__(self, on_started: Callable[[], None]) -> None:
        super().__init__()
        self._process_ctor = TetheredProcess
        self._on_started = on_started

    @property
    def stopped_by_signal(self) -> bool:
        """Whether SIGINT or SIGTERM ended the loop, rather than one of the processes."""
        return self.returncode in (130, 143)

    def kill_rest(self) -> None:
        """Kill what still runs after the loop; without it Python would wait for the processes at its own exit."""
        with suppress(KeyError):  # honcho has no process id for one that has not started
            self.kill()

    def _start(self) -> None:
        super()._start()
        # After the forks: a thread must not be running while they happen.
        threading.Thread(target=self._on_started, daemon=True).start()


class TetheredProcess(Process):
    """A process of the Procfile that the kernel ends when the manager ends, however it ends."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cmd: str
        self._manager_pid = os.getpid()

    def run(self, *args: Any, **kwargs: Any) -> None:
        """Run the command. Honcho calls this in a process of its own, forked from the manager's."""
        die_with_parent(signal.SIGKILL, self._manager_pid)
        command = ["/bin/sh", "-c", f"exec {self.cmd}"]
        self.cmd = "exec " + shlex.join(tethered(command, signal.SIGKILL))
        super().run(*args, **kwargs)


def _announce_ready(settings: Settings, on_ready: Callable[[Settings, dict[str, Any]], None]) -> None:
    try:
        on_ready(settings, wait_until_ready(settings))
    except Unavailable:
        return  # the processes' own lines on the terminal say why


def _stop_on_signals() -> None:
    """Turn SIGTERM into an exit that runs the clean-up, and a closed terminal (SIGHUP) into SIGTERM.

    Honcho replaces the first handler while it loops; the second then reaches honcho's.
    """

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
