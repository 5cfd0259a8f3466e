"""Keys and scopes by table, limits, and clients that are slow or send too much, on real web processes."""

from __future__ import annotations

import getpass
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from speaker_tasks.apikeys import entry, new_key
from tests.integration.stack import PROGRAMS, Stack, Web, entries

KEYS = {scope: new_key() for scope in ("read", "recognize", "enroll", "admin")}
OGG = {"Content-Type": "audio/ogg"}


@pytest.fixture(scope="module")
def locked(stack: Stack) -> Iterator[Web]:
    """A web process on the shared stack with one key for each scope."""
    web = stack.web(
        workers=1,
        threads=6,
        SPEAKER_API_KEYS=entries(KEYS),
        SPEAKER_RATE_LIMIT="300/minute",
        SPEAKER_MAX_BODY_BYTES="300000",
    )
    yield web
    web.process.stop()


def ask(web: Web, method: str, path: str, scope: str | None, **options: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {KEYS[scope]}"} if scope else {}
    return requests.request(method, web.url + path, headers=headers, timeout=60, **options)  # type: ignore[arg-type]


TABLE: list[tuple[str, str, set[str]]] = [
    ("POST", "/v1/identify", {"recognize", "admin"}),
    ("POST", "/v1/verify", {"recognize", "admin"}),
    ("POST", "/v1/embed", {"recognize", "admin"}),
    ("POST", "/v1/compare", {"recognize", "admin"}),
    ("GET", "/v1/jobs", {"read", "recognize", "enroll", "admin"}),
    ("GET", "/v1/jobs/1", {"read", "recognize", "enroll", "admin"}),
    ("GET", "/v1/jobs/1/events", {"read", "recognize", "enroll", "admin"}),
    ("DELETE", "/v1/jobs/1", {"recognize", "enroll", "admin"}),
    ("GET", "/v1/banks", {"read", "admin"}),
    ("GET", "/v1/banks/x", {"read", "admin"}),
    ("GET", "/v1/banks/x/speakers", {"read", "admin"}),
    ("GET", "/v1/banks/x/check", {"read", "admin"}),
    ("GET", "/v1/banks/x/export", {"read", "admin"}),
    ("POST", "/v1/banks", {"admin"}),
    ("DELETE", "/v1/banks/x", {"admin"}),
    ("PATCH", "/v1/banks/x/speakers/y", {"admin"}),
    ("DELETE", "/v1/banks/x/speakers/y", {"admin"}),
    ("POST", "/v1/banks/x/merge", {"admin"}),
    ("POST", "/v1/banks/x/rollback", {"admin"}),
    ("POST", "/v1/banks/x/import", {"admin"}),
    ("POST", "/v1/banks/x/snapshot", {"admin"}),
    ("POST", "/v1/banks/x/enrollments", {"enroll", "admin"}),
    ("GET", "/v1/banks/x/versions", {"read", "admin"}),
    ("GET", "/v1/banks/x/check", {"read", "admin"}),
    ("GET", "/v1/banks/x/recordings/y", {"read", "admin"}),
    ("POST", "/v1/enrollments/preview", {"enroll", "admin"}),
    ("GET", "/v1/queues", {"read", "admin"}),
    ("GET", "/v1/active", {"read", "admin"}),
    ("PUT", "/v1/active", {"admin"}),
    ("GET", "/v1/models", {"read", "admin"}),
    ("GET", "/v1/workers", {"read", "admin"}),
    ("GET", "/v1/audit", {"admin"}),
    ("POST", "/speaker", {"recognize", "admin"}),
    ("POST", "/SpeakerFeats", {"recognize", "admin"}),
    ("GET", "/GetSpeakerList", {"read", "admin"}),
    ("POST", "/ModifyFeatsMode", {"admin"}),
]


@pytest.mark.parametrize(("method", "path", "allowed"), TABLE, ids=[f"{row[0]} {row[1]}" for row in TABLE])
def test_each_key_may_do_what_its_scope_says(locked: Web, method: str, path: str, allowed: set[str]) -> None:
    without = ask(locked, method, path, None)
    assert without.status_code == 401
    assert without.json()["error"]["code"] == "unauthorized"
    assert without.headers["WWW-Authenticate"].startswith("Bearer")
    for scope in KEYS:
        answer = ask(locked, method, path, scope)
        if scope in allowed:
            assert answer.status_code not in {401, 403}, f"{scope}: {answer.text}"
        else:
            assert answer.status_code == 403, f"{scope}: {answer.text}"
            assert answer.json()["error"]["code"] == "forbidden"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json"])
def test_health_and_description_need_no_key(locked: Web, path: str) -> None:
    assert ask(locked, "GET", path, None).status_code == 200


def test_a_wrong_key_is_401_and_the_other_header_serves_too(locked: Web) -> None:
    wrong = requests.get(locked.url + "/v1/banks", headers={"X-API-Key": "spk_wrong"}, timeout=10)
    assert wrong.status_code == 401
    right = requests.get(locked.url + "/v1/banks", headers={"X-API-Key": KEYS["read"]}, timeout=10)
    assert right.status_code == 200


def test_a_key_sees_its_own_jobs_only(locked: Web, demo_speakers: Path) -> None:
    clip = (demo_speakers / "Alice" / "1.ogg").read_bytes()
    headers = OGG | {"Authorization": f"Bearer {KEYS['recognize']}"}
    made = requests.post(locked.url + "/v1/embed?wait=0", data=clip, headers=headers, timeout=60)
    assert made.status_code == 202, made.text
    job = made.headers["Location"]
    assert ask(locked, "GET", job, "recognize").status_code == 200
    assert ask(locked, "GET", job, "admin").status_code == 200
    assert ask(locked, "GET", job, "read").status_code == 404
    listed = ask(locked, "GET", "/v1/jobs", "recognize").json()["jobs"]
    assert {one["about"]["key"] for one in listed} == {"recognize-key"}


def test_changes_of_banks_are_in_the_audit_log(locked: Web) -> None:
    ask(locked, "DELETE", "/v1/banks/not-there", "admin")
    ask(locked, "DELETE", "/v1/banks/not-there", "read")
    entries = ask(locked, "GET", "/v1/audit?limit=2", "admin").json()["entries"]
    assert [(one["who"], one["status"], one["bank"]) for one in entries] == [
        ("read-key", 403, "not-there"),
        ("admin-key", 404, "not-there"),
    ]
    assert all(one["what"] == "DELETE /v1/banks/not-there" for one in entries)


def test_the_command_line_jobs_and_the_older_endpoints_are_in_the_audit_log_too(
    locked: Web, stack: Stack, demo_speakers: Path
) -> None:
    people = stack.folder / "data" / "audited"
    for name in ("Alice", "Brian"):
        shutil.copytree(demo_speakers / name, people / name)

    def cli(*arguments: str) -> str:
        command = [str(PROGRAMS / "speaker-tasks"), *arguments]
        return subprocess.run(command, check=True, env=stack.environment(), capture_output=True, text=True).stdout

    path = "/v1/banks/audited/enrollments?force=true"
    job = ask(locked, "POST", path, "enroll", json={"path": str(people)}).json()["job"]["id"]
    events = ask(locked, "GET", f"/v1/jobs/{job}/events", "enroll")
    assert "event: end" in events.text
    ask(locked, "POST", "/ModifyFeatsMode", "admin", json={"feats_mode": "audited"})
    cli("banks", "rename", "audited", "Brian", "Bryan")
    ask(locked, "DELETE", "/v1/banks/audited/speakers/Bryan?purge=true", "admin")
    cli("banks", "use", "all")
    cli("banks", "delete", "audited", "--yes")

    entries = [json.loads(line) for line in cli("banks", "audit", "audited", "--json").splitlines()]
    user = f"cli:{getpass.getuser()}"
    assert [(one["who"], one["status"]) for one in reversed(entries)] == [
        ("enroll-key", 202),
        (f"job:{job}", 200),
        (user, 200),
        ("admin-key", 200),
        (user, 200),
    ]
    assert [one["what"] for one in reversed(entries)][1:] == [
        "add: 10 recordings of 2 speakers, version 1, asked by enroll-key",
        "renamed Brian to Bryan",
        "DELETE /v1/banks/audited/speakers/Bryan?purge=true",
        "deleted",
    ]
    assert ask(locked, "GET", "/v1/audit?bank=audited", "admin").json()["entries"] == entries
    modes = [one["what"] for one in ask(locked, "GET", "/v1/audit?limit=20", "admin").json()["entries"]]
    assert "POST /ModifyFeatsMode" in modes
    assert "made it the active bank" in modes


def test_answers_carry_security_headers_and_the_request_id(locked: Web) -> None:
    answer = requests.get(locked.url + "/v1/banks", headers={"X-Request-ID": "my-id.7"}, timeout=10)
    assert answer.headers["X-Request-ID"] == "my-id.7"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "unsafe-eval" not in requests.get(locked.url + "/docs", timeout=10).headers["Content-Security-Policy"]


def test_a_body_over_the_limit_is_413(locked: Web) -> None:
    headers = OGG | {"X-API-Key": KEYS["recognize"]}
    answer = requests.post(locked.url + "/v1/embed", data=b"x" * 300_001, headers=headers, timeout=30)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


def test_clients_that_send_a_byte_now_and_then_do_not_stop_the_others(locked: Web) -> None:
    host, port = locked.url.removeprefix("http://").split(":")
    head = b"POST /v1/embed HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
    slow = []
    for number in range(8):
        connection = socket.create_connection((host, int(port)))
        connection.sendall(head + (b"Authorization: Bearer " + KEYS["recognize"].encode() if number % 2 else b""))
        slow.append(connection)
    started = time.monotonic()
    assert requests.get(locked.url + "/healthz", timeout=30).status_code == 200
    assert time.monotonic() - started < 15
    for connection in slow:
        connection.close()


def test_too_many_requests_are_told_when_to_come_back(stack: Stack) -> None:
    key = new_key()
    web = stack.web(workers=1, threads=2, SPEAKER_API_KEYS=entry("few", ["read"], key), SPEAKER_RATE_LIMIT="5/minute")
    headers = {"X-API-Key": key}
    answers = [requests.get(web.url + "/v1/active", headers=headers, timeout=10) for _ in range(7)]
    web.process.stop()
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert answers[-1].json()["error"]["code"] == "too_many_requests"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 61


def test_a_public_address_without_keys_is_refused_at_start(stack: Stack) -> None:
    with pytest.raises(AssertionError, match="there are no keys"):
        stack.web(workers=1, threads=2, SPEAKER_HOST="0.0.0.0")
