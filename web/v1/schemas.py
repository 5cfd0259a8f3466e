"""The shapes of `/v1`: what is asked and what is answered, as OpenAPI tells them."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_WAIT = 60.0
MAX_TOP_K = 100
MAX_NAME = 120
"""Of banks and speakers, as `banks.names` has it."""

Decision = Literal["match", "unknown", "inconclusive"]
Reason = Literal[
    "above_threshold", "below_threshold", "near_threshold", "small_margin", "too_little_speech", "not_calibrated"
]
State = Literal["queued", "running", "succeeded", "failed", "canceled", "expired", "partial"]


class RequestModel(BaseModel):
    """Base of every request: an unknown name is an error, not silence."""

    model_config = ConfigDict(extra="forbid")

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """The JSON schema, made once: flask-openapi3 asks for it with each request, half a millisecond each time."""
        return super().model_json_schema(*args, **options) if args or options else _plain_schema(cls)


@cache
def _plain_schema(model: type[BaseModel]) -> dict[str, Any]:
    return super(RequestModel, model).model_json_schema()  # type: ignore[misc]


class QuestionQuery(RequestModel):
    """What all questions about recordings take."""

    wait: float | None = Field(
        None, ge=0, le=MAX_WAIT, allow_inf_nan=False, description="Seconds to wait for the answer; 0: 202 at once."
    )
    webhook: str | None = Field(
        None, max_length=300, pattern=r"^https?://[!-~]+$", description="Where to send the job when it has ended."
    )


class CompareQuery(QuestionQuery):
    """What compare takes beside the two recordings."""

    threshold: float | None = Field(None, ge=-1, le=1, allow_inf_nan=False, description="The cosine of a match.")


class IdentifyQuery(CompareQuery):
    """What identify takes beside the recording."""

    bank: str | None = Field(
        None, min_length=1, max_length=MAX_NAME, description="The bank to search; default: the active one."
    )
    top_k: int = Field(5, ge=1, le=MAX_TOP_K, description="Candidates to name.")


class VerifyQuery(CompareQuery):
    """What verify takes beside the recording."""

    speaker: str = Field(min_length=1, max_length=MAX_NAME, description="The claimed speaker.")
    bank: str | None = Field(
        None, min_length=1, max_length=MAX_NAME, description="The bank to search; default: the active one."
    )


class Fault(BaseModel):
    """What was wrong."""

    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


class ErrorAnswer(BaseModel):
    """Every error has this shape."""

    error: Fault


class Quality(BaseModel):
    """What was measured of a recording."""

    snr_db: float = Field(description="Speech over noise, estimated.")
    clipped: float = Field(ge=0, le=1, description="Share of samples that are cut off.")
    warnings: list[str]


class Measured(BaseModel):
    """One recording's length, speech and quality."""

    seconds: float = Field(ge=0, description="Seconds that were read.")
    speech_seconds: float = Field(ge=0)
    quality: Quality
    damaged: bool = Field(False, description="Whether a part of it could not be read; the warnings say why.")
    seconds_lost: float = Field(0.0, ge=0, description="About how many seconds could not be read; 0 if unknown.")


class BankUsed(BaseModel):
    """The bank that was asked, and its version."""

    name: str
    version: int
    speakers: int
    default: bool | None = Field(None, description="True where the question named no bank.")
    banks: list[str] | None = Field(None, description="The banks that were asked, where the question named none.")
    left_out: dict[str, str] | None = Field(None, description="Banks of another model that `all` lacks, and why.")


class Candidate(BaseModel):
    """One of the best speakers."""

    speaker: str
    score: float
    probability: float | None
    as_norm: float | None = Field(None, description="How far it stands out, if the bank has a cohort.")


class Judged(BaseModel):
    """A decision and what it rests on."""

    decision: Decision
    reason: Reason
    message: str
    score: float = Field(description="Cosine.")
    probability: float | None = Field(description="Calibrated with the seconds of speech; null without calibration.")
    threshold: float | None
    least_speech: float = Field(description="Seconds of speech below which nobody is named.")
    calibration: Literal["model", "bank", "none"]
    model: str
    timings_ms: dict[str, float]


class VerifyAnswer(Judged, Measured):
    """The answer of verify."""

    speaker: str
    bank: BankUsed


class IdentifyAnswer(Judged, Measured):
    """The answer of identify."""

    speaker: str | None = Field(description="The speaker of a match; null otherwise.")
    margin: float | None = Field(description="To the best other speaker; null if there is none.")
    least_margin: float = Field(description="The margin that a match needs.")
    candidates: list[Candidate]
    bank: BankUsed


class VectorAnswer(Measured):
    """The answer of embed."""

    vector: list[float] = Field(min_length=512, max_length=512)
    model: str
    timings_ms: dict[str, float]


class CompareAnswer(Judged):
    """The answer of compare."""

    recordings: list[Measured] = Field(min_length=2, max_length=2)


class Progress(BaseModel):
    """How far a job is, and how fast once it is known."""

    model_config = ConfigDict(json_schema_mode_override="validation")

    total: int
    done: int
    failed: int
    per_second: float | None = Field(None, description="Pieces of work a second since the start.")
    seconds_left: float | None = Field(None, description="What the rest takes at that pace.")


class Job(BaseModel):
    """One job; `result` is what the question's answer would have been."""

    id: str
    kind: str
    state: State
    created: str | None
    started: str | None
    finished: str | None
    progress: Progress
    about: dict[str, Any]
    result: dict[str, Any] | None
    error: dict[str, Any] | None


class JobAnswer(BaseModel):
    """One job."""

    job: Job


class JobList(BaseModel):
    """The newest jobs first; `next` goes into `before` for the page that follows."""

    jobs: list[Job]
    next: str | None


class JobPath(BaseModel):
    """A job by its id."""

    job_id: str = Field(min_length=1, max_length=64)


class JobQuery(RequestModel):
    """Filters of the list of jobs."""

    kind: str | None = Field(None, max_length=40)
    state: State | None = None
    limit: int = Field(50, ge=1, le=200)
    before: str | None = Field(None, max_length=64, description="The `next` of the page before.")
    brief: bool = Field(False, description="Without results: a timeline's has 100 kB and more.")


class Worker(BaseModel):
    """One worker that is alive."""

    id: str
    host: str
    pid: int
    model: str
    device: str
    runtime: str
    precision: str
    started: float
    queues: list[str]
    roots: list[str] = Field([], description="The folders of recordings that it sees.")
    place: str = Field("", description="Shared by workers of one model that see the same folders.")
    warm: bool
    skew: float = Field(0.0, description="Seconds that its machine's clock is ahead of Redis'.")
    network: dict[str, float] = Field(description="Its calls of the network: counts, mean batch, wait and run time.")


class WorkerList(BaseModel):
    """The workers that are alive."""

    workers: list[Worker]


class Queue(BaseModel):
    """One queue."""

    name: str
    waiting: int = Field(description="Messages that no worker has taken yet.")


class QueueList(BaseModel):
    """The queues of work."""

    queues: list[Queue]


class Model(BaseModel):
    """A model that is loaded, and where."""

    id: str
    devices: list[str]
    precisions: list[str]
    runtimes: list[str]
    workers: int
    warm: bool


class ModelList(BaseModel):
    """The models that are loaded."""

    models: list[Model]
