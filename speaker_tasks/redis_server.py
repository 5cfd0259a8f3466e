"""The Redis server as an operator has to set it up: its URL, room for what is written, no eviction of what is kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from speaker_tasks.errors import (
    ConfigurationError,
    RedisAlone,
    RedisAway,
    RedisCertificate,
    RedisDenied,
    RedisFull,
    RedisPassword,
    RedisReplica,
    RedisUnsaved,
)

if TYPE_CHECKING:
    import redis

SCHEMES = ("redis", "rediss", "sentinel")
CERTIFICATES = ("required", "optional", "none")
"""What `ssl_cert_reqs` may be in a `rediss://` URL; Python's own names (`CERT_REQUIRED`) are understood too."""
ENCODE = (
    "the Redis URL cannot be read (SPEAKER_REDIS_URL is scheme://:password@host:port/number): characters such as # / ? "
    "@ % and : in the user or password have to be percent-encoded, # as %23, / as %2F, @ as %40"
)

REFUSED_SECONDS = 30
"""What `Retry-After` says when somebody has to cure the server first."""
_REPLICA = "the Redis server is a replica and takes no changes; SPEAKER_REDIS_URL has to name its master"
_ALONE = "the Redis server has fewer replicas than min-replicas-to-write asks for, and takes no changes: start them"
_UNSAVED = (
    "the Redis server cannot write its file, and takes no changes (MISCONF): make room on its disk; its log says why"
)
_DENIED = "the Redis server forbids the user of SPEAKER_REDIS_URL a command or key (NOPERM): it needs +@all ~* &*"
_PASSWORD = "the Redis server does not accept the user and password of SPEAKER_REDIS_URL"
_CERTIFICATE = "the Redis server's certificate is not believed: SPEAKER_REDIS_CA has to name its authority's"
REFUSALS: tuple[tuple[str, type[RedisAway], str], ...] = (
    ("read only replica", RedisReplica, _REPLICA),
    ("NOREPLICAS", RedisAlone, _ALONE),
    ("good replicas to write", RedisAlone, _ALONE),
    ("MISCONF", RedisUnsaved, _UNSAVED),
    ("permissions to", RedisDenied, _DENIED),
    ("username-password pair", RedisPassword, _PASSWORD),
    ("Authentication required", RedisPassword, _PASSWORD),
    ("invalid password", RedisPassword, _PASSWORD),
    ("CERTIFICATE_VERIFY_FAILED", RedisCertificate, _CERTIFICATE),
)
"""What stands in a refusal by the server, and what it means: redis-py has classes for some, kombu keeps the text."""


def checked_url(url: str | None) -> str:
    """The URL in the form that redis-py and kombu both read; `rediss://` checks the server's certificate by default.

    Raises `ConfigurationError`, whose message holds nothing of the URL but its scheme: the rest may be a password.
    """
    if not url:
        raise ConfigurationError("SPEAKER_REDIS_URL is not set; `speaker-tasks up` starts a server of its own")
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES:
        shown = scheme if rest and scheme.replace("-", "").replace("+", "").isalnum() else "none"
        raise ConfigurationError(f"the Redis URL has the scheme {shown!r}; redis, rediss and sentinel are known")
    for one in url.split(";") if scheme == "sentinel" else [url]:
        _check(one if "://" in one else f"sentinel://{one}")
    return _with_certificates(url) if scheme == "rediss" else url


def with_options(url: str, options: Mapping[str, str]) -> str:
    """The URL with more options of redis-py in its query: Celery takes certificates from there alone."""
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    return urlunsplit(parts._replace(query=urlencode({**given, **options}, safe="/")))


def is_full(client: redis.Redis) -> bool:
    """Whether the server has no room left, and refuses what would take more. False where it does not say."""
    import redis

    try:
        memory: Any = client.info("memory")
    except redis.ResponseError:  # a user that may not ask
        return False
    most = memory.get("maxmemory", 0)
    return bool(most) and memory["used_memory"] >= most and memory.get("maxmemory_policy") == "noeviction"


def eviction(client: redis.Redis) -> str:
    """What the server's `maxmemory-policy` throws away when it is full; nothing under `noeviction`, as it should be."""
    memory: Any = client.info("memory")
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        return ""
    lost = "banks, jobs and queues" if policy.startswith("allkeys") else "jobs and recordings that wait"
    now = "" if memory.get("maxmemory") else ", once it has a maxmemory"
    return f"maxmemory-policy is {policy}: a full server throws away {lost}{now}"


def check_writable(client: redis.Redis) -> None:
    """Write something for a moment. Raises what redis-py raises if the server refuses it, see `refusal`."""
    client.set("speaker:writable", 1, px=1000)


def refusal(error: Exception) -> RedisAway:
    """What an error of redis-py or kombu means to who asks, in one line with the cure."""
    text = str(error)
    if type(error).__name__ == "OutOfMemoryError" or "used memory > 'maxmemory'" in text or "OOM command" in text:
        return full()
    for mark, kind, message in REFUSALS:
        if mark in text:
            return kind(message, retry_after=REFUSED_SECONDS)
    return RedisAway("the Redis server does not answer")


def is_refusal(error: Exception) -> bool:
    """Whether the server answers, and somebody can have it take later what it refuses now."""
    return type(refusal(error)) is not RedisAway


def full() -> RedisFull:
    """The error of a server without room."""
    return RedisFull(
        "the Redis server is full (its maxmemory is reached) and takes nothing new: raise maxmemory, or delete banks "
        "and jobs that nobody needs",
        retry_after=REFUSED_SECONDS,
    )


def _check(url: str) -> None:
    try:
        parts = urlsplit(url)
        well = bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port, which is where a password ends up that holds a #
        raise ConfigurationError(ENCODE) from None
    if not well or parts.fragment or "@" in parts.path + parts.query:
        raise ConfigurationError(ENCODE)


def _with_certificates(url: str) -> str:
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    given = options.get("ssl_cert_reqs", "required")
    wanted = given.lower().removeprefix("cert_")
    if wanted not in CERTIFICATES:
        raise ConfigurationError(f"ssl_cert_reqs={given} in the Redis URL; {', '.join(CERTIFICATES)} are known")
    return with_options(url, {"ssl_cert_reqs": wanted})
