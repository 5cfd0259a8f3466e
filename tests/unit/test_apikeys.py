"""API keys: hashed at rest, refused when they are not what they should be."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from speaker_tasks.apikeys import KeyRing, entry, new_key
from speaker_tasks.errors import ConfigurationError
from speaker_tasks.settings import Settings
from web import create_app

URL = "redis://127.0.0.1:1/0"


def test_a_key_is_known_by_its_hash_alone() -> None:
    key = new_key()
    text = entry("phone", ["recognize", "read"], key)
    assert key not in text
    ring = KeyRing.of(Settings(api_keys=text))
    caller = ring.caller(key)
    assert caller is not None
    assert caller.name == "phone"
    assert caller.may("read")
    assert not caller.may("admin", "enroll")
    assert ring.caller(key + "x") is None
    assert ring.caller("") is None


def test_keys_may_stand_in_a_file_with_comments(tmp_path: Path) -> None:
    key = new_key()
    (tmp_path / "keys").write_text(f"# ours\n{entry('a', ['admin'], key)}  # the boss\n\n")
    assert KeyRing.of(Settings(api_keys_file=tmp_path / "keys")).caller(key) is not None
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KeyRing.of(Settings(api_keys_file=tmp_path / "nothing"))


@pytest.mark.parametrize("text", ["spk_plain-key", "name:read:123", "name:fly:" + "0" * 64, ":read:" + "0" * 64])
def test_what_is_no_entry_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        KeyRing.of(Settings(api_keys=text))
    assert text not in raised.value.message


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "speaker.example"])
def test_a_public_address_needs_keys_or_plain_words(host: str) -> None:
    with pytest.raises(ConfigurationError, match="SPEAKER_OPEN_TO_ALL"):
        create_app(Settings(redis_url=URL, host=host))
    create_app(Settings(redis_url=URL, host=host, open_to_all=True))
    create_app(Settings(redis_url=URL, host=host, api_keys=entry("a", ["read"], new_key())))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_private_address_needs_none(host: str) -> None:
    create_app(Settings(redis_url=URL, host=host))


def test_a_page_of_another_site_may_not_use_an_open_service() -> None:
    client = create_app(Settings(redis_url=URL)).test_client()
    for path in ("/speaker", "/v1/embed"):
        assert client.post(path, json={}, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert client.post(path, json={}, headers={"Sec-Fetch-Site": "same-origin"}).status_code != 403


class TestLegacy:
    def client(self, **settings: str) -> FlaskClient:
        return create_app(Settings(redis_url=URL, **settings)).test_client()  # type: ignore[arg-type]

    def test_the_older_endpoints_can_be_turned_off(self) -> None:
        answer = self.client(legacy="off").post("/speaker", json={})
        assert answer.status_code == 404
        assert "turned off" in answer.get_json()["error"]["message"]

    def test_they_are_behind_a_key_as_soon_as_there_are_keys(self) -> None:
        keys = entry("a", ["read"], new_key())
        assert self.client(api_keys=keys).post("/speaker", json={}).status_code == 401
        assert self.client(api_keys=keys, legacy="open").post("/speaker", json={}).status_code == 400
        assert self.client().post("/speaker", json={}).status_code == 400
