"""Clients in a process of their own: so many at a time (closed loop), or arriving by chance (open loop, Poisson).

One thread with kept-alive connections and whole requests made beforehand, so that it takes little of the processors
that the service runs on. Started by `run`, which hands it a plan as JSON on standard input.
"""

from __future__ import annotations

import json
import random
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

TIMEOUT_SECONDS = 60.0
"""How long the client waits for answers that are still on their way at the end."""
MOST_CONNECTIONS = 512


@dataclass(frozen=True)
class Plan:
    """What to send: the bodies are the files of a folder, in a shuffled order that starts anew when it ends."""

    host: str
    port: int
    path: str
    bodies: str
    content_type: str
    seconds: float = 5.0
    warm_up: float = 1.0
    """Seconds before the figures begin."""
    clients: int = 1
    rate: float = 0.0
    """Arrivals a second of the open loop; 0: the closed loop."""
    requests: int = 0
    """End after so many instead of after `seconds`."""
    seed: int = 0


@dataclass
class Report:
    """What came of it: milliseconds of each answered request, and the seconds in which they were answered."""

    ms: list[float] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    """Bytes of the body that each of `ms` belongs to."""
    seconds: float = 0.0
    failed: int = 0
    first_failure: str = ""
    cpu_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.ms) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Milliseconds within which so many percent were answered."""
        return float(np.percentile(self.ms, share)) if self.ms else float("nan")


class Process:
    """The clients' process: `Popen` with the report at its end."""

    def __init__(self, plan: Plan) -> None:
        command = [sys.executable, "-m", "benchmarks.service.load"]
        root = Path(__file__).parents[2]
        self._popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root)
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(asdict(plan)))
        self._popen.stdin.close()
        self._popen.stdin = None

    def report(self) -> Report:
        """Wait for the end. A request that failed ends the benchmark."""
        printed, _ = self._popen.communicate()
        if self._popen.returncode:
            raise SystemExit("the clients' process failed")
        report = Report(**json.loads(printed))
        if report.failed:
            raise SystemExit(f"{report.failed} requests failed, the first one: {report.first_failure}")
        return report


def run(plan: Plan) -> Report:
    """Send what the plan says from a process of its own."""
    return Process(plan).report()


class Connection:
    """One kept-alive connection: sends one whole request, reads one whole answer."""

    def __init__(self, plan: Plan) -> None:
        self.socket = socket.create_connection((plan.host, plan.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.due = 0.0
        self.size = 0
        self._unsent = memoryview(b"")
        self._answer = bytearray()
        self._wanted = -1

    def begin(self, request: bytes, size: int, due: float) -> None:
        """Start to send a request that was due at a moment of the monotonic clock."""
        self._unsent, self.due, self.size = memoryview(request), due, size
        self._answer.clear()
        self._wanted = -1
        self.send()

    def send(self) -> bool:
        """Send what the socket takes; whether all was sent."""
        while self._unsent:
            try:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            except BlockingIOError:
                return False
            except (BrokenPipeError, ConnectionResetError):
                return True  # the next read tells
        return True

    def receive(self) -> bytes | None:
        """Read what is there: the whole answer, or None if there is more to come. Raises `EOFError` when closed."""
        try:
            part = self.socket.recv(1 << 18)
        except ConnectionResetError:
            part = b""
        if not part:
            if self._answer:
                raise SystemExit("the server closed a connection in the middle of an answer")
            raise EOFError
        self._answer += part
        if self._wanted < 0 and (end := self._answer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._answer[:end]).lower()
            length = head.partition(b"content-length:")[2].split(b"\r\n")[0]
            self._wanted = end + 4 + int(length)
        return bytes(self._answer) if 0 <= self._wanted <= len(self._answer) else None


class Loop:
    """Sends until the time is over and waits for the last answers."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._chance = random.Random(plan.seed)
        self._requests = [_request(plan, path.read_bytes()) for path in sorted(Path(plan.bodies).iterdir())]
        self._order: list[int] = []
        self._selector = selectors.DefaultSelector()
        self._idle: list[Connection] = []
        self._open = 0
        self._busy = 0
        self._backlog: deque[float] = deque()
        self._report = Report()

    def run(self) -> Report:
        """The report, without the warm-up."""
        began = time.monotonic()
        self._from = began + self.plan.warm_up
        self._until = self._from + self.plan.seconds
        cpu = -1.0
        if self.plan.rate:
            self._next = began
        else:
            for _ in range(self.plan.clients):
                self._send(time.monotonic())
        last, ended = self._from, 0.0
        while True:
            now = time.monotonic()
            if cpu < 0 and now >= self._from:
                cpu = time.process_time()
            if self._ended(now):
                ended = ended or now
                if not self._busy and not self._backlog:
                    break
                if now > ended + TIMEOUT_SECONDS:
                    self._report.failed += self._busy
                    self._report.first_failure = self._report.first_failure or "no answer"
                    break
            elif self.plan.rate:
                self._arrive(now)
            last = self._turn(now) or last
        self._report.cpu_seconds = time.process_time() - max(cpu, 0.0)
        self._report.seconds = max(last, self._from) - self._from if self.plan.requests else self.plan.seconds
        return self._report

    def _ended(self, now: float) -> bool:
        return len(self._report.ms) >= self.plan.requests > 0 or (not self.plan.requests and now >= self._until)

    def _arrive(self, now: float) -> None:
        while self._next <= now:
            self._send(self._next)
            self._next += self._chance.expovariate(self.plan.rate)

    def _send(self, due: float) -> None:
        if not self._idle and self._open < MOST_CONNECTIONS:
            connection = Connection(self.plan)
            self._selector.register(connection.socket, selectors.EVENT_READ, connection)
            self._open += 1
            self._idle.append(connection)
        if not self._idle:
            self._backlog.append(due)
            return
        if not self._order:
            self._order = list(range(len(self._requests)))
            self._chance.shuffle(self._order)
        connection = self._idle.pop()
        request, size = self._requests[self._order.pop()]
        connection.begin(request, size, due)
        self._busy += 1
        self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        wanted = selectors.EVENT_READ if connection.send() else selectors.EVENT_READ | selectors.EVENT_WRITE
        if self._selector.get_key(connection.socket).events != wanted:
            self._selector.modify(connection.socket, wanted, connection)

    def _turn(self, now: float) -> float | None:
        """Wait for sockets until something is to be done: when the last counted answer came, if one did."""
        until = self._next if self.plan.rate and not self._ended(now) else now + 0.1
        counted = None
        for key, events in self._selector.select(max(0.0, min(0.1, until - now))):
            connection: Connection = key.data
            if events & selectors.EVENT_WRITE:
                self._watch(connection)
            if events & selectors.EVENT_READ:
                try:
                    answer = connection.receive()
                except EOFError:
                    self._closed(connection)
                    continue
                if answer is not None:
                    counted = self._answered(connection, answer) or counted
        return counted

    def _closed(self, connection: Connection) -> None:
        """The server closed a connection that was idle for long; what was just sent over it is sent over another."""
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._open -= 1
        if connection in self._idle:
            self._idle.remove(connection)
            return
        self._busy -= 1
        self._send(connection.due)

    def _answered(self, connection: Connection, answer: bytes) -> float | None:
        now = time.monotonic()
        self._busy -= 1
        self._idle.append(connection)
        if not answer.startswith(b"HTTP/1.1 200"):
            self._report.failed += 1
            self._report.first_failure = self._report.first_failure or answer[:400].decode(errors="replace")
        begun = connection.due if self.plan.rate else now
        counts = self._from <= begun and (self.plan.requests or begun < self._until)
        if counts:
            self._report.ms.append(1e3 * (now - connection.due))
            self._report.sizes.append(connection.size)
        if self._backlog:
            self._send(self._backlog.popleft())
        elif not self.plan.rate and not self._ended(now):
            self._send(now)
        return now if counts else None


def _request(plan: Plan, body: bytes) -> tuple[bytes, int]:
    head = (
        f"POST {plan.path} HTTP/1.1\r\nHost: {plan.host}:{plan.port}\r\nContent-Type: {plan.content_type}\r\n"
        f"Content-Length: {len(body)}\r\nAccept: */*\r\n\r\n"
    )
    return head.encode() + body, len(body)


if __name__ == "__main__":
    print(json.dumps(asdict(Loop(Plan(**json.load(sys.stdin))).run())))
