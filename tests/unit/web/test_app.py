"""The application without a server behind it."""

from __future__ import annotations

import errno
from io import BytesIO

import pytest
from flask import Flask, request
from flask.testing import FlaskClient

from speaker_tasks.errors import Busy, Gone, ModelMismatch
from speaker_tasks.settings import Settings
from web import create_app


@pytest.fixture
def app() -> Flask:
    return create_app(Settings(redis_url="redis://127.0.0.1:1/0", max_body_bytes=100_000))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def test_the_address_alone_leads_to_the_docs(client: FlaskClient) -> None:
    answer = client.get("/", headers={"Host": "127.0.0.1:6001"})
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/docs", "relative: no foreign Host can turn it elsewhere"
    assert client.get("/docs").status_code == 200


@pytest.mark.parametrize("path", ["/docs//", "/v1//banks", "///elsewhere.example/.."])
def test_no_redirect_follows_a_foreign_host(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers={"Host": "localhost"})
    assert (answer.status_code, answer.headers.get("Location")) == (404, None)


def test_a_disk_that_fills_while_a_form_is_read_is_named(app: Flask, client: FlaskClient) -> None:
    def full() -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    app.add_url_rule("/full", view_func=full)
    answer = client.get("/full", headers={"Host": "localhost"})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (507, "insufficient_storage")


def test_health_needs_nothing(client: FlaskClient) -> None:
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/readyz", "/GetSpeakerList", "/InitSpeakerFeats", "/v1/jobs/1"])
def test_without_redis_the_answer_is_503_and_when_to_try_again(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 503
    assert answer.get_json()["error"]["code"] == "redis_away"
    assert int(answer.headers["Retry-After"]) >= 1


def test_a_recording_is_not_lost_in_silence_without_redis(client: FlaskClient) -> None:
    answer = client.post("/speaker", json={"speaker": [0.1] * 16_000})
    assert answer.status_code == 503
    assert "Traceback" not in answer.text


def test_a_body_over_the_limit_is_not_read(client: FlaskClient) -> None:
    answer = client.post("/speaker", data=b"x" * 100_001)
    assert answer.status_code == 413
    assert answer.get_json()["error"]["details"]["limit"] == 100_000


@pytest.mark.parametrize(
    ("path", "setting"),
    [("/v1/timeline", "SPEAKER_MAX_RECORDING_SECONDS"), ("/v1/identify?wait=0", "SPEAKER_MAX_AUDIO_SECONDS")],
)
def test_too_many_samples_are_refused_with_the_limit_that_counts(path: str, setting: str) -> None:
    app = create_app(Settings(redis_url="redis://127.0.0.1:1/0", max_recording_seconds=2.0, max_audio_seconds=1.0))
    answer = app.test_client().post(path, json={"samples": [0] * 8001, "rate": 4000})
    assert answer.status_code == 413, answer.text
    assert setting in answer.get_json()["error"]["message"]


def test_a_form_with_a_long_text_field_is_told_of_the_field(app: Flask) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 10_000_000
    app.add_url_rule("/form", "form", lambda: str(request.form), methods=["POST"])
    form = {"audio": "x" * 700_000, "more": (BytesIO(b"x"), "x.ogg")}
    answer = app.test_client().post("/form", data=form)
    assert answer.status_code == 413
    error = answer.get_json()["error"]
    assert "a text field of the form has more than 500000 bytes" in error["message"]
    assert error["details"]["field_limit"] == 500_000


def test_errors_keep_their_status_code_and_details(app: Flask, client: FlaskClient) -> None:
    errors = {
        "/mismatch": (ModelMismatch("two models", bank_model="a", model="b"), 409, "model_mismatch"),
        "/gone": (Gone("it expired"), 410, "gone"),
        "/busy": (Busy("full", retry_after=7), 503, "busy"),
    }
    for path, (error, *_) in errors.items():
        app.add_url_rule(path, path, lambda error=error: (_ for _ in ()).throw(error))
    for path, (error, status, code) in errors.items():
        answer = client.get(path)
        assert answer.status_code == status
        assert answer.get_json()["error"]["code"] == code
        assert answer.get_json()["error"]["message"] == error.message
    assert client.get("/mismatch").get_json()["error"]["details"] == {"bank_model": "a", "model": "b"}
    assert client.get("/busy").headers["Retry-After"] == "7"


def test_a_bug_is_a_500_without_its_secrets(app: Flask, client: FlaskClient) -> None:
    app.add_url_rule("/bug", "bug", lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    answer = client.get("/bug")
    assert answer.status_code == 500
    assert answer.get_json() == {"error": {"code": "internal", "message": "internal error", "details": {}}}
