"""Sign-ins of browsers: a random token in a cookie stands for an API key, which itself never goes to the browser.

Redis keeps, under the token's hash, the hash of the key: a key that is taken out of the settings ends its sessions, and
a sign-out ends one at once. A request that changes something also has to carry the session's CSRF token in a header.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

import redis

from speaker_tasks.apikeys import Caller, KeyRing, hash_key

COOKIE = "speaker_session"
CSRF_HEADER = "X-CSRF-Token"
SESSION_SECONDS = 12 * 3600


class Sessions:
    """The sessions of one service: `speaker:session:<hash of the token>` -> hash of the API key, for twelve hours."""

    key_template = "speaker:session:{hash}"

    def __init__(self, client: redis.Redis, keys: KeyRing) -> None:
        self.client, self.keys = client, keys

    def open(self, api_key: str) -> str | None:
        """The token of a new session; None if the key is not one of the service's."""
        if self.keys.caller(api_key) is None:
            return None
        token = secrets.token_urlsafe(32)
        self.client.set(self._key(token), hash_key(api_key), ex=SESSION_SECONDS)
        return token

    def caller(self, token: str) -> Caller | None:
        """Who signed in; None for an unknown or ended session, or a key that is no longer among the service's."""
        stored = self.client.get(self._key(token))
        return self.keys.caller_of_hash(stored.decode()) if isinstance(stored, bytes) else None

    def close(self, token: str) -> None:
        """End a session."""
        self.client.unlink(self._key(token))

    def _key(self, token: str) -> str:
        return self.key_template.format(hash=hashlib.sha256(token.encode("utf-8", "replace")).hexdigest())


def csrf_token(token: str) -> str:
    """The token that a page sends with each change; the session's token cannot be computed from it."""
    return hmac.new(token.encode("utf-8", "replace"), b"csrf", hashlib.sha256).hexdigest()


def csrf_matches(token: str, given: str) -> bool:
    """Whether the header holds the session's CSRF token."""
    return hmac.compare_digest(csrf_token(token).encode(), given.encode("utf-8", "replace"))
