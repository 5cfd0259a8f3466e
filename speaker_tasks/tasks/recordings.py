"""Recordings on their way to vectors: fetched, hashed, measured, run in shared batches, remembered."""

from __future__ import annotations

import hashlib
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from enrollment import gates
from enrollment.manifest import Entry
from enrollment.places import Places, content_hash, is_url
from enrollment.roots import inside
from speaker_tasks.embedding import audio as sound
from speaker_tasks.embedding import parts
from speaker_tasks.embedding.embedder import pool
from speaker_tasks.embedding.speech import Meter
from speaker_tasks.errors import Busy, SpeakerTasksError, Unavailable, UnusableAudio
from speaker_tasks.jobs.audio import Audio
from speaker_tasks.jobs.vectors import CachedVector, Measures
from speaker_tasks.tasks.context import BULK_SECONDS, WorkerContext

PAYLOAD = "payload:"
"""A path that begins so is the key of bytes that were uploaded."""
WINDOWS_AT_A_TIME = 8
"""Windows of one or of several recordings that share a call of the network."""
LOOKED_UP = 16
"""Recordings whose vectors are asked for in one round trip to the cache, before the first of them is read."""
LOOKED_UP_BYTES = 32 << 20
"""Files larger than this are not hashed ahead: by the time that they are decoded nobody would have them in memory."""
AHEAD = 2
"""Calls that may wait for the network while the next recordings are read."""
PART_SECONDS, MOST_PARTS = 1.5, 4
"""How a recording is cut to see whether one voice speaks all of it."""


@dataclass
class Embedded:
    """One recording after the network, or the error that stopped it."""

    key: str
    clip: str = ""
    """Its identity in banks and in the cache: the content's hash, and its part."""
    measures: Measures = field(default_factory=Measures)
    vector: np.ndarray | None = None
    error: SpeakerTasksError | None = None
    remembered: bool = False
    """Whether the vector was known from an earlier run."""
    _meter: Meter | None = None
    _reading: sound.Reading = field(default_factory=sound.Reading)
    _parts: list[np.ndarray] = field(default_factory=list)
    _waiting: int = 0
    _read: bool = False


class Run:
    """Embeds recordings while it reads the next ones; what is ready comes out in any order.

    Raises `Unavailable` if the network does not answer: nothing is wrong with the recordings then.
    """

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        settings = context.settings
        self._places = Places(settings.data_roots, settings.data_urls)
        self._hashes: dict[tuple[str, int, int], str] = {}
        self._paths: dict[str, Path] = {}
        self._known: dict[str, CachedVector | None] = {}
        self._gathered: list[tuple[Embedded, np.ndarray]] = []
        self._in_flight: deque[tuple[Future[np.ndarray], list[Embedded]]] = deque()
        self._ready: list[Embedded] = []

    def over(self, entries: Sequence[tuple[str, Entry]], stop: Callable[[], bool]) -> Iterator[Embedded]:
        """Embed entries, given with their keys, until there are no more or `stop` says so before the next is read."""
        for number, (key, entry) in enumerate(entries):
            if stop():
                break
            if number % LOOKED_UP == 0:
                self._look_up([ahead for _, ahead in entries[number : number + LOOKED_UP]])
            self._read(Embedded(key), entry)
            yield from self._take_ready()
        self._submit()
        while self._in_flight:
            self._collect()
        yield from self._take_ready()

    def agreement(self, entry: Entry, seconds: float) -> float:
        """The lowest cosine between parts of a recording of so many seconds, each embedded alone; 1 if it is short."""
        count = min(MOST_PARTS, int(seconds / PART_SECONDS))
        if count < 2:
            return 1.0
        vectors = []
        with self._fetched(entry) as (source, _):
            blocks = self._blocks(source, entry, sound.Reading())
            for piece in pieces(blocks, count, -(-round(seconds * sound.SAMPLE_RATE) // count)):
                with suppress(UnusableAudio):  # silent
                    vectors.append(self._alone(piece))
        return gates.agreement(np.stack(vectors)) if len(vectors) > 1 else 1.0

    def _alone(self, blocks: Iterator[np.ndarray]) -> np.ndarray:
        """The vector (D,) of a piece of a recording, a few windows at a time."""
        spectrograms, vectors = self._context.embedder.spectrograms(blocks), []
        while windows := list(islice(spectrograms, WINDOWS_AT_A_TIME)):
            vectors.append(self._result(self._context.submit_bulk(windows)))
        return pool(np.concatenate(vectors))

    def _look_up(self, entries: Sequence[Entry]) -> None:
        """Ask the cache for files of this machine. What is wrong with one is said when it is read."""
        self._paths, self._known = {}, {}
        for entry in entries:
            if entry.path.startswith(PAYLOAD) or is_url(entry.path):
                continue
            with suppress(SpeakerTasksError, OSError):
                path = inside(entry.path, self._places.roots)
                if path.stat().st_size <= LOOKED_UP_BYTES:
                    self._known[clip_key(self._hash(path), entry)] = None
                    self._paths[entry.path] = path
        self._known |= self._context.keeper.cache.get(list(self._known), self._context.embedder.model_id)

    def _read(self, one: Embedded, entry: Entry) -> None:
        try:
            with self._fetched(entry) as (source, digest):
                one.clip = clip_key(digest, entry)
                if not self._remembered(one):
                    with self._context.gate.inside():
                        one._reading = sound.Reading()
                        self._embed(one, self._blocks(source, entry, one._reading))
        except Unavailable:
            raise
        except SpeakerTasksError as error:
            one.error = error
            self._ready.append(one)

    def _remembered(self, one: Embedded) -> bool:
        if one.clip not in self._known:
            self._known |= self._context.keeper.cache.get([one.clip], self._context.embedder.model_id)
        cached = self._known.get(one.clip)
        if cached is None:
            return False
        one.vector, one.measures, one.remembered = cached.vector, cached.measures, True
        self._ready.append(one)
        return True

    def _embed(self, one: Embedded, blocks: Iterator[np.ndarray]) -> None:
        one._meter = Meter()
        for spectrogram in self._context.embedder.spectrograms(one._meter.over(blocks)):
            self._gathered.append((one, spectrogram))
            one._waiting += 1
            if len(self._gathered) >= WINDOWS_AT_A_TIME:
                self._submit()
        one._read = True
        self._finish(one)

    @contextmanager
    def _fetched(self, entry: Entry) -> Iterator[tuple[bytes | Path, str]]:
        """The recording's bytes or file, and its hash. Raises what `Places.local` raises, and `PayloadGone`."""
        if entry.path.startswith(PAYLOAD):
            data = bytes(Audio.unpack(self._context.audio.get(entry.path.removeprefix(PAYLOAD))).data)
            yield data, hashlib.blake2b(data, digest_size=16).hexdigest()
            return
        if entry.path in self._paths:
            path = self._paths[entry.path]
            yield path, self._hash(path)
            return
        with self._places.local(entry.path) as path:
            yield path, content_hash(path) if is_url(entry.path) else self._hash(path)

    def _hash(self, path: Path) -> str:
        """The hash of a file; once for the many parts of a long recording."""
        try:
            status = path.stat()
        except OSError:
            return content_hash(path)
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key not in self._hashes:
            self._hashes[key] = content_hash(path)
        return self._hashes[key]

    def _blocks(self, source: bytes | Path, entry: Entry, reading: sound.Reading) -> Iterator[np.ndarray]:
        longest, named = self._context.settings.max_recording_seconds, self._context.settings.limit_of_enrollment
        if entry.start is None and entry.end is None:
            sound.check_length(source, longest, named)
            return sound.stream(source, max_seconds=longest, setting=named, reading=reading)
        start = entry.start or 0.0
        return parts.stream(source, start, entry.end, max_seconds=longest, setting=named, reading=reading)

    def _submit(self) -> None:
        if not self._gathered:
            return
        spectrograms = [spectrogram for _, spectrogram in self._gathered]
        owners = [one for one, _ in self._gathered]
        self._gathered = []
        self._in_flight.append((self._context.submit_bulk(spectrograms), owners))
        while len(self._in_flight) > AHEAD:
            self._collect()

    def _result(self, future: Future[np.ndarray]) -> np.ndarray:
        try:
            with self._context.gate.aside():
                return future.result(BULK_SECONDS)
        except FutureTimeout:
            future.cancel()
            raise Busy(f"the model did not answer within {BULK_SECONDS:g} s") from None

    def _collect(self) -> None:
        future, owners = self._in_flight.popleft()
        for one, vector in zip(owners, self._result(future), strict=True):
            one._parts.append(vector)
            one._waiting -= 1
            self._finish(one)

    def _finish(self, one: Embedded) -> None:
        if not one._read or one._waiting or one.error is not None or one._meter is None:
            return
        windows = np.stack(one._parts)
        heard = one._meter.result()
        one.vector = pool(windows)
        agreement, reading = gates.agreement(windows), one._reading
        one.measures = Measures(
            heard.seconds, heard.speech, heard.snr, heard.clipped, agreement, reading.damaged, reading.lost
        )
        self._ready.append(one)

    def _take_ready(self) -> list[Embedded]:
        ready, self._ready = self._ready, []
        return ready


def pieces(blocks: Iterator[np.ndarray], count: int, size: int) -> Iterator[Iterator[np.ndarray]]:
    """A stream of samples as so many streams of `size` samples, the last with all that is left.

    Each is to be read before the next; what is not read of one is passed over.
    """
    held: list[np.ndarray] = []

    def piece(left: float) -> Iterator[np.ndarray]:
        while left > 0 and (block := held.pop() if held else next(blocks, None)) is not None:
            if len(block) > left:
                held.append(block[int(left) :])
                block = block[: int(left)]
            left -= len(block)
            yield block

    for number in range(count):
        one = piece(size if number < count - 1 else math.inf)
        yield one
        for _ in one:
            pass


def clip_key(digest: str, entry: Entry) -> str:
    """A recording's identity: its content, and its part if it is one."""
    if entry.start is None and entry.end is None:
        return digest
    return f"{digest}@{entry.start or 0:g}-{'' if entry.end is None else format(entry.end, 'g')}"
