"""What tasks take by name, and what a worker waits for when Redis refuses."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from kombu.exceptions import OperationalError

from speaker_tasks.errors import Malformed
from speaker_tasks.tasks import arguments
from speaker_tasks.tasks.running import is_passing


def test_one_recording_needs_no_list() -> None:
    assert arguments.read(arguments.Identify, (), {"audio": "/a.wav"}).audio == ["/a.wav"]
    assert arguments.read(arguments.Compare, (), {"audio": ["/a.wav", "/b.wav"]}).audio == ["/a.wav", "/b.wav"]


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (arguments.Question, {}, "audio"),
        (arguments.Question, {"audio": []}, "audio"),
        (arguments.Question, {"audio": ["a", "b"]}, "audio"),
        (arguments.Question, {"audio": "A" * (arguments.MOST_SOURCE + 1)}, "a megabyte"),
        (arguments.Compare, {"audio": "/a.wav"}, "audio"),
        (arguments.Identify, {"audio": "/a.wav", "top_k": "many"}, "top_k"),
        (arguments.Identify, {"audio": "/a.wav", "threshold": float("nan")}, "threshold"),
        (arguments.Verify, {"audio": "/a.wav"}, "speaker"),
        (arguments.Enroll, {"bank": "x", "mode": "wipe"}, "mode"),
        (arguments.Enroll, {"bank": "x", "colour": "red"}, "there is no such argument; there is bank, path"),
    ],
)
def test_what_is_wrong_is_named(kind: type[arguments.Arguments], given: dict[str, Any], said: str) -> None:
    with pytest.raises(Malformed, match=said):
        arguments.read(kind, (), given)


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("Connection refused"),
        redis.TimeoutError("Timeout reading from socket"),
        redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        redis.ReadOnlyError("You can't write against a read only replica."),
        redis.exceptions.NoPermissionError("this user has no permissions to run the 'hset' command"),
        redis.ResponseError("ACL failure in script: User default has no permissions to run the 'unlink' command"),
        redis.AuthenticationError("invalid username-password pair or user is disabled."),
        redis.ResponseError("MISCONF Redis is configured to save RDB snapshots, but it cannot persist"),
        redis.ResponseError("NOREPLICAS Not enough good replicas to write."),
        redis.ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"),
        redis.ResponseError("Command # 1 (EVAL ...) of pipeline caused error: OOM command not allowed"),
        redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        OperationalError(str(TimeoutError())),
    ],
)
def test_what_redis_may_take_later_is_waited_for(error: Exception) -> None:
    assert is_passing(error)


@pytest.mark.parametrize(
    "error",
    [
        redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        redis.ResponseError("unknown command 'HSTE'"),
        redis.DataError("Invalid input of type: 'dict'"),
    ],
)
def test_what_is_a_mistake_of_ours_is_not(error: Exception) -> None:
    assert not is_passing(error)
