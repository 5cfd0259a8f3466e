"""Signing in with a key: the cookie, the CSRF token, and what a key may not do."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests

from speaker_tasks.apikeys import new_key
from tests.integration.stack import Stack, Web, entries

KEYS = {scope: new_key() for scope in ("read", "admin")}


@pytest.fixture(scope="module")
def keyed(stack: Stack) -> Iterator[Web]:
    """A web process on the shared stack that wants keys."""
    web = stack.web(workers=1, threads=6, SPEAKER_API_KEYS=entries(KEYS))
    yield web
    web.process.stop()


def signed_in(web: Web, scope: str) -> tuple[requests.Session, str]:
    """A browser's session, and its CSRF token."""
    session = requests.Session()
    answer = session.post(web.url + "/sign-in", data={"key": KEYS[scope], "next": "people"}, timeout=30)
    assert answer.ok, answer.text
    token = re.search(r'data-csrf="([0-9a-f]{64})"', answer.text)
    assert token is not None
    return session, token[1]


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(keyed: Web) -> None:
    answer = requests.post(keyed.url + "/sign-in", data={"key": KEYS["read"]}, allow_redirects=False, timeout=30)
    cookie = answer.headers["Set-Cookie"]
    assert answer.status_code == 303
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert KEYS["read"] not in cookie, "the key itself stays out of the browser"


def test_a_change_needs_the_token_of_the_page(keyed: Web) -> None:
    session, token = signed_in(keyed, "admin")
    body = {"bank": "all"}
    assert session.get(keyed.url + "/v1/banks", timeout=30).ok
    without = session.put(keyed.url + "/v1/active", json=body, timeout=30)
    assert without.status_code == 403
    assert "load the page again" in without.json()["error"]["message"]
    wrong = session.put(keyed.url + "/v1/active", json=body, headers={"X-CSRF-Token": "0" * 64}, timeout=30)
    assert wrong.status_code == 403
    foreign = {"X-CSRF-Token": token, "Origin": "http://evil.example"}
    assert session.put(keyed.url + "/v1/active", json=body, headers=foreign, timeout=30).status_code == 403
    assert session.put(keyed.url + "/v1/active", json=body, headers={"X-CSRF-Token": token}, timeout=30).ok
    entries = session.get(keyed.url + "/v1/audit?limit=1", timeout=30).json()["entries"]
    assert entries[0]["who"] == "admin-key"


def test_a_read_key_may_not_change_anything_by_cookie_either(keyed: Web) -> None:
    session, token = signed_in(keyed, "read")
    answer = session.put(keyed.url + "/v1/active", json={"bank": "all"}, headers={"X-CSRF-Token": token}, timeout=30)
    assert answer.status_code == 403
    assert answer.json()["error"]["details"]["scope"] == "admin"


def test_signing_out_ends_the_session(keyed: Web) -> None:
    session, _ = signed_in(keyed, "read")
    kept = session.cookies.copy()
    assert session.post(keyed.url + "/sign-out", timeout=30).ok
    assert requests.get(keyed.url + "/v1/banks", cookies=kept, timeout=30).status_code == 401
