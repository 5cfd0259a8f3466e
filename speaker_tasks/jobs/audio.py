"""Audio on its way through the queue: raw bytes in Redis with a short life, while messages carry only their key.

A payload is a header of 8 bytes and then the audio as it came: an encoded file, or bare samples. The header keeps
samples aligned, so that a worker reads them where they lie.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import redis

from speaker_tasks.errors import Malformed, PayloadGone, TooLarge
from speaker_tasks.jobs.forgetting import MARK_DELETED, MARK_WRITTEN, VOICES_KEY

_HEADER = struct.Struct("<2sBBI")
_MAGIC = b"SA"
_VERSION = 1
_INT16_SCALE = np.float32(1 / 32768)
PAYLOAD_PREFIX = "speaker:audio:"
"""How the keys of payloads begin; a path on a worker's disk never does."""
_KEY = re.compile(f"{PAYLOAD_PREFIX}[0-9a-f]{{32}}:[0-9a-f]{{8}}")
MOST_BYTES = 512 * 1024**2
"""What Redis takes in one value, as it is usually set."""


class Encoding(IntEnum):
    """What follows the header."""

    FILE = 0
    """An audio file of any format that `embedding.audio` decodes."""
    FLOAT32 = 1
    """Mono samples in [-1, 1], little-endian."""
    INT16 = 2
    """Mono samples, little-endian."""


@dataclass(frozen=True)
class Audio:
    """One recording as it came: an encoded file, or bare samples with their rate in Hz (0 for a file)."""

    encoding: Encoding
    data: bytes | memoryview
    rate: int = 0

    @classmethod
    def of_samples(cls, samples: np.ndarray, rate: int) -> Audio:
        """Mono samples (T,): int16 is kept, all else becomes float32."""
        if samples.dtype == np.int16:
            return cls(Encoding.INT16, samples.astype("<i2", copy=False).tobytes(), rate)
        return cls(Encoding.FLOAT32, samples.astype("<f4", copy=False).tobytes(), rate)

    @classmethod
    def of_file(cls, data: bytes) -> Audio:
        """The bytes of an audio file."""
        return cls(Encoding.FILE, data)

    def samples(self) -> np.ndarray:
        """Bare samples as (T,) float32 in [-1, 1]. Raises `Malformed` for a file or a broken length."""
        try:
            if self.encoding is Encoding.FLOAT32:
                return np.frombuffer(self.data, "<f4")
            if self.encoding is Encoding.INT16:
                return np.frombuffer(self.data, "<i2").astype(np.float32) * _INT16_SCALE
        except ValueError as error:
            raise Malformed(f"the samples are cut short: {error}") from None
        raise Malformed("an encoded file has to be decoded first")

    def pack(self) -> bytes:
        """The payload: header and audio."""
        return b"".join((_HEADER.pack(_MAGIC, _VERSION, self.encoding, self.rate), self.data))

    @classmethod
    def unpack(cls, payload: bytes) -> Audio:
        """What `pack` wrote, without a copy. Raises `Malformed`."""
        try:
            magic, version, encoding, rate = _HEADER.unpack_from(payload)
            if (magic, version) != (_MAGIC, _VERSION):
                raise ValueError(f"magic {magic!r}, version {version}")
            return cls(Encoding(encoding), memoryview(payload)[_HEADER.size :], rate)
        except (struct.error, ValueError) as error:
            raise Malformed(f"not a payload of this service: {error}") from None


class AudioStore:
    """Payloads in Redis, each forgotten after `ttl` seconds.

    A key names the content's hash and its one owner: whoever is done with a recording deletes it, and must not take
    away that of another request that happened to send the same bytes.
    """

    key_template = PAYLOAD_PREFIX + "{hash}:{owner}"

    def __init__(self, client: redis.Redis, ttl: int) -> None:
        self.client, self.ttl = client, ttl

    def put(self, payload: bytes, *, pipeline: redis.client.Pipeline | None = None) -> str:
        """Keep the payload; with a pipeline, when the caller executes it. Raises `TooLarge`."""
        if len(payload) > MOST_BYTES:
            raise TooLarge(f"{len(payload)} bytes in one piece; Redis takes {MOST_BYTES}", max_bytes=MOST_BYTES)
        key = new_key(payload)
        pipe = self.client.pipeline(transaction=False) if pipeline is None else pipeline
        pipe.set(key, payload, ex=self.ttl)
        pipe.eval(MARK_WRITTEN, 1, VOICES_KEY, self.ttl)
        if pipeline is None:
            pipe.execute()
        return key

    def get(self, key: str) -> bytes:
        """The payload. Raises `PayloadGone`, also for the key of something else: a message or a file may name any."""
        payload = self.client.get(key) if is_key(key) else None
        if payload is None:
            raise _gone(key)
        return payload  # type: ignore[return-value]  # the client is synchronous and decodes nothing

    def delete(self, *keys: str) -> None:
        """Forget payloads; unknown keys are no error, and those of anything else are left alone."""
        if mine := [key for key in keys if is_key(key)]:
            pipe = self.client.pipeline(transaction=False)
            pipe.unlink(*mine)
            pipe.eval(f"{MARK_DELETED} mark_deleted()", 1, VOICES_KEY)
            pipe.execute()


def content_hash(data: bytes | memoryview) -> str:
    """32 hexadecimal digits that name the content (SHA-256, which processors have an instruction for)."""
    return hashlib.sha256(data).hexdigest()[:32]


def new_key(payload: bytes) -> str:
    """A key of one's own for a payload."""
    return AudioStore.key_template.format(hash=content_hash(payload), owner=secrets.token_hex(4))


def is_key(key: object) -> bool:
    """Whether it is the key of a payload, and of nothing else in Redis."""
    return isinstance(key, str) and _KEY.fullmatch(key) is not None


def _gone(key: str) -> PayloadGone:
    return PayloadGone("the recording expired before a worker took it; send it again", key=key)
