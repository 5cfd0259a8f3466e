"""One web process: Tornado speaks HTTP, and the WSGI application answers each request in a thread.

A thread is held while the application works, never while a client sends or reads: a body is received whole before a
thread is asked, and between two parts of an answer the thread is free until the client has taken the first. A body
over the limit is not kept: the application sees its length, refuses it, and the rest is thrown away.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from urllib.parse import unquote_to_bytes, urlsplit
from wsgiref.types import WSGIApplication

from tornado import httputil
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError

from speaker_tasks.errors import StorageFull, storage_full
from web.http.errors import NO_ROOM
from web.http.reply import PART_BYTES, Reply

IDLE_SECONDS = 75.0
"""How long a connection may be idle between two requests, and how long the headers of one may take."""
HEADER_BYTES = 32 * 1024
BODY_SECONDS = 10.0
BODY_BYTES_A_SECOND = 50_000
"""A body has `BODY_SECONDS`, and a second more for each so many bytes that have arrived."""
BODY_PAUSE_SECONDS = 60.0
"""However fast the client was before, it may send nothing for so long at most."""
DRAIN_SECONDS = 5.0
"""How long the rest of a refused body is read, so that a client that is still sending gets to see the answer."""
SEND_SECONDS = 60.0
"""How long a client may take for the next `PART_BYTES` of its answer."""
READ_BYTES = 256 * 1024
MEMORY_BYTES = 1024 * 1024
"""A body of more bytes is kept in a temporary file."""

logger = logging.getLogger(__name__)


class Gateway(httputil.HTTPServerConnectionDelegate):
    """Passes requests to the application, which runs in `threads` threads."""

    def __init__(self, application: WSGIApplication, *, threads: int, body_bytes: int) -> None:
        self.application, self.body_bytes = application, body_bytes
        self.threads = ThreadPoolExecutor(threads, "request")
        self.stopping = False
        self._open: set[Exchange] = set()
        self._none_open = asyncio.Event()
        self._none_open.set()
        self._server = HTTPServer(
            self, idle_connection_timeout=IDLE_SECONDS, max_header_size=HEADER_BYTES, chunk_size=READ_BYTES
        )

    def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Accept connections on sockets that listen already."""
        self._server.add_sockets(sockets)

    async def stop(self, seconds: float) -> None:
        """Accept nothing more, answer the requests that have begun within so many seconds, close all connections."""
        self.stopping = True
        self._server.stop()
        try:
            await asyncio.wait_for(self._none_open.wait(), seconds)
        except TimeoutError:
            logger.warning("%d requests were not answered within %g s", len(self._open), seconds)
        await self._server.close_all_connections()
        self.threads.shutdown(wait=False, cancel_futures=True)

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> Exchange:
        """Tornado calls this for each request of a connection."""
        assert isinstance(request_conn, HTTP1Connection)
        return Exchange(self, request_conn)

    def opened(self, exchange: Exchange) -> None:
        """A request has begun."""
        self._open.add(exchange)
        self._none_open.clear()

    def closed(self, exchange: Exchange) -> None:
        """It has its answer, or its connection is gone."""
        self._open.discard(exchange)
        if not self._open:
            self._none_open.set()


class Exchange(httputil.HTTPMessageDelegate):
    """One request and its answer. Tornado calls its methods while the request arrives."""

    def __init__(self, gateway: Gateway, connection: HTTP1Connection) -> None:
        self._gateway, self._connection = gateway, connection
        self._loop = asyncio.get_running_loop()
        self._body: IO[bytes] = BytesIO()
        self._length = 0
        self._refused = False
        self._no_room: StorageFull | None = None
        self._answering: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None

    async def headers_received(  # type: ignore[override]
        self, start_line: httputil.RequestStartLine, headers: httputil.HTTPHeaders
    ) -> None:
        """The request without its body. Raises `HTTPInputError`, a 400 in plain text, for what is not HTTP."""
        self._request = httputil.HTTPServerRequest(connection=self._connection, start_line=start_line, headers=headers)
        announced = headers.get("Content-Length", "")
        if announced and "Transfer-Encoding" in headers:
            raise httputil.HTTPInputError("both Content-Length and Transfer-Encoding")
        self._gateway.opened(self)
        self._connection.set_max_body_size(sys.maxsize)  # counted here
        if announced.isascii() and announced.isdigit() and int(announced) > self._gateway.body_bytes:
            await self._refuse(int(announced))
        elif announced or "Transfer-Encoding" in headers:
            self._began = self._arrived = time.monotonic()
            self._watch()

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """A part of the body."""
        if self._refused:
            return None
        if not self._length:
            self._body = SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 (closed with the answer)
        self._length += len(chunk)
        self._arrived = time.monotonic()
        if self._length > self._gateway.body_bytes:
            return self._refuse(self._length)
        try:
            self._body.write(chunk)
        except OSError as error:
            logger.error("no room for a body of %d bytes: %s", self._length, error)
            self._no_room = storage_full(error, "web process") or StorageFull(
                f"the body cannot be kept: {error.strerror}"
            )
            return self._refuse(self._length)
        return None

    def finish(self) -> None:
        """The request is there as a whole."""
        self._unwatch()
        if self._refused:
            self._connection.finish()
            self._connection.close()
            self._gateway.closed(self)
            return
        self._body.seek(0)
        self._answering = self._loop.create_task(self._answer_and_finish())

    def on_connection_close(self) -> None:
        """The client went away, or took too long, before its request was whole."""
        self._unwatch()
        self._body.close()
        self._gateway.closed(self)

    def _watch(self) -> None:
        """Close the connection when the body is late."""
        late = min(self._began + BODY_SECONDS + self._length / BODY_BYTES_A_SECOND, self._arrived + BODY_PAUSE_SECONDS)
        left = late - time.monotonic()
        if left > 0:
            self._deadline = self._loop.call_later(left, self._watch)
        else:
            logger.info("a body from %s came too slowly: %d bytes", self._request.remote_ip, self._length)
            self._connection.close()

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    async def _refuse(self, length: int) -> None:
        """Answer without the body, which is too large or finds no room; what still comes of it is dropped."""
        self._unwatch()
        self._refused = True
        self._length = length
        self._body.close()
        self._body = BytesIO()
        self._connection.set_body_timeout(DRAIN_SECONDS)
        if await self._answer() and self._request.headers.get("Expect", "").lower() == "100-continue":
            self._connection.finish()  # the client waits for leave to send: it is not given

    async def _answer_and_finish(self) -> None:
        try:
            if await self._answer():
                self._connection.finish()
        finally:
            self._gateway.closed(self)

    async def _answer(self) -> bool:
        """Have the application answer, and send what it says; whether the client got all of it."""
        reply = Reply(self._gateway.application, self._environ())
        try:
            part = await self._in_thread(reply.begin)
            status = httputil.ResponseStartLine("HTTP/1.1", reply.status, reply.reason)
            await self._sent(self._connection.write_headers(status, self._headers(reply), part[:PART_BYTES]))
            await self._send(part, PART_BYTES)
            while not reply.ended:
                await self._send(await self._in_thread(reply.more))
        except (StreamClosedError, TimeoutError):
            self._connection.close()
            return False
        except Exception:
            logger.exception("the answer to %s %s broke off", self._request.method, self._request.path)
            self._connection.close()
            return False
        finally:
            self._body.close()
            if not reply.ended:
                await self._in_thread(reply.close)
        return True

    async def _send(self, data: bytes, begin: int = 0) -> None:
        for start in range(begin, len(data), PART_BYTES):
            await self._sent(self._connection.write(data[start : start + PART_BYTES]))
            await asyncio.sleep(0)  # the others have their turn

    async def _sent(self, written: asyncio.Future[None]) -> None:
        if written.done():
            written.result()
        else:
            await asyncio.wait_for(written, SEND_SECONDS)

    async def _in_thread(self, call: Callable[[], Any]) -> Any:
        return await self._loop.run_in_executor(self._gateway.threads, call)

    def _headers(self, reply: Reply) -> httputil.HTTPHeaders:
        headers = httputil.HTTPHeaders()
        for name, value in reply.headers:
            headers.add(name, value)
        if "Date" not in headers:
            headers["Date"] = formatdate(usegmt=True)
        if self._refused or self._gateway.stopping:
            headers["Connection"] = "close"
        return headers

    def _environ(self) -> dict[str, Any]:
        """The request as WSGI describes it (PEP 3333)."""
        request = self._request
        path, query = request.path, request.query
        if not path.startswith("/"):  # a request to a proxy names the whole address
            path = urlsplit(path).path or "/"
        host, _, port = request.headers.get("Host", "").rpartition(":")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin1"),
            "QUERY_STRING": query,
            "REMOTE_ADDR": request.remote_ip,
            "SERVER_NAME": host or "localhost",
            "SERVER_PORT": port if port.isdigit() else "80",
            "SERVER_PROTOCOL": request.version,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": self._body,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        if self._no_room:
            environ[NO_ROOM] = self._no_room
        for name, value in request.headers.get_all():
            if "_" in name or name in {"Transfer-Encoding", "Content-Length", "Expect"}:
                continue  # an underscore would pass for a dash: `X_Forwarded_For`
            key = name.upper().replace("-", "_")
            key = key if key == "CONTENT_TYPE" else f"HTTP_{key}"
            before = environ.get(key)
            environ[key] = value if before is None else f"{before}{'; ' if key == 'HTTP_COOKIE' else ','}{value}"
        if self._length or "Content-Length" in request.headers:
            environ["CONTENT_LENGTH"] = str(self._length)
        return environ
