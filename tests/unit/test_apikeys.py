"""API keys: hashed at rest, refused when they are not what they should be."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from speaker_tasks import apikeys
from speaker_tasks.apikeys import KeyRing, entry, hash_key, new_key
from speaker_tasks.errors import ConfigurationError
from speaker_tasks.settings import Settings
from web import create_app

URL = "redis://127.0.0.1:1/0"


def test_a_name_that_no_key_may_have_is_said() -> None:
    with pytest.raises(ConfigurationError, match="got '王 芳'"):
        entry("王 芳", ["read"], new_key())
    assert entry("王芳", ["read"], new_key()).startswith("王芳:read:")


def test_a_key_is_known_by_its_hash_alone() -> None:
    key = new_key()
    text = entry("phone", ["recognize", "read"], key)
    assert key not in text
    ring = KeyRing(Settings(api_keys=text))
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
    assert KeyRing(Settings(api_keys_file=tmp_path / "keys")).caller(key) is not None
    with pytest.raises(ConfigurationError, match="cannot be read"):
        KeyRing(Settings(api_keys_file=tmp_path / "nothing"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_keys_file_that_an_editor_of_windows_saved_is_read(tmp_path: Path, encoding: str) -> None:
    key, mark = new_key(), "\ufeff" if encoding == "utf-16-le" else ""
    (tmp_path / "keys").write_bytes(f"{mark}{entry('a', ['admin'], key)}\r\n".encode(encoding))
    assert KeyRing(Settings(api_keys_file=tmp_path / "keys")).caller(key) is not None


def test_a_keys_file_that_is_no_text_is_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "keys").write_bytes(b"\x80\x81")
    with pytest.raises(ConfigurationError, match="save it as UTF-8"):
        KeyRing(Settings(api_keys_file=tmp_path / "keys"))


@pytest.mark.parametrize("text", ["spk_plain-key", "name:read:123", "name:fly:" + "0" * 64, ":read:" + "0" * 64])
def test_what_is_no_entry_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        KeyRing(Settings(api_keys=text))
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


def test_a_key_that_is_taken_out_of_the_file_is_refused_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apikeys, "LOOK_SECONDS", 0.0)
    first, second = new_key(), new_key()
    file = tmp_path / "keys"
    file.write_text(f"{entry('a', ['admin'], first)}\n{entry('b', ['read'], second)}\n")
    ring = KeyRing(Settings(api_keys_file=file))
    assert ring.caller(first) is not None
    file.write_text(entry("b", ["read"], second))
    assert ring.caller(first) is None
    assert ring.caller(second) is not None
    for broken in ("what is no key", f"{entry('b', ['read'], second)}\n" * 2):
        file.write_text(broken)
        assert ring.caller(second) is not None, "a slip of the pen locks nobody out"
    file.unlink()
    assert ring.caller(second) is not None
    file.write_text("")
    assert ring.caller(second) is None
    assert ring, "a service that had keys is not opened to all"


def test_a_running_service_refuses_a_key_that_is_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apikeys, "LOOK_SECONDS", 0.0)
    key, file = new_key(), tmp_path / "keys"
    file.write_text(entry("a", ["admin"], key))
    client = create_app(Settings(redis_url=URL, api_keys_file=file)).test_client()

    def ask() -> int:
        return client.get("/v1/models", headers={"X-API-Key": key}).status_code

    assert ask() == 503, "it is let in, and there is no Redis server"
    file.write_text("# nobody\n")
    assert ask() == 401


@pytest.mark.parametrize(
    ("names", "says"), [(("a", "b", "a"), "2 API keys with the name 'a'"), (("anyone",), "'anyone'")]
)
def test_names_that_tell_nobody_apart_are_refused(names: tuple[str, ...], says: str) -> None:
    entries = [f"{name}:read:{hash_key(str(number))}" for number, name in enumerate(names)]
    with pytest.raises(ConfigurationError, match=says):
        KeyRing(Settings(api_keys=" ".join(entries)))
