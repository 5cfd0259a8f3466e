"""How many jobs of one caller may be on their way: nobody fills the queue, or the server, for all others."""

from __future__ import annotations

import time
from typing import Any

import redis

from speaker_tasks.errors import TooManyRequests
from speaker_tasks.jobs.store import JobStore

SUBMITTED_SECONDS = 5.0
"""Within so long a job that was let in has its record."""


class Quota:
    """Callers' jobs that have not ended, at most so many each.

    `speaker:quota:<kind>:<caller>` is a sorted set of job ids by the time that they were let in. Nobody takes out
    those that end; when the set is full, they are looked for in the jobs' records, in the server itself.
    """

    key_template = "speaker:quota:{kind}:{caller}"

    def __init__(self, client: redis.Redis, *, kind: str, most: int, life: int, pause: float) -> None:
        """`most` is 0 for no limit; after `life` seconds no job counts any more. `pause` is what `Retry-After` says."""
        self.kind, self.most, self.life, self.pause = kind, most, life, pause
        self._enter = client.register_script(_ENTER)

    def enter(self, caller: str, job_id: str) -> None:
        """Let one more job of the caller in. Raises `TooManyRequests`."""
        if not self.most:
            return
        key, job_key = self.key_template.format(kind=self.kind, caller=caller), JobStore.key_template.format(id="")
        now = time.time()
        full: Any = self._enter([key], [self.most, job_id, now, self.life, job_key, now - SUBMITTED_SECONDS])
        if full:
            raise TooManyRequests(
                f"{self.most} {self.kind} of {caller} have not ended; wait for one of them",
                limit=self.most,
                retry_after=self.pause,
            )


_ENTER = """
local most, now, life = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('ZCARD', KEYS[1]) >= most then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - life)
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
    local state = redis.call('HGET', ARGV[5] .. id, 'state')
    local submitted = state or tonumber(redis.call('ZSCORE', KEYS[1], id)) < tonumber(ARGV[6])
    if submitted and state ~= 'queued' and state ~= 'running' then redis.call('ZREM', KEYS[1], id) end
  end
end
if redis.call('ZCARD', KEYS[1]) >= most then return 1 end
redis.call('ZADD', KEYS[1], now, ARGV[2])
redis.call('EXPIRE', KEYS[1], life)
return 0
"""
