"""The outbox: what was sent and has not begun, so that a message lost on its way is sent again.

kombu takes a message off its Redis list (BRPOP) before it writes it down as taken. A worker that is killed between the
two takes the message with it, and no visibility timeout brings it back. So whoever sends writes the message here first,
and the task's start takes it away. What stays here long and lies neither in a queue nor among the taken is lost.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import redis

from speaker_tasks.errors import RedisAway
from speaker_tasks.wire import UNACKED_KEY, encode

_TASK_ID = re.compile(rb'\\?"id\\?": ?\\?"([^"\\]+)')


@dataclass(frozen=True)
class Message:
    """One task on its way."""

    id: str
    task: str
    queue: str
    kwargs: dict[str, Any]
    expires: float | None = None
    """Seconds since 1970 after which nobody wants it any more."""
    audio: Sequence[str] = ()
    """Keys of the payloads that its job reads."""

    def encoded(self) -> bytes:
        """The message as it lies in its queue."""
        return encode(self.task, self.kwargs, task_id=self.id, queue=self.queue, expires=self.expires, audio=self.audio)

    def stored(self) -> bytes:
        """The message as it lies in the outbox."""
        return orjson.dumps(self)


class Outbox:
    """Sends tasks and knows which have not begun: a hash of messages, and a sorted set of when each was sent."""

    messages_key = "speaker:outbox"
    times_key = "speaker:outbox:times"

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._claim = client.register_script(_CLAIM)

    def put(self, message: Message, *, pipeline: redis.client.Pipeline | None = None) -> None:
        """Write the message down; with a pipeline, when the caller executes it."""
        pipe = self.client.pipeline() if pipeline is None else pipeline
        pipe.hset(self.messages_key, message.id, message.stored())
        pipe.zadd(self.times_key, {message.id: time.time()})
        if pipeline is None:
            pipe.execute()

    def publish(self, message: Message, *, pipeline: redis.client.Pipeline | None = None) -> None:
        """Send a message that was written down; with a pipeline, when the caller executes it. Raises `RedisAway`."""
        if pipeline is not None:
            pipeline.lpush(message.queue, message.encoded())
            return
        try:
            self.client.lpush(message.queue, message.encoded())
        except redis.RedisError as error:
            raise RedisAway("the Redis server does not take the job", retry_after=2) from error

    def send(self, message: Message) -> None:
        """Write the message down and send it, in one step. Raises `RedisAway`."""
        pipe = self.client.pipeline()
        self.put(message, pipeline=pipe)
        self.publish(message, pipeline=pipe)
        try:
            pipe.execute()
        except redis.RedisError as error:
            raise RedisAway("the Redis server does not take the job", retry_after=2) from error

    def begun(self, message_id: str) -> None:
        """The task has begun, or is not wanted any more: from here on it is the worker's."""
        pipe = self.client.pipeline()
        pipe.hdel(self.messages_key, message_id)
        pipe.zrem(self.times_key, message_id)
        pipe.execute()

    def missing(self, older_than: float, queues: Sequence[str]) -> set[str]:
        """Ids that were sent `older_than` seconds ago and lie nowhere at this moment."""
        old: Any = self.client.zrangebyscore(self.times_key, 0, time.time() - older_than)
        if not old:
            return set()
        pipe = self.client.pipeline()
        pipe.hvals(UNACKED_KEY)
        for queue in queues:
            pipe.lrange(queue, 0, -1)
        lying = {found for stored in pipe.execute() for blob in stored for found in _TASK_ID.findall(blob)}
        return {one.decode() for one in old if one not in lying}

    def send_again(self, message_id: str, older_than: float) -> bool:
        """Send a lost message once more; False if it has begun, expired, or another worker was first."""
        now = time.time()
        stored: Any = self._claim([self.messages_key, self.times_key], [message_id, now - older_than, now])
        if stored is None:
            return False
        message = Message(**orjson.loads(stored))
        if message.expires is not None and message.expires < now:
            self.begun(message_id)
            return False
        self.publish(message)
        return True


_CLAIM = """
local sent = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not sent or tonumber(sent) > tonumber(ARGV[2]) then return nil end
redis.call('ZADD', KEYS[2], 'XX', ARGV[3], ARGV[1])
return redis.call('HGET', KEYS[1], ARGV[1]) or nil
"""
