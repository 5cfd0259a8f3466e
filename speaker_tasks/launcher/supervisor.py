"""Keeps processes running: starts them, shows their output, starts those again that end, and stops them in order."""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, TextIO

from speaker_tasks.launcher.tether import tethered

LOOK_SECONDS = 0.1
DEATHS, DEATHS_SECONDS = 5, 60.0
"""A child that ends so often within so long is given up, and the others with it."""
FIRST_DELAY, LONGEST_DELAY = 0.2, 30.0
"""Seconds before a child that has ended is started again: doubled with each end of the last minute."""
HOPELESS = {2, 6}
"""Exit statuses (wrong settings, no weights) after which another start would end alike."""
LONGEST_LINE = 3000
"""Characters of a line that are shown: a pipe takes 4,096 bytes at once without making its writer wait."""
STOP_SECONDS = 30.0
"""What children have to end by themselves after SIGTERM."""
KILL_SECONDS = 5.0
"""What the kernel has to end them after SIGKILL."""


class Child(Protocol):
    """What can be supervised."""

    name: str
    essential: bool
    """Whether the others have to end when this one does not stay."""

    def start(self) -> None:
        """Start unless it runs; does not wait."""

    def status(self) -> int | None:
        """Exit status; None while it runs."""

    def output(self) -> IO[bytes] | None:
        """A pipe with its output, or None if that goes elsewhere."""

    def last_words(self) -> str:
        """What it said at last, on one line."""

    def signal(self, number: int) -> bool:
        """Send a signal, if it runs; whether it is to end with the others at all."""


class Command:
    """A shell command, whose output goes to the supervisor, or to a log. It never outlives this process."""

    def __init__(
        self,
        name: str,
        command: str,
        environment: Mapping[str, str],
        *,
        essential: bool = True,
        log: Path | None = None,
    ) -> None:
        self.name, self.essential, self._log = name, essential, log
        self._command, self._environment = command, dict(environment)
        self._process: subprocess.Popen[bytes] | None = None
        self.lines: deque[str] = deque(maxlen=20)
        """The end of its output, as the supervisor has read it."""

    @property
    def line(self) -> str:
        """The command as the shell gets it."""
        return self._command

    @property
    def environment(self) -> Mapping[str, str]:
        """Its environment."""
        return self._environment

    def start(self) -> None:
        """Start it in a session of its own: a terminal's Ctrl-C is for the supervisor."""
        self.lines.clear()
        with contextlib.nullcontext(subprocess.PIPE) if self._log is None else self._log.open("wb") as output:
            self._process = subprocess.Popen(
                tethered(["/bin/sh", "-c", f"exec {self._command}"], signal.SIGKILL),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                bufsize=0,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id. Raises `RuntimeError` before the first start."""
        if self._process is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._process.pid

    def status(self) -> int | None:
        """Exit status; None while it runs."""
        return self._process.poll() if self._process else 0

    def output(self) -> IO[bytes] | None:
        """Its standard output and standard error; None if they go to a log."""
        return self._process.stdout if self._process else None

    def last_words(self) -> str:
        """The last error that it named, else its last line."""
        lines = list(self.lines) if self._log is None else self._log.read_text(errors="replace").splitlines()
        lines = [line.strip() for line in lines if line.strip()]
        errors = [line for line in lines if "rror: " in line]
        return (errors or lines or ["it said nothing"])[-1]

    def wait(self) -> None:
        """Wait until it has ended."""
        if self._process is not None:
            self._process.wait()

    def signal(self, number: int) -> bool:
        """SIGTERM goes to the process itself, which knows its children; SIGKILL to all of its session."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                if number == signal.SIGKILL:
                    os.killpg(self._process.pid, number)
                elif self.status() is None:
                    os.kill(self._process.pid, number)
        return True


class Supervisor:
    """Runs children until a signal, or until one that matters does not stay. For the main thread."""

    def __init__(self, children: Sequence[Child], *, show: Callable[[str, str], None] | None = None) -> None:
        self._children = children
        self._show = show or Terminal(sys.stdout)
        self._deaths: dict[str, list[float]] = {child.name: [] for child in children}
        self._due: dict[str, float] = {}
        self._given_up: set[str] = set()
        self._selector = selectors.DefaultSelector()
        self._stopping = False

    def run(self, started: Callable[[], None] = lambda: None) -> str | None:
        """Start all, call `started`, and keep them running: why it ended, or None after SIGINT, SIGTERM or SIGHUP."""
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, self._stop) for number in numbers}
        try:
            for child in self._children:
                self._start(child)
            started()
            return self._loop()
        finally:
            self._end_all()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _loop(self) -> str | None:
        while not self._stopping:
            self._read(LOOK_SECONDS)
            for child in self._children:
                if child.name in self._given_up:
                    continue
                if child.name in self._due:
                    if time.monotonic() >= self._due[child.name]:
                        del self._due[child.name]
                        self._start(child)
                elif (status := child.status()) is not None and (reason := self._ended(child, status)):
                    return reason
        return None

    def _ended(self, child: Child, status: int) -> str | None:
        """Plan another start; why the service has to end, if there is none."""
        self._read(0)
        now, earlier = time.monotonic(), self._deaths[child.name]
        deaths = self._deaths[child.name] = [moment for moment in earlier if now - moment < DEATHS_SECONDS] + [now]
        what = f"{child.name} ended with status {status}"
        if child.essential and status in HOPELESS:
            return f"{what}: {child.last_words()}"
        if child.essential and len(deaths) >= DEATHS:
            return f"{what}, {len(deaths)} times within {DEATHS_SECONDS:g} s: {child.last_words()}"
        if status in HOPELESS:
            self._given_up.add(child.name)
            self._show("up", f"{what} and is not started again: {child.last_words()}")
            return None
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (len(deaths) - 1))
        self._show("up", f"{what}: started again in {delay:g} s")
        self._due[child.name] = now + delay
        return None

    def _start(self, child: Child) -> None:
        child.start()
        if (pipe := child.output()) is not None:
            os.set_blocking(pipe.fileno(), False)
            self._selector.register(pipe, selectors.EVENT_READ, (child, bytearray()))

    def _read(self, seconds: float) -> None:
        """Show what children say, for at most so long."""
        if not self._selector.get_map():
            time.sleep(seconds)
            return
        for key, _ in self._selector.select(seconds):
            child, unfinished = key.data
            pipe: Any = key.fileobj
            part = pipe.read(1 << 16)
            if part is None:
                continue
            unfinished += part or b"\n" * bool(unfinished)
            *lines, rest = unfinished.split(b"\n")
            unfinished[:] = rest
            for line in lines:
                text = line.decode(errors="replace")
                child.lines.append(text)
                self._show(child.name, text)
            if not part:
                self._selector.unregister(pipe)
                pipe.close()

    def _stop(self, number: int, _frame: object) -> None:
        self._stopping = True

    def _end_all(self) -> None:
        """SIGTERM; SIGKILL for who is still there when the time of grace is over. Their last output is shown."""
        ending = [child for child in self._children if child.signal(signal.SIGTERM)]
        self._wait_for(ending, STOP_SECONDS)
        for child in ending:
            if child.status() is None:
                self._show("up", f"{child.name} did not end within {STOP_SECONDS:g} s and is killed")
            child.signal(signal.SIGKILL)
        self._wait_for(ending, KILL_SECONDS)
        self._read(0)

    def _wait_for(self, children: Sequence[Child], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while any(child.status() is None for child in children) and time.monotonic() < deadline:
            self._read(LOOK_SECONDS)


class Terminal:
    """Shows lines of children. A terminal that is halted (Ctrl-S), or a pager that does not read, holds nobody up.

    What cannot be shown is left out, and counted: else the children would wait with their next line, and so would those
    whom they serve. Who closed the terminal hears nothing.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._left_out = 0

    def __call__(self, name: str, line: str) -> None:
        """One line."""
        with contextlib.suppress(OSError, ValueError):
            if not select.select([], [self._file], [], 0)[1]:
                self._left_out += 1
                return
            if self._left_out:
                self._write("up", f"{self._left_out} lines were not shown: nobody read them")
                self._left_out = 0
            self._write(name, line[:LONGEST_LINE])

    def _write(self, name: str, line: str) -> None:
        self._file.write(f"{time.strftime('%H:%M:%S')} {name:<9}| {line}\n")
        self._file.flush()
