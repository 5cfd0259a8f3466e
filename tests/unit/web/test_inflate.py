"""Bodies that come packed are read as if they had not been, within the limits of any body."""

from __future__ import annotations

import gzip
import json
import zlib
from io import BytesIO

import pytest
from flask import request
from flask.testing import FlaskClient

from speaker_tasks.settings import Settings
from web import create_app
from web.http.inflate import InflatedRequest

TEXT = json.dumps({"speaker": [0.5] * 10_000}).encode()
LIMIT = 1_000_000


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.fixture
def client() -> FlaskClient:
    """An application that says what it got; errors are the service's own."""
    app = create_app(Settings(redis_url="redis://127.0.0.1:1/0", max_body_bytes=LIMIT))

    @app.post("/echo")
    def echo() -> bytes:
        return request.files["x"].read() if request.files else request.get_data()

    assert app.request_class is InflatedRequest
    return app.test_client()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        ("GZIP", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:5000]) + gzip.compress(TEXT[5000:])),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", bare_deflate(TEXT)),
        ("identity", TEXT),
    ],
    ids=["gzip", "x-gzip", "upper case", "two members", "zlib", "bare", "identity"],
)
def test_a_packed_body_is_unpacked(client: FlaskClient, coding: str, body: bytes) -> None:
    answer = client.post("/echo", data=body, headers={"Content-Encoding": coding, "Content-Type": "audio/wav"})
    assert answer.data == TEXT


def test_a_packed_form_is_unpacked(client: FlaskClient) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="x"; filename="x"\r\n\r\n' + TEXT + b"\r\n--b--\r\n"
    headers = {"Content-Encoding": "gzip", "Content-Type": "multipart/form-data; boundary=b"}
    assert client.post("/echo", data=gzip.compress(form), headers=headers).data == TEXT


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "compress"])
def test_another_coding_is_named_and_so_are_those_that_are_taken(client: FlaskClient, coding: str) -> None:
    answer = client.post("/echo", data=TEXT, headers={"Content-Encoding": coding})
    assert answer.status_code == 415
    assert "gzip and deflate are taken" in answer.get_json()["error"]["message"]


@pytest.mark.parametrize("body", [TEXT, gzip.compress(TEXT)[:-9], gzip.compress(TEXT) + b"more", b""])
def test_a_body_that_is_not_of_its_coding_is_no_fault_of_the_sound(client: FlaskClient, body: bytes) -> None:
    answer = client.post("/echo", data=body, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 400
    assert "is not gzip" in answer.get_json()["error"]["message"]


def test_a_body_that_unpacks_to_more_than_a_body_may_have_is_refused(client: FlaskClient) -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < LIMIT
    answer = client.post("/echo", data=BytesIO(bomb), headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert f"more than {LIMIT} bytes" in answer.get_json()["error"]["message"]
