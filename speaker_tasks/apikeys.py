"""API keys: made once and shown once, kept as hashes, compared in constant time, each with its scopes."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.settings import Settings

READ, RECOGNIZE, ENROLL, ADMIN = "read", "recognize", "enroll", "admin"
SCOPES = (READ, RECOGNIZE, ENROLL, ADMIN)
PREFIX = "spk_"
_ENTRY = re.compile(r"(?P<name>[\w.@-]{1,64}):(?P<scopes>[a-z+]+):(?P<digest>[0-9a-f]{64})")


@dataclass(frozen=True)
class Caller:
    """Who asks: the name of a key and what it may do. `admin` may do everything."""

    name: str
    scopes: frozenset[str]

    def may(self, *scopes: str) -> bool:
        """Whether one of the scopes, or `admin`, is among the caller's."""
        return ADMIN in self.scopes or any(scope in self.scopes for scope in scopes)


ANYONE = Caller("anyone", frozenset(SCOPES))
"""Who asks a service without keys."""


class KeyRing:
    """The keys of one service."""

    def __init__(self, entries: list[tuple[Caller, bytes]]) -> None:
        self._entries = entries

    @classmethod
    def of(cls, settings: Settings) -> KeyRing:
        """The keys that the settings name. Raises `ConfigurationError` for an entry that is none."""
        texts = settings.api_keys.split()
        if settings.api_keys_file is not None:
            try:
                lines = settings.api_keys_file.read_text("utf-8").splitlines()
            except OSError as error:
                raise ConfigurationError(f"SPEAKER_API_KEYS_FILE cannot be read: {error}") from None
            texts += [part for line in lines for part in line.partition("#")[0].split()]
        return cls([_entry(number, text) for number, text in enumerate(texts, start=1)])

    def __bool__(self) -> bool:
        return bool(self._entries)

    def caller(self, key: str) -> Caller | None:
        """Whose key it is. Takes as long for a wrong key as for a right one."""
        digest = hash_key(key).encode()
        found = None
        for caller, known in self._entries:
            if hmac.compare_digest(digest, known):
                found = caller
        return found


def new_key() -> str:
    """A key with 256 bits of chance: too many to guess, so that a plain SHA-256 hides it well."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def entry(name: str, scopes: list[str], key: str) -> str:
    """The entry of a key for `SPEAKER_API_KEYS`. Raises `ConfigurationError`."""
    text = f"{name}:{'+'.join(scopes)}:{hash_key(key)}"
    _entry(1, text)
    return text


def _entry(number: int, text: str) -> tuple[Caller, bytes]:
    match = _ENTRY.fullmatch(text)
    if match is None:  # the text itself may be a key and is not shown
        raise ConfigurationError(
            f"entry {number} of the API keys is not NAME:SCOPE+SCOPE:SHA256; `speaker-tasks keys new NAME` writes one"
        )
    scopes = frozenset(match["scopes"].split("+"))
    if unknown := sorted(scopes - set(SCOPES)):
        raise ConfigurationError(f"key {match['name']!r} has the scope {unknown[0]!r}; there is {', '.join(SCOPES)}")
    return Caller(match["name"], scopes), match["digest"].encode()
