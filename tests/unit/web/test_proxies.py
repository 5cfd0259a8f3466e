"""Behind proxies: whose word about the client is taken, and paths under a prefix."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask, jsonify, request
from flask.testing import FlaskClient

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.settings import Settings
from web import create_app

URL = "redis://127.0.0.1:1/0"


def client(**settings: Any) -> FlaskClient:
    app: Flask = create_app(Settings(redis_url=URL, open_to_all=True, **settings))
    app.add_url_rule(
        "/seen", "seen", lambda: jsonify([request.remote_addr, request.scheme, request.host, request.script_root])
    )
    return app.test_client()


def seen_by_app(client: FlaskClient, peer: str, forwarded: str, path: str = "/seen", **headers: str) -> list[str]:
    given = {"X-Forwarded-For": forwarded, "Host": "inside"} | headers
    found: list[str] = client.get(path, headers=given, environ_base={"REMOTE_ADDR": peer}).get_json()
    return found


def test_without_the_setting_nobody_is_believed() -> None:
    proto = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil"}
    assert seen_by_app(client(), "127.0.0.1", "203.0.113.7", **proto) == ["127.0.0.1", "http", "inside", ""]


def test_a_trusted_proxy_tells_of_its_client_and_nobody_else_does() -> None:
    behind = client(trusted_proxies="10.0.0.0/8,::1")
    proto = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "voices.example"}
    assert seen_by_app(behind, "10.1.2.3", "203.0.113.7", **proto) == ["203.0.113.7", "https", "voices.example", ""]
    assert seen_by_app(behind, "::1", "203.0.113.7")[0] == "203.0.113.7"
    assert seen_by_app(behind, "::ffff:10.1.2.3", "203.0.113.7")[0] == "203.0.113.7"
    assert seen_by_app(behind, "192.0.2.1", "203.0.113.7", **proto) == ["192.0.2.1", "http", "inside", ""]


def test_what_a_client_writes_before_the_proxies_is_not_believed() -> None:
    behind = client(trusted_proxies="10.0.0.0/8")
    assert seen_by_app(behind, "10.0.0.1", "1.2.3.4, 203.0.113.7")[0] == "203.0.113.7"
    assert seen_by_app(behind, "10.0.0.1", "1.2.3.4, 203.0.113.7, 10.0.0.2, 10.0.0.3")[0] == "203.0.113.7"
    assert seen_by_app(behind, "10.0.0.1", "not an address, 203.0.113.7, 10.0.0.2")[0] == "203.0.113.7"


@pytest.mark.parametrize("path", ["/voices/seen", "/seen"])
def test_a_path_prefix_may_come_along_or_have_been_taken_off(path: str) -> None:
    under = client(path_prefix="/voices/")
    assert seen_by_app(under, "127.0.0.1", "", path)[3] == "/voices"
    assert under.get("/voices-other/seen").status_code == 404
    assert under.get("/voices").headers["Location"] == "/voices/docs"


@pytest.mark.parametrize(
    "setting",
    [{"path_prefix": "voices"}, {"path_prefix": "/"}, {"path_prefix": "//evil"}, {"trusted_proxies": "proxy.example"}],
)
def test_a_setting_that_cannot_work_is_refused_at_the_start(setting: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(setting.values()))):
        client(**setting)


def test_a_service_without_keys_answers_to_this_machine_alone() -> None:
    private = create_app(Settings(redis_url=URL)).test_client()
    assert private.get("/healthz", environ_base={"REMOTE_ADDR": "::1"}).status_code == 200
    refused = private.get("/healthz", environ_base={"REMOTE_ADDR": "192.168.1.7"})
    assert refused.status_code == 403
    assert "not to 192.168.1.7" in refused.get_json()["error"]["message"]
