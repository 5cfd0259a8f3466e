"""What a worker's threads take from the queue by themselves, past Celery: the next message, ready to be done.

Celery's way of one message from the queue to a task and back costs more processor time than a short recording's
network. It stays the way of all but recognitions: for these a worker has threads of its own, so that bulk work never
has all of them. The messages are Celery's all the same, and any Celery worker may read them; what others put into the
queue goes on to one that Celery's consumer reads. One script takes the message, writes
it down as taken where kombu would (so that the message of a killed worker comes back in the same way), marks the job as
running, and brings its audio and the banks' token as it is now; the job's end acknowledges it, in the same step that
takes the next one. What nobody wants any more, because the job was canceled or has expired, is dropped there and costs
nothing else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import redis

from speaker_tasks import jobscripts
from speaker_tasks.celery_app import OTHER_QUEUE
from speaker_tasks.errors import PayloadGone
from speaker_tasks.jobs import Ending, JobStore
from speaker_tasks.outbox import Outbox
from speaker_tasks.payloads import AudioStore
from speaker_tasks.wire import HEADER, UNACKED_INDEX, UNACKED_KEY, Parcel, decode

Announce = Callable[..., None]


@dataclass(frozen=True)
class Taken:
    """A message that a thread took, and the payloads of its job by their keys; None for one that has expired."""

    parcel: Parcel
    token: bytes
    """The banks' token (`ActiveMode.token`) when it was taken."""
    audio: dict[str, bytes | None] = field(default_factory=dict)


class Intake:
    """Takes the messages of one queue. Thread-safe."""

    def __init__(self, client: redis.Redis, queue: str, token_key: str) -> None:
        """`token_key` is where the banks' token lies."""
        self.client, self.queue = client, queue
        self._token_key = token_key
        self._take = client.register_script(_TAKE)
        self._end_and_take = client.register_script(_END_AND_TAKE)
        self._own = threading.local()
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._closed = threading.Event()
        self.announce: Announce = lambda kind, parcel, **more: None
        """Tells whoever watches (Flower) of a task: its kind of event, the parcel, and more."""

    def take(self, ended: Ending | None = None) -> Taken | None:
        """The oldest message that is wanted; None if there is none, or all is closing.

        `ended` is how the job ended that this thread did before: it is written in the same step, in any case.
        """
        if ended is not None:
            return self._end_and_begin(ended)
        return None if self.closed else self._begin(b"")

    def wait(self, seconds: float) -> Taken | None:
        """The same, waiting for one. What is lost between the two steps is in the outbox, and sent again."""
        if self.closed:
            return None
        popped: Any = self._connection().brpop([self.queue], timeout=seconds)
        return self._begin(popped[1]) if popped else None

    def let_go(self, tag: str) -> None:
        """The message of that tag is acknowledged, or is to come back to whoever takes it then."""
        with self._lock:
            self._held.discard(tag)

    def held(self) -> tuple[str, ...]:
        """The tags of the messages that are being worked on."""
        with self._lock:
            return tuple(self._held)

    def close(self) -> None:
        """Take no more: the worker is leaving. Safe in a signal handler."""
        self._closed.set()

    @property
    def closed(self) -> bool:
        """Whether the worker is leaving."""
        return self._closed.is_set()

    def _begin(self, raw: bytes) -> Taken | None:
        return self._taken(self._take(self._keys(), self._values(raw), client=self._connection()))

    def _end_and_begin(self, ended: Ending) -> Taken | None:
        keys, values = [*ended.keys, *self._keys()], [*ended.values, *self._values(b"")]
        shape = [len(ended.keys), len(ended.values), "" if self.closed else "take"]
        try:
            return self._taken(self._end_and_take(keys, [*shape, *values], client=self._connection()))
        finally:
            self.let_go(ended.tag)

    def _keys(self) -> list[str]:
        outbox = (Outbox.messages_key, Outbox.times_key)
        return [self.queue, UNACKED_KEY, UNACKED_INDEX, *outbox, self._token_key, OTHER_QUEUE]

    def _values(self, raw: bytes) -> list[Any]:
        return [raw, time.time(), JobStore.key_template.format(id=""), HEADER]

    def _taken(self, found: Any) -> Taken | None:
        if not found:
            return None
        parcel, token, audio = decode(found[0]), found[1], found[2:]
        with self._lock:
            self._held.add(parcel.tag)
        brought = {key.decode(): payload for key, payload in zip(audio[::2], audio[1::2], strict=True)}
        return Taken(parcel, token, brought)

    def _connection(self) -> redis.Redis:
        """A client of this thread's own with one connection: to borrow one each time costs as much as the command."""
        client: redis.Redis | None = getattr(self._own, "client", None)
        if client is None:
            client = self._own.client = self.client.client()
        return client


class BroughtAudio:
    """The payloads that came with a message, in front of the store that has the others."""

    def __init__(self, store: AudioStore, brought: dict[str, bytes | None]) -> None:
        self._store, self._brought = store, brought

    def put(self, payload: bytes) -> str:
        """Keep the payload for a while: its key."""
        return self._store.put(payload)

    def get(self, key: str) -> bytes:
        """The payload. Raises `PayloadGone`."""
        if key not in self._brought:
            return self._store.get(key)
        payload = self._brought[key]
        if payload is None:
            raise PayloadGone("the recording expired before a worker took it; send it again", key=key)
        return payload

    def delete(self, *keys: str) -> None:
        """Forget payloads; unknown keys are no error."""
        self._store.delete(*keys)


_TAKE = """
local raw, now = ARGV[1], tonumber(ARGV[2])
if raw == '' then raw = redis.call('RPOP', KEYS[1]) end
while raw do
  local ok, message = pcall(cjson.decode, raw)
  local ours = ok and type(message) == 'table' and message.headers and message.headers[ARGV[4]]
  if ours then
    redis.call('HDEL', KEYS[4], message.headers.id)
    redis.call('ZREM', KEYS[5], message.headers.id)
    local job = ARGV[3] .. ours.job
    local state, expires = unpack(redis.call('HMGET', job, 'state', 'expires'))
    local late = state == 'queued' and expires and tonumber(expires) < now
    if (state == 'queued' or state == 'running') and not late then
      local tag = message.properties.delivery_tag
      redis.call('HSET', job, 'state', 'running')
      redis.call('HSETNX', job, 'started', ARGV[2])
      redis.call('ZADD', KEYS[3], ARGV[2], tag)
      redis.call('HSET', KEYS[2], tag, '[' .. raw .. ',"","' .. KEYS[1] .. '"]')
      local found = {raw, redis.call('GET', KEYS[6]) or '0'}
      for _, key in ipairs(ours.audio) do
        found[#found + 1] = key
        found[#found + 1] = redis.call('GET', key)
      end
      return found
    end
    if #ours.audio > 0 then redis.call('UNLINK', unpack(ours.audio)) end
  else
    redis.call('LPUSH', KEYS[7], raw)
  end
  raw = redis.call('RPOP', KEYS[1])
end
return false
"""

_END_AND_TAKE = f"""
local function finish(KEYS, ARGV)
{jobscripts.FINISH}
end
local function take(KEYS, ARGV)
{_TAKE}
end
local function part(list, first, last)
  local found = {{}}
  for at = first, last do found[#found + 1] = list[at] end
  return found
end
local keys, values = tonumber(ARGV[1]), tonumber(ARGV[2])
finish(part(KEYS, 1, keys), part(ARGV, 4, 3 + values))
if ARGV[3] == '' then return false end
return take(part(KEYS, keys + 1, #KEYS), part(ARGV, 4 + values, #ARGV))
"""
"""Both in one: how a job ended, then the next message; so many keys and values are the end's."""
