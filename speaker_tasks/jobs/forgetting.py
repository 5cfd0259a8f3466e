"""Removing deleted recordings from Redis' disk: its append-only file is rewritten soon after recordings were deleted.

The file keeps every write until Redis rewrites it, deleted recordings included. While a job waits, its recording has to
be in the file, or a crash would lose an accepted job; afterwards a rewrite removes it. One worker does it for all, at
most once in `SPEAKER_FORGET_SECONDS`, and only if a recording was deleted since the last rewrite.

Key: `speaker:voices` is a hash: `deleted`, when a recording was last deleted; `until`, when the last one that came
expires by itself; `rewritten`, when the last rewrite began. Times are Redis' own.
"""

from __future__ import annotations

import logging

import redis

VOICES_KEY = "speaker:voices"

logger = logging.getLogger(__name__)


class Forgetting:
    """One worker's share of the work."""

    def __init__(self, client: redis.Redis, seconds: float) -> None:
        """At most once in so many seconds; 0: never."""
        self._redis, self._seconds = client, seconds
        self._due = client.register_script(_DUE)
        self._may = seconds > 0
        self.damaged = False
        """Whether the server failed to write its file, as on a full disk: then it is rewritten as soon as possible.

        Valkey 9.1 truncates a partial write, possibly at the wrong place; then its next start would fail.
        """

    def __call__(self) -> None:
        """Have the file rewritten if that is due. Raises `redis.RedisError` if the server is away."""
        if not self.damaged and not (self._may and self._due([VOICES_KEY], [self._seconds])):
            return
        try:
            self._redis.bgrewriteaof()
            self.damaged = False
        except redis.ResponseError as refused:
            self._redis.hdel(VOICES_KEY, "rewritten")
            if "in progress" not in str(refused):
                self._may = self.damaged = False
                logger.warning("Redis' append-only file keeps deleted recordings, for BGREWRITEAOF fails: %s", refused)


MARK_DELETED = """
local function mark_deleted()
  local time = redis.call('TIME')
  redis.call('HSET', 'speaker:voices', 'deleted', time[1] + time[2] / 1000000)
end
"""
"""For scripts that delete recordings."""

MARK_WRITTEN = """
local time = redis.call('TIME')
local until_then = time[1] + tonumber(ARGV[1])
local known = tonumber(redis.call('HGET', KEYS[1], 'until') or 0)
if until_then > known then redis.call('HSET', KEYS[1], 'until', until_then) end
"""

_DUE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local deleted, until_then, rewritten = unpack(redis.call('HMGET', KEYS[1], 'deleted', 'until', 'rewritten'))
deleted, until_then, rewritten = tonumber(deleted or 0), tonumber(until_then or 0), tonumber(rewritten or 0)
local due = deleted > rewritten or (until_then < now and until_then > rewritten)
if not due or now - rewritten < tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'rewritten', now)
return 1
"""
