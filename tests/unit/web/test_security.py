"""Who is let in without keys, which scope a route wants, and what is written down of who was refused."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from limits.storage import storage_from_string

from speaker_tasks import logs
from speaker_tasks.apikeys import ADMIN, ENROLL, READ, entry, new_key
from speaker_tasks.errors import ConfigurationError
from speaker_tasks.settings import Settings
from web import create_app
from web.http import limits
from web.http.limits import storage_options, storage_uri
from web.http.security import needed_scopes
from web.shared import EXTENSION

URL = "redis://127.0.0.1:1/0"
CROSS = {"Sec-Fetch-Site": "cross-site"}


def client(**settings: Any) -> FlaskClient:
    return create_app(Settings(redis_url=URL, **settings)).test_client()


@pytest.mark.parametrize("path", ["/InitSpeakerFeats", "/ModifyFeatsMode", "/ModifyFeatsCustom"])
def test_a_page_of_another_site_may_not_change_the_mode_by_a_link(path: str) -> None:
    assert client().get(path, headers=CROSS).status_code == 403
    assert client().get(path).status_code != 403
    assert client().get(path, headers={"Sec-Fetch-Site": "none"}).status_code != 403


OWN = "127.0.0.1:6001"


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1:8080"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:60011"},
        {"Origin": "http://127.0.0.1:6001.evil.example"},
        {"Sec-Fetch-Site": "none", "Origin": "http://evil.example"},
    ],
)
@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/ModifyFeatsMode"), ("GET", "/InitSpeakerFeats"), ("DELETE", "/v1/banks/x")]
)
def test_a_page_of_another_origin_changes_nothing_on_a_service_without_keys(
    method: str, path: str, headers: dict[str, str]
) -> None:
    answer = client().open(path, method=method, json={}, headers={"Host": OWN, **headers})
    assert (answer.status_code, answer.get_json()["error"]["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": f"http://{OWN}"},
        {"Origin": f"http://{OWN}"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy"},
    ],
)
def test_programs_and_our_own_page_may_change_things(headers: dict[str, str]) -> None:
    answer = client().post("/ModifyFeatsMode", json={"feats_mode": "all"}, headers={"Host": OWN, **headers})
    assert answer.status_code == 503, "it got as far as Redis"


def test_a_change_by_v1_without_a_content_type_is_refused_and_the_older_clients_are_heard() -> None:
    bare = {"Host": OWN}
    assert client().post("/v1/banks/x/enrollments", data=b"{}", headers=bare).status_code == 415
    assert client().post("/v1/identify", data=b"{}", headers=bare).status_code == 415
    assert client().post("/ModifyFeatsMode", data=b'{"feats_mode": "all"}', headers=bare).status_code == 503


@pytest.mark.parametrize(
    "host", ["localhost:6001", "localhost.", "demo.localhost", "127.0.0.1:6001", "[::1]:6001", "192.168.1.7"]
)
def test_a_service_without_keys_is_asked_by_address_or_as_localhost(host: str) -> None:
    assert client().get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example:6001", "localhost.evil.example", "127.0.0.1.nip.io", "[::1", "a b"])
def test_another_name_that_leads_here_is_refused(host: str) -> None:
    answer = client().get("/v1/banks", headers={"Host": host})
    assert answer.status_code == 403
    assert answer.get_json()["error"]["code"] == "forbidden"


def test_with_keys_or_in_plain_words_any_name_will_do() -> None:
    named = {"Host": "web:6001"}
    keys = entry("a", ["read"], new_key())
    assert client(api_keys=keys).get("/healthz", headers=named).status_code == 200
    assert client(open_to_all=True).get("/healthz", headers=named).status_code == 200
    assert client(open_to_all=True, host="0.0.0.0").get("/healthz", headers=named).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("POST", "/v1/banks/x/enrollments", ENROLL),
        ("POST", "/v1/banks/x/re-enrollments", ENROLL),
        ("POST", "/v1/banks/enrollments/enrollments", ENROLL),
        ("DELETE", "/v1/banks/enrollments", ADMIN),
        ("GET", "/v1/banks/enrollments", READ),
        ("DELETE", "/v1/banks/x/speakers/enrollments", ADMIN),
        ("PATCH", "/v1/banks/x/speakers/re-enrollments", ADMIN),
        ("POST", "/v1/banks/x/speakers/enrollments", ADMIN),
    ],
)
def test_a_bank_or_speaker_called_enrollments_is_one_like_others(method: str, path: str, scope: str) -> None:
    assert needed_scopes(method, path) == (scope,)


class Notes:
    """An audit log in a list."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, ...]] = []

    def note(self, who: str, what: str, bank: str, **_: Any) -> None:
        self.entries.append((who, what, bank))


def noted(app: Flask) -> Notes:
    app.extensions[EXTENSION].audit = notes = Notes()
    return notes


def test_who_has_no_key_writes_nothing_into_the_audit_log() -> None:
    key = new_key()
    app = create_app(Settings(redis_url=URL, api_keys=entry("reader", ["read"], key)))
    notes = noted(app)
    assert app.test_client().delete("/v1/banks/x").status_code == 401
    assert app.test_client().delete("/v1/banks/x", headers={"X-API-Key": "spk_wrong"}).status_code == 401
    assert notes.entries == []
    long = "/v1/banks/" + "x" * 3000
    assert app.test_client().delete(long, headers={"X-API-Key": key}).status_code == 403
    [(who, what, bank)] = notes.entries
    assert who == "reader"
    assert what.startswith("DELETE /v1/banks/xxx")
    assert len(what) == len(bank) == 200


def test_nor_does_a_page_of_another_site() -> None:
    app = create_app(Settings(redis_url=URL))
    notes = noted(app)
    assert app.test_client().delete("/v1/banks/x", headers=CROSS).status_code == 403
    assert app.test_client().get("/InitSpeakerFeats", headers=CROSS).status_code == 403
    assert notes.entries == []
    app.test_client().delete("/v1/banks/x")
    assert notes.entries == [("anyone", "DELETE /v1/banks/x", "x")]


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.5", "speech.example"])
def test_an_address_that_other_machines_reach_needs_keys(host: str) -> None:
    with pytest.raises(ConfigurationError, match="SPEAKER_API_KEYS"):
        client(host=host)
    assert client(host=host, open_to_all=True)


@pytest.mark.parametrize(
    ("keys", "field"), [("", None), (entry("a", ["read"], new_key()), "none")], ids=["open", "keys"]
)
def test_a_request_line_says_key_none_only_where_keys_are_required(
    keys: str, field: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, Any]] = []
    monkeypatch.setattr(logs, "event", lambda *_, **fields: lines.append(fields))
    client(api_keys=keys).get("/v1/nothing")
    assert [line["key"] for line in lines] == [field]


@pytest.mark.parametrize("limit", ["600", "600/min", "many"])
def test_a_limit_that_cannot_be_read_is_refused_at_the_start(limit: str) -> None:
    with pytest.raises(ConfigurationError, match=r"SPEAKER_RATE_LIMIT=.*600/minute") as raised:
        create_app(Settings(redis_url=URL, rate_limit=limit))
    assert "\n" not in raised.value.message


def test_who_is_refused_is_counted_by_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "storage_uri", lambda settings: "memory://")
    key = new_key()
    asked = client(api_keys=entry("a", ["read"], key), rate_limit="3/hour")
    assert [asked.get("/v1/active").status_code for _ in range(5)] == [401] * 3 + [429] * 2
    assert asked.get("/v1/active", headers={"X-API-Key": key}).status_code == 503
    assert asked.get("/healthz").status_code == 200


def test_the_password_of_a_sentinel_url_is_the_masters_alone() -> None:
    settings = Settings(redis_url="sentinel://:p%40ss@one:26379/3;sentinel://two")
    assert storage_uri(settings) == "redis+sentinel://one:26379,two:26379/mymaster"
    options = storage_options(settings)
    assert (options["username"], options["password"], options["db"]) == (None, "p@ss", 3)
    assert options["sentinel_kwargs"]["password"] is None
    theirs = storage_options(settings.model_copy(update={"sentinel_password": "other", "sentinel_user": "ann"}))
    assert (theirs["sentinel_kwargs"]["username"], theirs["sentinel_kwargs"]["password"]) == ("ann", "other")
    assert storage_options(Settings(redis_url=URL)) == {}
    made: Any = storage_from_string(storage_uri(settings), **storage_options(settings))
    assert made.storage.connection_pool.connection_kwargs["password"] == "p@ss"
    assert made.storage.connection_pool.connection_kwargs["db"] == 3
    assert {one.connection_pool.connection_kwargs.get("password") for one in made.sentinel.sentinels} == {None}
