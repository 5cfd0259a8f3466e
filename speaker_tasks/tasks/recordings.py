"""Recordings on their way to vectors: fetched from allowed places, hashed, read in blocks, run in shared batches."""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from enrollment.manifest import Entry
from enrollment.roots import inside
from speaker_tasks.embedding import audio as sound
from speaker_tasks.embedding.embedder import pool
from speaker_tasks.errors import Busy, SpeakerTasksError, Unavailable, UnsupportedAudio
from speaker_tasks.payloads import Audio
from speaker_tasks.tasks.context import WorkerContext

PAYLOAD = "payload:"
"""A path that begins so is the key of bytes that were uploaded."""
WINDOWS_AT_A_TIME = 8
"""Windows of one or of several recordings that share a call of the network."""
AHEAD = 2
"""Calls that may wait for the network while the next recordings are read."""
PATIENCE_SECONDS = 600.0
"""How long bulk work waits for a network that is busy with people who wait."""


@dataclass(frozen=True)
class Recording:
    """One recording's bytes, or the file that holds them, and their hash."""

    source: bytes | Path
    hash: str
    """32 hexadecimal digits of the content (BLAKE2b)."""


@dataclass
class Embedded:
    """One recording after the network, or the error that stopped it."""

    key: str
    hash: str = ""
    seconds: float = 0.0
    vector: np.ndarray | None = None
    error: SpeakerTasksError | None = None
    _parts: list[np.ndarray] = field(default_factory=list)
    _waiting: int = 0
    _read: bool = False


def fetch(context: WorkerContext, entry: Entry) -> Recording:
    """Find a recording and hash it. Raises `OutsideRoots`, `NotFound`, `PayloadGone`, `UnsupportedAudio`."""
    if entry.path.startswith(PAYLOAD):
        data = bytes(Audio.unpack(context.audio.get(entry.path.removeprefix(PAYLOAD))).data)
        return Recording(data, hashlib.blake2b(data, digest_size=16).hexdigest())
    path = inside(entry.path, context.settings.data_roots)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise UnsupportedAudio(f"the file cannot be read: {error.strerror}") from None
    return Recording(path, digest)


class Run:
    """Embeds recordings while it reads the next ones; what is ready comes out in any order.

    Raises `Unavailable` if the network does not answer: nothing is wrong with the recordings then.
    """

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._gathered: list[tuple[Embedded, np.ndarray]] = []
        self._in_flight: deque[tuple[Future[np.ndarray], list[Embedded]]] = deque()
        self._ready: list[Embedded] = []

    def over(self, entries: Iterable[tuple[str, Entry]], stop: Callable[[], bool]) -> Iterator[Embedded]:
        """Embed entries, given with their keys, until there are no more or `stop` says so before the next is read."""
        for key, entry in entries:
            if stop():
                break
            self._read(Embedded(key), entry)
            yield from self._take_ready()
        self._submit()
        while self._in_flight:
            self._collect()
        yield from self._take_ready()

    def _read(self, one: Embedded, entry: Entry) -> None:
        try:
            recording = fetch(self._context, entry)
            one.hash = recording.hash
            blocks = self._measured(one, recording)
            for spectrogram in self._context.embedder.spectrograms(blocks):
                self._gathered.append((one, spectrogram))
                one._waiting += 1
                if len(self._gathered) >= WINDOWS_AT_A_TIME:
                    self._submit()
            one._read = True
            self._finish(one)
        except Unavailable:
            raise
        except SpeakerTasksError as error:
            one.error = error
            self._ready.append(one)

    def _measured(self, one: Embedded, recording: Recording) -> Iterator[np.ndarray]:
        for block in sound.stream(recording.source, max_seconds=self._context.settings.max_recording_seconds):
            one.seconds += len(block) / sound.SAMPLE_RATE
            yield block

    def _submit(self) -> None:
        if not self._gathered:
            return
        spectrograms = [spectrogram for _, spectrogram in self._gathered]
        owners = [one for one, _ in self._gathered]
        self._gathered = []
        self._in_flight.append((self._patiently(spectrograms), owners))
        while len(self._in_flight) > AHEAD:
            self._collect()

    def _patiently(self, spectrograms: list[np.ndarray]) -> Future[np.ndarray]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._context.batcher.submit(spectrograms, timeout=PATIENCE_SECONDS)
            except Busy:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _collect(self) -> None:
        future, owners = self._in_flight.popleft()
        try:
            vectors = future.result(PATIENCE_SECONDS)
        except FutureTimeout:
            future.cancel()
            raise Busy(f"the model did not answer within {PATIENCE_SECONDS:g} s") from None
        for one, vector in zip(owners, vectors, strict=True):
            one._parts.append(vector)
            one._waiting -= 1
            self._finish(one)

    def _finish(self, one: Embedded) -> None:
        if one._read and not one._waiting and one.error is None:
            one.vector = pool(np.stack(one._parts))
            self._ready.append(one)

    def _take_ready(self) -> list[Embedded]:
        ready, self._ready = self._ready, []
        return ready
