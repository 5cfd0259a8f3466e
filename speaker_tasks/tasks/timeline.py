"""The task `speaker_tasks.timeline`: who of a bank speaks when in a long recording; bulk work.

It may run twice (delivery is at least once): after a worker's death another one starts the recording
again, and the job's record takes one outcome.
"""

from __future__ import annotations

import hashlib
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from celery import Task, shared_task
from celery.utils.log import get_task_logger

from banks.bank import Bank, check_model
from banks.ranking import speakers_of
from enrollment.places import Places, content_hash
from speaker_tasks.celery_app import ENROLL_QUEUE
from speaker_tasks.diarization import segmentation
from speaker_tasks.diarization.assembly import timeline_of
from speaker_tasks.diarization.clustering import Count
from speaker_tasks.diarization.listening import Listener, decoded_first
from speaker_tasks.diarization.naming import name_voices, of_clusters, present
from speaker_tasks.diarization.people import Options, People, people_of
from speaker_tasks.diarization.plda import Plda
from speaker_tasks.diarization.target import SecondLook
from speaker_tasks.embedding import audio as sound
from speaker_tasks.embedding.decoding import seconds_claimed
from speaker_tasks.embedding.speech import Meter, Speech
from speaker_tasks.errors import Busy, Malformed, SpeakerTasksError, Unavailable, UnusableAudio
from speaker_tasks.jobs.audio import PAYLOAD_PREFIX, Audio, Encoding
from speaker_tasks.jobs.timelines import KeptVoices, TimelineStore
from speaker_tasks.tasks import arguments
from speaker_tasks.tasks.context import WorkerContext, current
from speaker_tasks.tasks.running import (
    Call,
    Over,
    as_it_ended,
    attempted_in_bulk,
    finish,
    is_wanted,
    kept,
    plain,
    webhook_message,
    with_redis_retries,
)
from speaker_tasks.tasks.timings import Timings

logger = get_task_logger(__name__)

TASK = "speaker_tasks.timeline"
LOOK_SECONDS = 0.2
"""How often a task checks whether its job was canceled, and reports its progress."""
HEARING = 0.8
"""The share of a job's progress that hearing has where there is a second look, which has the rest."""


@shared_task(bind=True, name=TASK, throws=(SpeakerTasksError,), ignore_result=False)
def timeline(self: Task, *positional: Any, **named: Any) -> dict[str, Any]:
    """Who of a bank speaks when in a recording."""
    return _run(Call(self, current(), "timeline", ENROLL_QUEUE), positional, named)


def _run(call: Call, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    context, jobs = call.context, call.context.jobs
    wanted: arguments.Timeline | SpeakerTasksError
    try:
        wanted = arguments.read(arguments.Timeline, positional, named)
        wanted = wanted.model_copy(update={"audio": [kept(context, one) for one in wanted.audio]})
    except SpeakerTasksError as error:
        wanted = error
    kwargs = {} if isinstance(wanted, SpeakerTasksError) else wanted.model_dump(exclude_none=True, exclude_unset=True)
    payloads = [one for one in kwargs.get("audio", ()) if one.startswith(PAYLOAD_PREFIX)]
    try:
        attempt = call.begin(jobs, kwargs, []).attempt
    except Over:
        return _over(call, payloads)

    def work() -> dict[str, Any]:
        if isinstance(wanted, SpeakerTasksError):
            raise wanted
        return Work(context, call.job, wanted).result()

    try:
        result = attempted_in_bulk(call, kwargs, attempt, work)
    except Over:
        return _over(call, payloads)
    failed = isinstance(result, SpeakerTasksError)
    outcome = {"error": result.to_dict()} if isinstance(result, SpeakerTasksError) else {"result": result}
    message = webhook_message(call, kwargs.get("webhook"))
    finish(call, jobs, "failed" if failed else "succeeded", outcome, drop=payloads, message=message)
    if isinstance(result, SpeakerTasksError):
        raise result
    return plain(result) if is_wanted(call.task) else {"job": call.job, "turns": len(result["turns"])}


def _over(call: Call, payloads: Sequence[str]) -> dict[str, Any]:
    """The job has ended or was canceled: delete its message and its recording."""
    context, jobs = call.context, call.context.jobs
    if with_redis_retries(context, lambda: jobs.get(call.job)).over:
        with_redis_retries(context, lambda: jobs.finish(call.job, "canceled", drop=payloads, message_id=call.id))
    return as_it_ended(call, jobs)


@dataclass(frozen=True)
class Work:
    """One attempt at a recording."""

    context: WorkerContext
    job: str
    wanted: arguments.Timeline

    def result(self) -> dict[str, Any]:
        """The timeline as JSON, which is kept for corrections beside the job. Raises `Over` when it is canceled."""
        context, timings = self.context, Timings()
        token = context.active.token()
        _, bank = context.active.bank(self.wanted.bank, token)
        check_model(bank, context.embedder.model_id)
        bank = present(bank, self.wanted.roster)  # raises, before anything is heard
        model, reading, meter = context.embedder.model_id, sound.Reading(), Meter()
        second = _second_look(model)
        hearing = HEARING if second is not None else 1.0
        with timings.step("hear"), self._source() as (source, digest):
            self.context.jobs.set_total(self.job, round(seconds_claimed(source) if isinstance(source, Path) else 0))
            blocks = decoded_first(self._blocks(source, reading))
            moved = _Moved(self)
            heard = self._listener(second).hear(meter.over(blocks), lambda seconds: moved(seconds * hearing))
        if heard.seconds < sound.MIN_SECONDS:
            raise UnusableAudio(
                f"{heard.seconds:.2f} s of sound; at least {sound.MIN_SECONDS} s are needed", seconds=heard.seconds
            )
        with timings.step("cluster"):
            people = people_of(
                heard,
                _plda(model),
                self._options(),
                second,
                lambda seconds: moved(heard.seconds * hearing + seconds * (1 - hearing)),
            )
        with timings.step("match"):
            judge = of_clusters(context.terms.of(bank, token).judge, model, telephone=heard.telephone)
            names = name_voices(people.voices, bank, judge, people.together)
        measured = meter.result()
        about = self._about(bank, reading, measured, people) | {"timings_ms": timings.to_dict()}
        answer = timeline_of(people, names, heard.seconds, about).to_dict()
        if self._is_over():
            raise Over
        self.context.jobs.set_total(self.job, round(heard.seconds))
        self.context.jobs.advance(self.job, round(heard.seconds))
        self._keep(answer, people, measured, digest)
        return answer

    def _options(self) -> Options:
        wanted = self.wanted
        least = wanted.speakers or wanted.min_speakers or 1
        most = wanted.speakers or wanted.max_speakers or arguments.MOST_SPEAKERS
        return Options(Count(least, most), wanted.overlap)

    def _about(self, bank: Bank, reading: sound.Reading, measured: Speech, people: People) -> dict[str, Any]:
        used: dict[str, Any] = {"name": bank.name, "version": bank.version, "speakers": speakers_of(bank)}
        if self.wanted.bank is None:
            used |= {"default": True}
        warnings = list(reading.warnings)
        if not people.turns:
            warnings.append("no speech was found that is long enough for a voice")
        if not len(bank):
            warnings.append(f"nobody is enrolled in {bank.name!r}: everyone is unknown")
        return {
            "bank": used,
            "roster": self.wanted.roster,
            "overlap": self.wanted.overlap,
            "model": self.context.embedder.model_id,
            "segmentation": segmentation.NAME,
            "quality": {"snr_db": round(measured.snr, 1), "clipped": round(measured.clipped, 4)},
            "warnings": warnings,
            "damaged": reading.damaged,
            "seconds_lost": round(reading.lost, 2),
        }

    def _keep(self, answer: dict[str, Any], people: People, measured: Speech, digest: str) -> None:
        voices = KeptVoices(digest, self.context.embedder.model_id, measured.snr, measured.clipped, people.clips)
        TimelineStore(self.context.redis, self.context.settings.job_ttl).put(self.job, answer, voices)

    def _listener(self, second: SecondLook | None) -> Listener:
        embedder = self.context.embedder
        code = None if second is None else lambda block: second.code(embedder.trunk_frames(block))
        return Listener(_segmenter(), embedder.spectrograms, self._submit, code)

    def _submit(self, spectrograms: Sequence[np.ndarray]) -> Future[np.ndarray]:
        try:
            return self.context.submit_bulk(spectrograms, self.check_wanted)
        except Busy:
            raise Unavailable("the network is busy with others") from None

    def check_wanted(self) -> None:
        """Raise when the worker is about to end, and when the job is over."""
        if self.context.leaving.is_set():
            raise Unavailable("the worker ends; another one begins anew")
        if self._is_over():
            raise Over

    def _is_over(self) -> bool:
        return self.context.jobs.state(self.job) not in ("queued", "running")

    @contextmanager
    def _source(self) -> Iterator[tuple[Path | Audio, str]]:
        """The recording as a file or as bare samples, and its hash."""
        (given,) = self.wanted.audio
        if not given.startswith(PAYLOAD_PREFIX):
            places = Places(self.context.settings.data_roots, self.context.settings.data_urls)
            with places.local(given) as path:
                yield path, content_hash(path)
            return
        payload = Audio.unpack(self.context.audio.get(given))
        digest = hashlib.blake2b(payload.data, digest_size=16).hexdigest()
        if payload.encoding is not Encoding.FILE:
            yield payload, digest
            return
        with tempfile.NamedTemporaryFile(prefix="timeline-") as file:  # an hour of bytes is not held while it is heard
            file.write(payload.data)
            file.flush()
            del payload
            yield Path(file.name), digest

    def _blocks(self, source: Path | Audio, reading: sound.Reading) -> Iterator[np.ndarray]:
        settings = self.context.settings
        longest, named = settings.max_recording_seconds, settings.limit_of_enrollment
        if isinstance(source, Path):
            sound.check_length(source, longest, named)
            return sound.stream(source, max_seconds=longest, setting=named, reading=reading)
        if source.rate not in sound.RATES:
            raise Malformed(f"a rate of {source.rate} Hz; {sound.RATES[0]} to {sound.RATES[-1]} Hz are taken")
        return sound.resampled([(source.rate, source.samples())], max_seconds=longest, setting=named)


class _Moved:
    """Reports a job's progress, and stops the work when the job is canceled or the worker stops."""

    def __init__(self, work: Work) -> None:
        self._work, self._looked = work, float("-inf")

    def __call__(self, seconds: float) -> None:
        context = self._work.context
        if not context.leaving.is_set() and time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        self._work.check_wanted()
        context.jobs.advance(self._work.job, int(seconds))


_loading = threading.Lock()


def _segmenter() -> segmentation.Segmenter:
    with _loading:
        return _loaded()


@cache
def _loaded() -> segmentation.Segmenter:
    return segmentation.Segmenter(threads=1)


_second_look, _plda = cache(SecondLook.load), cache(Plda.load)
