"""One tree of errors: each class carries its HTTP status, its code and the exit status of the command line.

An error raised in a worker crosses the queue as `to_dict()` and is raised again on the other side by `from_dict()`.
What a user can mend is a 4xx; what an operator can mend is a 503; anything outside this tree is a bug and a 500.
"""

from __future__ import annotations

import errno
from typing import Any, ClassVar

LONGEST_MESSAGE = 1500
"""Characters of a message; who sent more of a value than that sees its beginning."""


class SpeakerTasksError(Exception):
    """Base of all errors that a user is shown. `details` is JSON."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, **details: Any) -> None:
        if len(message) > LONGEST_MESSAGE:  # it holds a value that somebody sent
            message = f"{message[:LONGEST_MESSAGE]}..."
        super().__init__(message)
        self.message = message
        self.details = details

    def to_dict(self) -> dict[str, Any]:
        """The error as `{"code", "message", "details"}`."""
        return {"code": self.code, "message": self.message, "details": self.details}


def from_dict(data: dict[str, Any]) -> SpeakerTasksError:
    """The error that `to_dict` wrote; an unknown code gives the base class."""
    cls = _by_code().get(data.get("code", ""), SpeakerTasksError)
    return cls(data.get("message", "internal error"), **data.get("details", {}))


class Malformed(SpeakerTasksError):
    """The request is not of the form that the endpoint takes: not JSON, a key missing, a wrong type."""

    status, code, exit_status = 400, "malformed", 2


class Unauthorized(SpeakerTasksError):
    """No key, or one that is not known."""

    status, code, exit_status = 401, "unauthorized", 7


class Forbidden(SpeakerTasksError):
    """The key has not the scope; details: `scope`."""

    status, code, exit_status = 403, "forbidden", 7


class NotFound(SpeakerTasksError):
    """A bank, speaker, job, mode, file or folder that does not exist."""

    status, code, exit_status = 404, "not_found", 3


class Conflict(SpeakerTasksError):
    """The state does not allow it: another writer was first, a name is taken, a job has ended."""

    status, code, exit_status = 409, "conflict", 4


class EmptyBank(Conflict):
    """Nobody is enrolled in the bank that is asked."""

    code = "empty_bank"


class ModelMismatch(Conflict):
    """Vectors of two models would be compared; details: `bank_model`, `model`."""

    code = "model_mismatch"


class Gone(SpeakerTasksError):
    """It was here and has expired."""

    status, code, exit_status = 410, "gone", 3


class TooLarge(SpeakerTasksError):
    """More bytes or seconds than the settings allow."""

    status, code, exit_status = 413, "too_large", 2


class UnsupportedAudio(SpeakerTasksError):
    """The bytes are not audio that any decoder here reads."""

    status, code, exit_status = 415, "unsupported_audio", 2


class Unusable(SpeakerTasksError):
    """Well formed, but of no use: a shape that does not match, values that are not finite."""

    status, code, exit_status = 422, "unusable", 2


class OutsideRoots(Unusable):
    """A path that, once its links are followed, lies below none of the allowed folders."""

    code = "outside_roots"


class UnusableAudio(Unusable):
    """Decoded, but no voice can be taken from it: silent, too short; details hold the measured value."""

    code = "unusable_audio"


class NotFinite(Unusable):
    """Samples or vectors with NaN or infinity."""

    code = "not_finite"


class TooManyRequests(SpeakerTasksError):
    """More requests than the key, or the address, may send; details: `retry_after` seconds."""

    status, code, exit_status = 429, "too_many_requests", 5


class Unavailable(SpeakerTasksError):
    """It cannot be done now; details may hold `retry_after` seconds."""

    status, code, exit_status = 503, "unavailable", 5


class RedisAway(Unavailable):
    """The Redis server does not answer."""

    code = "redis_away"


class RedisFull(RedisAway):
    """The Redis server answers and has no room for what would be written."""

    code = "redis_full"


class RedisReplica(RedisAway):
    """The Redis server is a replica, and takes no changes."""

    code = "redis_replica"


class RedisAlone(RedisAway):
    """The Redis server has too few replicas (`min-replicas-to-write`), and takes no changes."""

    code = "redis_alone"


class RedisUnsaved(RedisAway):
    """The Redis server cannot write its file (MISCONF), and takes no changes."""

    code = "redis_unsaved"


class RedisDenied(RedisAway):
    """The Redis server's access list forbids our user a command or a key (NOPERM)."""

    code = "redis_denied"


class RedisPassword(RedisAway):
    """The Redis server does not accept our user and password."""

    code = "redis_password"


class RedisCertificate(RedisAway):
    """The Redis server's certificate is not signed by an authority that is believed, or is another host's."""

    code = "redis_certificate"


class StorageFull(SpeakerTasksError):
    """No room on a disk that has to hold what was sent for a moment."""

    status, code, exit_status = 507, "insufficient_storage", 5


def storage_full(error: BaseException, where: str) -> StorageFull | None:
    """What an error of the system means if it is a full disk, or one without a folder for temporary files."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    if not full and "No usable temporary directory" not in str(error):
        return None
    return StorageFull(f"the disk for temporary files of the {where} is full: make room there, or set TMPDIR")


class Lost(Unavailable):
    """A job that was accepted, and that Redis has no record of any more: it crashed, or a replica took its place."""

    code = "job_lost"


class NoWorker(Unavailable):
    """No worker with a warm model is alive."""

    code = "no_worker"


class Busy(Unavailable):
    """More work waits for the model than it can take in time; details: `retry_after` seconds."""

    code = "busy"


class PayloadGone(SpeakerTasksError):
    """The job's audio expired before a worker took it. Permanent: never retried."""

    status, code, exit_status = 410, "payload_gone", 3


class GivenUp(SpeakerTasksError):
    """Work that was begun several times, and each time its worker died; details: `attempts`."""

    code = "given_up"


class WeightsMissing(SpeakerTasksError):
    """No trained weights for the model: a worker refuses to start."""

    status, code, exit_status = 503, "weights_missing", 6


class WeightsRefused(SpeakerTasksError):
    """A weights file that is cut short, of another layout, or not the one it claims to be."""

    status, code, exit_status = 422, "weights_refused", 6


class ConfigurationError(SpeakerTasksError):
    """A setting that cannot work; one line at start says which."""

    status, code, exit_status = 500, "configuration", 2


def _by_code() -> dict[str, type[SpeakerTasksError]]:
    classes: dict[str, type[SpeakerTasksError]] = {}
    todo = [SpeakerTasksError]
    while todo:
        cls = todo.pop()
        classes[cls.code] = cls
        todo.extend(cls.__subclasses__())
    return classes
