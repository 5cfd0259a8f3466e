"""The URL of the Redis server, and what its refusals mean."""

from __future__ import annotations

import ssl
from unittest.mock import Mock

import pytest
import redis
from kombu.exceptions import OperationalError

from speaker_tasks.celery_app import make_celery, redis_client
from speaker_tasks.commands.doctor import _memory
from speaker_tasks.errors import ConfigurationError, RedisAway, RedisFull
from speaker_tasks.redis_server import checked_url, eviction, is_full, refusal
from speaker_tasks.settings import Settings


@pytest.mark.parametrize("given", ["", "?ssl_cert_reqs=required", "?ssl_cert_reqs=CERT_REQUIRED"])
def test_tls_checks_the_servers_certificate_in_every_spelling(given: str) -> None:
    settings = Settings(redis_url=f"rediss://:secret@a:6380/2{given}")
    assert checked_url(settings.redis_url) == "rediss://:secret@a:6380/2?ssl_cert_reqs=required"
    assert redis_client(settings).connection_pool.connection_kwargs["ssl_cert_reqs"] == "required"
    assert make_celery(settings).connection_for_read().ssl["ssl_cert_reqs"] == ssl.CERT_REQUIRED


def test_other_options_of_tls_are_kept() -> None:
    url = checked_url("rediss://a/0?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=CERT_NONE")
    assert url == "rediss://a/0?ssl_ca_certs=/etc/ca.pem&ssl_cert_reqs=none"
    with pytest.raises(ConfigurationError, match="perhaps"):
        checked_url("rediss://a/0?ssl_cert_reqs=perhaps")


@pytest.mark.parametrize("password", ["pass#word", "pass/word", "12/word", "pass?word", "a:b#c"])
def test_a_password_that_is_not_encoded_is_named_as_the_cause_and_not_shown(password: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encoded") as raised:
        checked_url(f"redis://:{password}@127.0.0.1:6379/0")
    assert "pass" not in raised.value.message.replace("password", "")
    assert "word" not in raised.value.message.replace("password", "")


def test_an_encoded_password_and_one_without_a_scheme() -> None:
    assert (
        redis_client(Settings(redis_url="redis://:a%23b@h:1/0")).connection_pool.connection_kwargs["password"] == "a#b"
    )
    with pytest.raises(ConfigurationError) as raised:
        checked_url("secret:word@127.0.0.1:6379")
    assert "secret" not in raised.value.message


def test_a_full_server_is_told_from_one_that_is_away() -> None:
    full = redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
    assert isinstance(refusal(full), RedisFull)
    away = refusal(redis.ConnectionError("refused"))
    assert isinstance(away, RedisAway)
    assert not isinstance(away, RedisFull)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (redis.ReadOnlyError("You can't write against a read only replica."), "redis_replica"),
        (redis.ResponseError("NOREPLICAS Not enough good replicas to write."), "redis_alone"),
        (redis.ResponseError("MISCONF Valkey is configured to save RDB snapshots, but ..."), "redis_unsaved"),
        (
            redis.exceptions.NoPermissionError("User default has no permissions to run the 'set' command"),
            "redis_denied",
        ),
        (redis.AuthenticationError("invalid username-password pair or user is disabled."), "redis_password"),
        (redis.AuthenticationError("Authentication required."), "redis_password"),
        (redis.ConnectionError("Error 1 connecting to h:1. [SSL: CERTIFICATE_VERIFY_FAILED] ..."), "redis_certificate"),
        (OperationalError("MISCONF Errors writing to the AOF file: No space left on device"), "redis_unsaved"),
        (redis.ConnectionError("Error 111 connecting to h:1. Connection refused."), "redis_away"),
    ],
)
def test_what_the_server_refuses_has_its_own_code(error: Exception, code: str) -> None:
    refused = refusal(error)
    assert (refused.status, refused.code) == (503, code)


@pytest.fixture
def server() -> Mock:
    client = Mock()
    client.info.return_value = {"used_memory": 5 << 20, "maxmemory": 0, "maxmemory_policy": "noeviction"}
    return client


def test_memory_of_the_server(server: Mock) -> None:
    assert not is_full(server)
    assert not eviction(server)
    assert _memory(server).state == "ok"
    server.info.return_value |= {"maxmemory": 6 << 20}
    assert _memory(server).state == "warn"
    server.info.return_value |= {"maxmemory": 1 << 20}
    assert is_full(server)
    assert _memory(server).state == "fail"
    server.info.return_value |= {"maxmemory_policy": "allkeys-lru"}
    assert "banks" in eviction(server)
    assert _memory(server).state == "fail", "banks vanish"
    server.info.return_value |= {"maxmemory_policy": "volatile-lru"}
    assert "banks" not in eviction(server)
    assert _memory(server).state == "warn"
