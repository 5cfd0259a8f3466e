"""The faults of a campaign, by name."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil

from benchmarks.failing.stack import PASSWORD, WORKER, LinkedStack, Stack, WatchedStack

WEB, FLOWER, SERVER = "speaker-tasks web", "speaker-tasks flower", "valkey-server"


@dataclass(frozen=True)
class Lengths:
    """Seconds."""

    refused: float = 6.0
    """That Redis is away, full, or refuses."""
    stopped: float = 20.0
    """That a process is stopped."""


@dataclass(frozen=True)
class Fault:
    """One kind."""

    cause: Callable[[random.Random], float]
    """Makes it happen and takes it back: when that was (monotonic)."""
    times: int = 1
    """How often it happens in a bag of them all."""
    workers_stay: bool = False
    """Whether each worker has to be the same process afterwards."""


def faults(stack: Stack, lengths: Lengths) -> dict[str, Fault]:
    """Those of this kind of stack, by name."""
    named = _deaths(stack)
    if isinstance(stack, LinkedStack):
        return named | _stops(stack, lengths) | _refusals(stack, lengths) | _of_the_link(stack, lengths)
    if isinstance(stack, WatchedStack):
        return _failovers(stack)
    return named | {"kill-server": Fault(lambda chance: _kill(_one(chance, lambda: stack.children(SERVER))), 2)}


def _deaths(stack: Stack) -> dict[str, Fault]:
    def kill(victims: Callable[[], list[psutil.Process]]) -> Fault:
        return Fault(lambda chance: _kill(_one(chance, victims)), 2)

    return {
        "kill-worker": kill(lambda: stack.children(WORKER)),
        "kill-web": kill(lambda: stack.children(WEB)),
        "kill-web-child": kill(lambda: [child for web in stack.children(WEB) for child in web.children()]),
        "kill-flower": kill(lambda: stack.children(FLOWER)),
    }


def _one(chance: random.Random, victims: Callable[[], list[psutil.Process]]) -> psutil.Process:
    """One of the processes; waits until there is any."""
    while True:
        with suppress(psutil.Error):
            if running := victims():
                return chance.choice(running)
        time.sleep(0.1)


def _kill(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        process.kill()
    return time.monotonic()


def _stops(stack: LinkedStack, lengths: Lengths) -> dict[str, Fault]:
    def stop(victims: Callable[[], list[psutil.Process]]) -> Fault:
        def cause(chance: random.Random) -> float:
            victim = _one(chance, victims)
            victim.send_signal(signal.SIGSTOP)
            time.sleep(lengths.stopped)
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGCONT)
            return time.monotonic()

        return Fault(cause)

    return {
        "stop-worker": stop(lambda: stack.children(WORKER)),
        "stop-server": stop(lambda: [psutil.Process(stack.server.process.pid)]),
    }


def _lasting(begin: Callable[[], object], end: Callable[[], object], seconds: float) -> Fault:
    def cause(_: random.Random) -> float:
        begin()
        time.sleep(seconds)
        end()
        return time.monotonic()

    return Fault(cause, workers_stay=True)


def _refusals(stack: LinkedStack, lengths: Lengths) -> dict[str, Fault]:
    """A server that answers, but not what it is asked for."""
    client = stack.server.client

    def users(rules: str) -> None:
        """The service as a user with other rules, to whom all connections have to introduce themselves again."""
        client.execute_command("ACL", "SETUSER", "default", *rules.split())
        client.client_kill_filter(user="default")

    def fail_to_save() -> None:
        (stack.server.folder / "no-file").mkdir(exist_ok=True)
        client.config_set("dbfilename", "no-file")
        client.config_set("save", "3600 1")
        client.bgsave(schedule=True)

    def save_again() -> None:
        client.config_set("save", "")
        client.config_set("dbfilename", "dump.rdb")

    refusals = {
        "full": (lambda: client.config_set("maxmemory", "1mb"), lambda: client.config_set("maxmemory", "0")),
        "misconf": (fail_to_save, save_again),
        "readonly": (lambda: client.replicaof("127.0.0.1", "1"), lambda: client.replicaof("NO", "ONE")),
        "noperm": (lambda: users("-@write"), lambda: users("+@all")),
        "wrong-password": (lambda: users("resetpass >other"), lambda: users(f"resetpass >{PASSWORD}")),
    }
    return {name: _lasting(begin, end, lengths.refused) for name, (begin, end) in refusals.items()}


def _of_the_link(stack: LinkedStack, lengths: Lengths) -> dict[str, Fault]:
    def kill_server(_: random.Random) -> float:
        stack.server.process.kill()
        stack.server.process.wait()
        time.sleep(1)
        stack.server.start()
        return time.monotonic()

    def fill(disk_file: str = "filler") -> None:
        assert stack.disk
        with (stack.disk / disk_file).open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(1 << 16))

    named = {
        "kill-server": Fault(kill_server, 2),
        "partition": _lasting(stack.link.cut, stack.link.mend, lengths.refused),
    }
    if disk := stack.disk:
        named["full-disk"] = _lasting(fill, (disk / "filler").unlink, lengths.refused)
    return named


def _failovers(stack: WatchedStack) -> dict[str, Fault]:
    def fail_over(*, kill: bool) -> Fault:
        def cause(_: random.Random) -> float:
            stack.watched.settle()
            if stack.replicas:
                for port in stack.watched.ports:
                    stack.watched.client(port).config_set("min-replicas-to-write", 1)
            return stack.watched.fail_over(kill=kill, coordinated=stack.replicas)

        return Fault(cause)

    return {"failover": fail_over(kill=False), "kill-master": fail_over(kill=True)}
