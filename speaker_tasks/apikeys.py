"""API keys: made once and shown once, kept as hashes, compared in constant time, each with its scopes."""

from __future__ import annotations

import codecs
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.settings import Settings

READ, RECOGNIZE, ENROLL, ADMIN, METRICS = "read", "recognize", "enroll", "admin", "metrics"
SCOPES = (READ, RECOGNIZE, ENROLL, ADMIN, METRICS)
PREFIX = "spk_"
LOOK_SECONDS = 5.0
"""How often the file is looked at."""
logger = logging.getLogger(__name__)
_NAME = re.compile(r"[\w.@-]{1,64}")
_ENTRY = re.compile(rf"(?P<name>{_NAME.pattern}):(?P<scopes>[a-z+]+):(?P<digest>[0-9a-f]{{64}})")


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
    """The keys of one service. Those of the file are read again when it has changed: who is taken out is refused.

    A file that cannot be read any more, or holds what is no key, leaves the keys as they are; the log says so. A
    service that has had keys stays closed when the last of them is taken out.
    """

    def __init__(self, settings: Settings) -> None:
        """The keys that the settings name. Raises `ConfigurationError` for an entry that is none."""
        self._settings = settings
        self._state = self._state_of_file()
        self._entries = _entries(settings)
        self._is_closed = bool(self._entries)
        self._next_look = time.monotonic() + LOOK_SECONDS

    def __bool__(self) -> bool:
        self._look()
        return self._is_closed

    def caller(self, key: str) -> Caller | None:
        """Whose key it is. Takes as long for a wrong key as for a right one."""
        return self.caller_of_hash(hash_key(key))

    def caller_of_hash(self, digest: str) -> Caller | None:
        """Whose key has this SHA-256; as `caller`."""
        self._look()
        owner = None
        for caller, stored in self._entries:
            if hmac.compare_digest(digest.encode(), stored):
                owner = caller
        return owner

    def _look(self) -> None:
        """Read the file again if it is another one than before; threads that come together may do it twice."""
        if self._settings.api_keys_file is None or time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        if (state := self._state_of_file()) == self._state:
            return
        try:
            self._entries = _entries(self._settings)
        except ConfigurationError as error:
            logger.error("the API keys stay as they were: %s", error)
        else:
            self._state = state
            self._is_closed = self._is_closed or bool(self._entries)
            logger.warning("SPEAKER_API_KEYS_FILE has changed: %d keys", len(self._entries))

    def _state_of_file(self) -> tuple[int, int, int] | None:
        try:
            status = self._settings.api_keys_file.stat() if self._settings.api_keys_file else None
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino) if status else None


def new_key() -> str:
    """A key with 256 bits of chance: too many to guess, so that a plain SHA-256 hides it well."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def entry(name: str, scopes: list[str], key: str) -> str:
    """The entry of a key for `SPEAKER_API_KEYS`. Raises `ConfigurationError`."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"a key's name has 1 to 64 letters, digits, and signs of . @ - _, without spaces; got {name!r}"
        )
    text = f"{name}:{'+'.join(scopes)}:{hash_key(key)}"
    _entry(1, text)
    return text


def _entries(settings: Settings) -> list[tuple[Caller, bytes]]:
    texts = settings.api_keys.split()
    if settings.api_keys_file is not None:
        lines = _text(settings.api_keys_file).splitlines()
        texts += [part for line in lines for part in line.partition("#")[0].split()]
    entries = [_entry(number, text) for number, text in enumerate(texts, start=1)]
    counts = Counter(caller.name for caller, _ in entries)
    if doubled := next((name for name, count in counts.items() if count > 1), None):
        raise ConfigurationError(
            f"there are {counts[doubled]} API keys with the name {doubled!r}: jobs and the audit log tell callers by it"
        )
    return entries


def _text(path: Path) -> str:
    """The text of a keys file; Windows' editors write UTF-8 with a mark, or UTF-16."""
    try:
        data = path.read_bytes()
        marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if marked else "utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"SPEAKER_API_KEYS_FILE cannot be read: {error}") from None
    except UnicodeError:
        raise ConfigurationError(f"SPEAKER_API_KEYS_FILE: {path} is not UTF-8 text; save it as UTF-8") from None


def _entry(number: int, text: str) -> tuple[Caller, bytes]:
    match = _ENTRY.fullmatch(text)
    if match is None:  # the text itself may be a key and is not shown
        raise ConfigurationError(
            f"entry {number} of the API keys is not NAME:SCOPE+SCOPE:SHA256; `speaker-tasks keys new NAME` writes one"
        )
    if match["name"] == ANYONE.name:
        raise ConfigurationError(f"no API key may be called {ANYONE.name!r}: so is called who has none")
    scopes = frozenset(match["scopes"].split("+"))
    if unknown := sorted(scopes - set(SCOPES)):
        raise ConfigurationError(f"key {match['name']!r} has the scope {unknown[0]!r}; there is {', '.join(SCOPES)}")
    return Caller(match["name"], scopes), match["digest"].encode()
