"""The task messages of jobs: which are on their way, which worker runs each, and what is to be sent again.

Celery's message says the same, but a server that crashes, or a worker that is killed with the message in its hands, may
lose it for hours. So each message has a record here from the moment that its job is made until its work is done.
Nothing in it is of kombu's making: what to call with what, when it was last sent, who runs it, and for which time.

Keys: `speaker:task:<id>` is a hash (job, task, queue, kwargs, options, attempts); `speaker:tasks:waiting:<queue>` a
sorted set of ids by the time that they were sent; `speaker:tasks:running` a hash of ids -> worker;
`speaker:tasks:reached` a hash of queue -> when what was started last had been sent. Times are Redis' own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
import redis
from celery import Celery
from kombu import Exchange, Queue

from speaker_tasks import tracing
from speaker_tasks.jobs.places import queue_at

JOB_HEADER = "speaker_job"
"""The header of our messages that names their job. What others send has none, and gets a job of its own."""
RUNNING_KEY = "speaker:tasks:running"
REACHED_KEY = "speaker:tasks:reached"
WORKER_KEY = "speaker:worker:"
"""How the keys begin that living workers renew."""
GRACE_KEY = "speaker:tasks:grace"
"""There for a while after workers could not renew them: until then a worker whose key is missing may well live."""

SHOWN = 512
"""Letters of the arguments that Flower shows."""

Refusal = Literal["unknown", "over", "held"]


@dataclass(frozen=True)
class Message:
    """One call of a task for a job."""

    id: str
    """Celery's id of the task. The first message of a job has the job's id."""
    job: str
    task: str
    queue: str
    kwargs: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    """More of Celery's options: where the answer goes to when somebody wants it from the result backend."""

    def fields(self) -> dict[str, Any]:
        """What Redis keeps of it."""
        texts = {"job": self.job, "task": self.task, "queue": self.queue}
        return texts | {"kwargs": orjson.dumps(self.kwargs), "options": orjson.dumps(self.options)}


class Deliveries:
    """The records of task messages in one Redis server, and the way to send them. Thread-safe."""

    def __init__(self, client: redis.Redis, app: Celery, ttl: int) -> None:
        """Records that nobody ends are forgotten after `ttl` seconds."""
        self.client, self._app, self._ttl = client, app, ttl
        self._reclaim = client.register_script(_RECLAIM)
        self._hand_on = client.register_script(_HAND_ON)

    def send(self, message: Message, *, countdown: float | None = None, place: str = "") -> None:
        """Give the message to Celery, for any worker or those of a place.

        Raises `redis.RedisError`, kombu's `OperationalError`.
        """
        options = {"ignore_result": True} | message.options
        queue = queue_at(message.queue, place)
        with tracing.sending(f"send {message.task}", {"speaker.job": message.job}) as trace:
            self._app.send_task(
                message.task,
                kwargs=message.kwargs,
                task_id=message.id,
                queue=Queue(queue, Exchange(queue), routing_key=queue) if place else queue,  # type: ignore[arg-type]
                headers={JOB_HEADER: message.job} | trace,
                countdown=countdown,
                add_to_parent=False,
                declare=[],  # a list in Redis needs no declaration, and what Flower shows no care
                argsrepr="()",
                kwargsrepr=repr(message.kwargs)[:SHOWN],
                **options,
            )

    def expect(self, message: Message, pipeline: redis.client.Pipeline, *, after: float = 0.0) -> None:
        """Write the message down as sent now, or in `after` seconds; `send` it when the pipeline was executed."""
        keys = [task_key(message.id), waiting_key(message.queue)]
        fields = [part for field in message.fields().items() for part in field]
        pipeline.eval(_EXPECT, len(keys), *keys, message.id, self._ttl, after, *fields)

    def begin(
        self,
        message_id: str,
        job_key: str,
        worker: str,
        pipeline: redis.client.Pipeline,
        *,
        ended: bool = False,
        call: str = "",
    ) -> None:
        """A worker starts the task: the pipeline gives which attempt it is, or a `Refusal` as bytes.

        `unknown`: there is no job; `over`: its work is done, or nobody wants it any more; `held`: another runs it.
        `ended` is for what is done when its job has ended. Who asks again with the same `call`, since the answer was
        lost on its way, has the same attempt.
        """
        keys = [task_key(message_id), job_key, RUNNING_KEY, REACHED_KEY, GRACE_KEY]
        values = [message_id, worker, WORKER_KEY, waiting_key(""), "ended" if ended else "", call]
        pipeline.eval(_BEGIN, len(keys), *keys, *values)

    def hand_on(self, message_id: str, following: Sequence[Message]) -> bool:
        """The message's work is done and `following` go on: write it down in one step, then send them.

        False if it was done before: then nothing is sent.
        """
        keys = [RUNNING_KEY, task_key(message_id)]
        values: list[Any] = [message_id, self._ttl]
        for one in following:
            keys += [task_key(one.id), waiting_key(one.queue)]
            values += [one.id, *one.fields().values()]
        done = bool(self._hand_on(keys, values))
        if done:
            for one in following:
                self.send(one)
        return done

    def put_off(self, message: Message, seconds: float, *, place: str = "") -> None:
        """The worker that has begun the task does it later, or another one does, of that place if there is one.

        If no worker of the place lives by then, the sweep sends it to any.
        """
        pipe = self.client.pipeline()
        pipe.hdel(RUNNING_KEY, message.id)
        pipe.hincrby(task_key(message.id), "attempts", -1)
        self.expect(message, pipe, after=seconds)
        pipe.execute()
        self.send(message, countdown=seconds or None, place=place)

    def running(self) -> dict[str, str]:
        """The worker of each message that is being worked on."""
        workers: Any = self.client.hgetall(RUNNING_KEY)
        return {one.decode(): worker.decode() for one, worker in workers.items()}

    def holder(self, message_id: str) -> str | None:
        """The worker that works on a message, if one does."""
        worker: Any = self.client.hget(RUNNING_KEY, message_id)
        return worker.decode() if worker else None

    def waiting(self, queue: str, sent_before: float) -> list[str]:
        """What has not begun of what was sent before that moment, the oldest first."""
        ids: Any = self.client.zrange(waiting_key(queue), 0, sent_before, byscore=True)
        return [one.decode() for one in ids]

    def reached(self, queue: str) -> float:
        """When that was sent which began last."""
        return float(self.client.hget(REACHED_KEY, queue) or 0)

    def reclaim(self, message_id: str, *, worker: str = "", queue: str = "") -> Message | None:
        """Take a message from a dead worker, or one that is lost from its queue.

        None if it has ended, its worker lives, or another one was first. It counts as sent from here on.
        """
        keys = [task_key(message_id), RUNNING_KEY]
        stored: Any = self._reclaim(keys, [message_id, worker, WORKER_KEY + worker, queue, waiting_key("")])
        if not stored:
            return None
        fields = dict(zip(stored[::2], stored[1::2], strict=True))
        job, task, queue = (fields[name].decode() for name in (b"job", b"task", b"queue"))
        return Message(message_id, job, task, queue, orjson.loads(fields[b"kwargs"]), orjson.loads(fields[b"options"]))

    def now(self) -> float:
        """Redis' time, in seconds since 1970."""
        seconds, micros = self.client.time()
        return seconds + micros / 1e6


def task_key(message_id: str) -> str:
    """Where a message's record lies."""
    return f"speaker:task:{message_id}"


def waiting_key(queue: str) -> str:
    """Where the ids lie of what waits in a queue."""
    return f"speaker:tasks:waiting:{queue}"


_NOW = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
"""

_EXPECT = f"""
{_NOW}
redis.call('HSET', KEYS[1], unpack(ARGV, 4))
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[2], now + ARGV[3], ARGV[1])
"""

FORGET = """
local function forget(id, task, running, waiting)
  local queue = redis.call('HGET', task, 'queue')
  redis.call('UNLINK', task)
  redis.call('HDEL', running, id)
  if queue then redis.call('ZREM', waiting .. queue, id) end
end
"""
"""Nothing is to be done for a message any more."""

_BEGIN = f"""
{_NOW}
{FORGET}
local state, expires = unpack(redis.call('HMGET', KEYS[2], 'state', 'expires'))
local ended, wanted = ARGV[5] == 'ended', state == 'queued' or state == 'running'
if not state then return 'unknown' end
if state == 'queued' and expires and tonumber(expires) < now then wanted = false end
local queue = redis.call('HGET', KEYS[1], 'queue')
if not queue or not (wanted or ended) then
  forget(ARGV[1], KEYS[1], KEYS[3], ARGV[4])
  return 'over'
end
local holder = redis.call('HGET', KEYS[3], ARGV[1])
if holder == ARGV[2] and ARGV[6] ~= '' and redis.call('HGET', KEYS[1], 'call') == ARGV[6] then
  return tonumber(redis.call('HGET', KEYS[1], 'attempts'))
end
local own = ARGV[3] .. ARGV[2]
if holder and (redis.call('EXISTS', ARGV[3] .. holder, KEYS[5]) > 0 or redis.call('EXISTS', own) == 0) then
  redis.call('ZREM', ARGV[4] .. queue, ARGV[1])
  return 'held'
end
local sent = redis.call('ZSCORE', ARGV[4] .. queue, ARGV[1])
if sent then
  redis.call('ZREM', ARGV[4] .. queue, ARGV[1])
  redis.call('HSET', KEYS[4], queue, sent)
end
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[1], 'call', ARGV[6])
if not ended then
  redis.call('HSET', KEYS[2], 'state', 'running', 'worker', ARGV[2])
  redis.call('HSETNX', KEYS[2], 'started', now)
end
return redis.call('HINCRBY', KEYS[1], 'attempts', 1)
"""

_HAND_ON = f"""
{_NOW}
if redis.call('UNLINK', KEYS[2]) == 0 then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
local at = 3
for key = 3, #KEYS, 2 do
  redis.call('HSET', KEYS[key], 'job', ARGV[at + 1], 'task', ARGV[at + 2], 'queue', ARGV[at + 3],
    'kwargs', ARGV[at + 4], 'options', ARGV[at + 5])
  redis.call('EXPIRE', KEYS[key], ARGV[2])
  redis.call('ZADD', KEYS[key + 1], now, ARGV[at])
  at = at + 6
end
return 1
"""

_RECLAIM = f"""
{_NOW}
if ARGV[2] ~= '' then
  if redis.call('HGET', KEYS[2], ARGV[1]) ~= ARGV[2] or redis.call('EXISTS', ARGV[3]) == 1 then return false end
  redis.call('HDEL', KEYS[2], ARGV[1])
end
local queue = redis.call('HGET', KEYS[1], 'queue')
if not queue then
  redis.call('ZREM', ARGV[5] .. ARGV[4], ARGV[1])
  return false
end
if ARGV[2] == '' and not redis.call('ZSCORE', ARGV[5] .. queue, ARGV[1]) then return false end
redis.call('ZADD', ARGV[5] .. queue, now, ARGV[1])
return redis.call('HGETALL', KEYS[1])
"""
