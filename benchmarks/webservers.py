"""Web servers for the same WSGI applications: processor time a request, slow clients, stops, and what they let through.

Run: python -m benchmarks.webservers [--only ours,granian] [--seconds 4] [--json FILE]

`ours` is what `speaker-tasks web` runs. The others are measured where they are installed (benchmarks/requirements.txt),
each with two processes of 16 threads; waitress and cheroot know one process only. Two applications: `simple`, a few
lines of WSGI, and `real`, the service itself on a Redis server of its own, without a worker.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from speaker_tasks.launcher.server import EmbeddedServer, free_port
from speaker_tasks.launcher.tether import tethered

ROOT = Path(__file__).parents[1]
PROCESSES, THREADS = "2", "16"
SLOW, LARGE = 200, 20 << 20
ROW = list[str]


def simple(environ: dict[str, Any], start_response: Any) -> Any:
    """The small application: says how long the body was; and answers slowly, at length, or bit by bit."""
    path = environ["PATH_INFO"]
    if path == "/slow":
        time.sleep(2)
    if path == "/stream":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return _bit_by_bit()
    if environ.get("CONTENT_LENGTH") or environ.get("wsgi.input_terminated"):
        answer = str(len(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 1 << 30)))).encode()
    else:
        answer = b"ok"
    if path == "/count":
        Path(os.environ["COUNT"]).write_bytes(answer)
    body = bytes(LARGE) if path == "/large" else answer
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def _bit_by_bit() -> Iterator[bytes]:
    yield b"data: 1\n\n"
    time.sleep(1)
    yield b"data: 2\n\n"


def command(server: str, application: str, port: int) -> list[str]:
    """How a server is started on an application."""
    target = {"simple": "benchmarks.webservers:simple", "real": "web.app:create_app"}[application]
    real = application == "real"
    if server == "ours":
        return [sys.executable, "-m", "benchmarks.webservers", "--serve", application, "--port", str(port)]
    address = f"127.0.0.1:{port}"
    options = {
        "gunicorn": f"--worker-class gthread --workers {PROCESSES} --threads {THREADS} --keep-alive 75 "
        f"--no-control-socket --bind {address}",
        "granian": f"--interface wsgi --workers {PROCESSES} --blocking-threads {THREADS} --http 1 --port {port}",
        "waitress": f"--threads={THREADS} --connection-limit=1000 --asyncore-use-poll --listen={address}",
        "cheroot": f"--bind {address} --threads {THREADS}",
    }[server].split()
    if real:
        options += {"granian": ["--factory"], "waitress": ["--call"]}.get(server, [])
        target += "()" if server in {"gunicorn", "cheroot"} else ""
    return [sys.executable, "-m", server, *options, target]


def serve(application: str, port: int) -> int:
    """Our own server on one of the applications."""
    from speaker_tasks.settings import Settings
    from web.app import create_app
    from web.processes import Parent, listen

    settings = Settings(port=port)
    chosen = create_app(settings).wsgi_app if application == "real" else simple
    return Parent(settings, chosen, listen(settings)).run()


class Server:
    """One running server."""

    def __init__(self, name: str, application: str, **variables: str) -> None:
        self.port = free_port()
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the server)
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
        self.popen = subprocess.Popen(
            tethered(command(name, application, self.port), signal.SIGTERM),
            cwd=ROOT,
            env=environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Server:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.popen.poll() is None:
            with contextlib.suppress(OSError):
                if self.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"):
                    return self
            time.sleep(0.1)
        self.log.seek(0)
        raise SystemExit(f"the server did not start: {self.log.read().decode()[-800:]}")

    def __exit__(self, *_: object) -> None:
        family = self.family()
        self.popen.kill()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.popen.wait()

    def family(self) -> list[psutil.Process]:
        """All of its processes."""
        try:
            top = psutil.Process(self.popen.pid)
            return [top, *top.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu(self) -> float:
        """Seconds of processor time used so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self.family())

    def resident(self) -> float:
        """MiB of its largest process."""
        return max(process.memory_info().rss for process in self.family()) / (1 << 20)

    def connect(self) -> socket.socket:
        """A new connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, request: bytes, seconds: float = 10.0) -> bytes:
        """The beginning of the answer to bytes sent over a new connection."""
        with self.connect() as connection:
            connection.settimeout(seconds)
            connection.sendall(request)
            return connection.recv(1 << 16)


def load(server: Server, request: bytes, connections: int, seconds: float) -> tuple[float, float, int]:
    """So many kept-alive connections, each asking again at once: requests/s, processor ms a request, failures."""
    selector = selectors.DefaultSelector()
    head_end, failed, done = b"\r\n\r\n", 0, 0
    unsent: dict[int, memoryview] = {}
    answers: dict[int, bytearray] = {}
    opened: list[socket.socket] = []

    def begin(connection: socket.socket) -> None:
        unsent[connection.fileno()], answers[connection.fileno()] = memoryview(request), bytearray()
        selector.modify(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)

    for _ in range(connections):
        connection = server.connect()
        connection.setblocking(False)
        opened.append(connection)
        selector.register(connection, selectors.EVENT_READ)
        begin(connection)
    measured, counted, cpu = time.monotonic() + 0.5, 0, 0.0
    until = measured + seconds
    while (now := time.monotonic()) < until:
        if not cpu and now >= measured:
            cpu, counted, measured = server.cpu(), done, now
        for key, events in selector.select(0.1):
            connection = key.fileobj  # type: ignore[assignment]
            number = connection.fileno()
            if events & selectors.EVENT_WRITE:
                with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
                    unsent[number] = unsent[number][connection.send(unsent[number]) :]
                if not unsent[number]:
                    selector.modify(connection, selectors.EVENT_READ)
            if events & selectors.EVENT_READ:
                try:
                    answers[number] += (part := connection.recv(1 << 18))
                except OSError:
                    part = b""
                if not part:
                    failed += 1
                    selector.unregister(connection)
                    continue
                end = answers[number].find(head_end)
                if end < 0:
                    continue
                head = bytes(answers[number][:end]).lower()
                wanted = end + 4 + int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
                if len(answers[number]) >= wanted:
                    done += 1
                    begin(connection)
    used, took = server.cpu() - cpu, time.monotonic() - measured
    for connection in opened:
        connection.close()
    requests = max(1, done - counted)
    return requests / took, 1e3 * used / requests, failed


BODY = b'{"feats_mode": "nobody", "more": "%s"}' % (b"x" * 131_072)
REQUESTS = {
    "GET": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "POST 128 kB": b"POST /ModifyFeatsMode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY),
}


def speed(name: str, application: str, redis_url: str, seconds: float) -> ROW:
    """Requests/s and processor time of both requests with 16 connections, and of GET with 500."""
    cells = []
    with Server(name, application, SPEAKER_REDIS_URL=redis_url) as server:
        for kind, connections in (("GET", 16), ("POST 128 kB", 16), ("GET", 500)):
            rate, ms, failed = load(server, REQUESTS[kind], connections, seconds)
            cells.append(f"{rate:.0f}/s, {ms:.2f} ms" + (f", {failed} failed" if failed else ""))
        cells.append(f"{server.resident():.0f} MiB")
    return cells


SLOWNESS = {
    "send nothing": (b"", b""),
    "a byte of headers a second": (b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"x"),
    "a byte of body a second": (b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", b"x"),
    "read nothing of 20 MB": (b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n", b""),
}


def slow(name: str, kind: str, redis_url: str) -> str:
    """The longest of some answers while 200 slow clients are there."""
    begin, then = SLOWNESS[kind]
    application = "simple" if "body" in kind or "read" in kind else "real"  # the small one reads whatever is sent
    path = b"/healthz" if application == "simple" else b"/readyz"
    with Server(name, application, SPEAKER_REDIS_URL=redis_url) as server, contextlib.ExitStack() as stack:
        clients = []
        for _ in range(SLOW):
            client = stack.enter_context(server.connect())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(begin)
            clients.append(client)
        worst = 0.0
        for _ in range(6):
            time.sleep(1)
            for client in clients if then else []:
                with contextlib.suppress(OSError):
                    client.send(then)
            started = time.monotonic()
            try:
                if not server.ask(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"):
                    return "closed"
            except OSError:
                return "none in 10 s"
            worst = max(worst, time.monotonic() - started)
        return f"{1e3 * worst:.0f} ms, {server.resident():.0f} MiB"


def behaviour(name: str, redis_url: str) -> dict[str, str]:
    """What a server does at its end, and with requests that are not as they should be."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        count = Path(folder) / "count"
        with Server(name, "simple", COUNT=str(count)) as server:
            both = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            results["both lengths"] = _status(server, both)
            results["headers of 1 MB"] = _status(
                server, b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * (1 << 20) + b"\r\n\r\n"
            )
            with server.connect() as half:
                half.sendall(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
            time.sleep(1)
            results["half a body, then gone"] = "taken for whole" if count.exists() else "dropped"
            with server.connect() as stream:
                stream.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
                started, seen = time.monotonic(), b""
                while b"data: 1" not in seen:
                    seen += stream.recv(1000)
                results["first event after"] = f"{1e3 * (time.monotonic() - started):.0f} ms"
            with server.connect() as waiting:
                waiting.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
                time.sleep(0.5)
                started = time.monotonic()
                server.popen.terminate()
                with contextlib.suppress(OSError):
                    results["SIGTERM with a request in flight"] = "answered" if waiting.recv(100) else "cut off"
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.popen.wait(35)
            results["SIGTERM with a request in flight"] += f", ended after {time.monotonic() - started:.1f} s"
    with Server(name, "simple") as server:
        children = server.family()[1:]
        server.popen.kill()
        started = time.monotonic()
        while time.monotonic() - started < 40 and not _free(server.port):
            time.sleep(0.05)
        results["parent killed: port free after"] = f"{time.monotonic() - started:.1f} s"
        for process in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    with Server(name, "real", SPEAKER_REDIS_URL=redis_url) as server:
        before, most = server.resident(), 0.0
        with server.connect() as connection, contextlib.suppress(OSError):
            connection.sendall(
                b"POST /v1/banks/x/import HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            for _ in range(300):
                connection.sendall(b"100000\r\n" + bytes(1 << 20) + b"\r\n")
                most = max(most, server.resident())
        results["300 MB sent where 64 are taken"] = f"{max(0.0, most - before):+.0f} MiB"
    return results


def _status(server: Server, request: bytes) -> str:
    try:
        return server.ask(request).split(b"\r\n")[0].decode()[9:12] or "closed"
    except OSError:
        return "closed"


def _free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def main() -> None:
    """Measure and print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="ours,gunicorn,granian,waitress,cheroot")
    parser.add_argument("--parts", default="speed,slow,behaviour")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", choices=["simple", "real"])
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    if options.serve:
        raise SystemExit(serve(options.serve, options.port))
    names = [name for name in options.only.split(",") if name == "ours" or importlib.util.find_spec(name)]
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, EmbeddedServer(Path(folder)) as redis:
        if "speed" in options.parts:
            print("| server | application | GET, 16 | POST 128 kB, 16 | GET, 500 | memory |\n|---|---|---|---|---|---|")
            for application in ("simple", "real"):
                for name in names:
                    row = figures[f"speed {application} {name}"] = speed(name, application, redis.url, options.seconds)
                    print(f"| {name} | {application} | {' | '.join(row)} |", flush=True)
        if "slow" in options.parts:
            print(f"\n| server | {' | '.join(SLOWNESS)} |\n|---|{'---|' * len(SLOWNESS)}")
            for name in names:
                row = figures[f"slow {name}"] = [slow(name, kind, redis.url) for kind in SLOWNESS]
                print(f"| {name} | {' | '.join(row)} |", flush=True)
        if "behaviour" in options.parts:
            for name in names:
                results = figures[f"behaviour {name}"] = behaviour(name, redis.url)
                print(f"\n{name}: " + "; ".join(f"{what}: {how}" for what, how in results.items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
