"""Redis behind TLS: certificates are checked by default, by our own client and by Celery's."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu.exceptions import OperationalError

from speaker_tasks.celery_app import make_celery, redis_client
from speaker_tasks.errors import ConfigurationError
from speaker_tasks.launcher.server import EmbeddedServer
from speaker_tasks.settings import Settings


class Tunnel:
    """Takes TLS connections of clients that show a certificate of the CA, and passes them on to a server without."""

    def __init__(self, certificates: Path, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
        context.load_verify_locations(certificates / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
        self._context, self._to = context, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            suppress(OSError),
            self._context.wrap_socket(client, server_side=True) as near,
            socket.create_connection(("127.0.0.1", self._to)) as far,
        ):
            threading.Thread(target=copy, args=(far, near), daemon=True).start()
            copy(near, far)


def copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            sink.sendall(part)
        sink.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CA, and certificates by it for the server `localhost` and for a client."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl")
    folder = tmp_path_factory.mktemp("certificates")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    run(*new, "-x509", "-days", "2", "-subj", "/CN=test", "-keyout", "ca.key", "-out", "ca.pem")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for name in ("server", "client"):
        run(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        run("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    return folder


@pytest.fixture(scope="module")
def url(certificates: Path, bare_server: EmbeddedServer) -> Iterator[str]:
    redis.Redis.from_url(bare_server.url).flushdb()
    plain = redis.connection.parse_url(bare_server.url)
    tunnel = Tunnel(certificates, plain["port"])
    yield f"rediss://:{plain['password']}@localhost:{tunnel.port}/0"
    tunnel.close()


@pytest.fixture
def believed(certificates: Path) -> dict[str, Any]:
    """Settings that name the certificates."""
    return {
        "redis_ca": certificates / "ca.pem",
        "redis_cert": certificates / "client.pem",
        "redis_key": certificates / "client.key",
    }


def test_our_own_client_and_celerys_show_and_check_certificates(url: str, believed: dict[str, Any]) -> None:
    settings = Settings(redis_url=url, **believed)
    assert redis_client(settings).ping()
    app = make_celery(settings)
    with app.connection_for_write() as connection:
        assert connection.default_channel.queue_declare("recognize").message_count == 0  # type: ignore[attr-defined]
    assert app.backend.client.ping()


@pytest.mark.parametrize("left_out", [("redis_ca",), ("redis_cert", "redis_key")])
def test_without_the_ca_or_a_certificate_of_ones_own_there_is_no_connection(
    url: str, believed: dict[str, Any], left_out: tuple[str, ...]
) -> None:
    settings = Settings(redis_url=url, **{name: value for name, value in believed.items() if name not in left_out})
    with pytest.raises(redis.ConnectionError):
        redis_client(settings).ping()
    with make_celery(settings).connection_for_write() as connection, pytest.raises(OperationalError):
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)


def test_an_url_may_say_that_nothing_is_checked(url: str, believed: dict[str, Any]) -> None:
    del believed["redis_ca"]
    assert redis_client(Settings(redis_url=f"{url}?ssl_cert_reqs=none", **believed)).ping()


def test_certificates_that_are_not_there_are_named(url: str, believed: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SPEAKER_REDIS_CA: there is no file"):
        redis_client(Settings(redis_url=url, redis_ca=tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="belong together"):
        make_celery(Settings(redis_url=url, redis_cert=believed["redis_cert"]))
