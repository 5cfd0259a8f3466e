"""One frozen settings object, read once at the edge from `SPEAKER_*` environment variables and handed down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Every knob of the service; the variable of `redis_url` is `SPEAKER_REDIS_URL`, and so on."""

    model_config = SettingsConfigDict(env_prefix="SPEAKER_", frozen=True, extra="ignore")

    # Where things are
    redis_url: str | None = None
    """`redis://`, `rediss://` or `sentinel://`. Without it the launcher starts an embedded server."""
    redis_master: str = "mymaster"
    """Name of the master that the sentinels of a `sentinel://` URL watch."""
    data_dir: Path = Path("var")
    """What the service writes: the embedded server's files, bank snapshots, fetched weights."""
    data_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders (separated by `:`) below which requests may name recordings. Empty: none."""

    # The model
    model: str = "compact"
    weights: Path | None = None
    """A weights file of that model; without it the shipped or fetched one is used."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    runtime: Literal["auto", "tensorflow", "openvino"] = "auto"
    """`auto`: OpenVINO on a CPU, TensorFlow on a GPU."""
    precision: Literal["auto", "f32", "bf16"] = "auto"
    """`auto`: bf16 where the processor or GPU multiplies it in hardware; TensorFlow on a CPU gains nothing by it."""
    threads: int = Field(default=0, ge=0)
    """Threads of the network on a CPU; 0: the processors that the process may use, divided among `workers`."""

    # The older server's modes
    ai_bank: Path | None = None
    moring_bank: Path | None = None
    legacy_model: str = "vgg"
    """The model of npz banks that do not say which one made them."""

    # The web process
    host: str = "127.0.0.1"
    port: int = 6001
    flower_port: int = 5555
    flower_host: str = "127.0.0.1"
    """Where Flower listens. It asks for no password, shows what tasks are given, and can stop workers."""
    wait_seconds: float = Field(default=30.0, ge=0)
    """How long a synchronous request waits before it answers 202 with a job id."""
    web_threads: int = Field(default=16, ge=1)
    """Threads of one web process; a synchronous request holds one while it waits. Connection pools have this size."""
    max_queued: int = Field(default=1000, ge=1)
    """Recognitions that may wait in the queue; more are refused with 503."""
    max_body_bytes: int = 64 * 1024 * 1024
    max_audio_seconds: float = 300.0

    # Who may ask, and how much
    api_keys: str = ""
    """Keys as `NAME:SCOPE+SCOPE:SHA256`, separated by spaces; `speaker-tasks keys new NAME` writes one. Empty: none."""
    api_keys_file: Path | None = None
    """A file of such entries, one a line; `#` begins a comment."""
    open_to_all: bool = False
    """Serve a public address without keys: anyone who reaches it may do anything."""
    legacy: Literal["auto", "open", "key", "off"] = "auto"
    """The older endpoints: open, behind a key, or away; `auto` is behind a key as soon as there are keys."""
    rate_limit: str = "600/minute"
    """Requests of one key, or of one address, on a service that has keys or a public address. Empty: no limit."""
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts (separated by commas) that may be told of a job's end. Empty: none."""
    webhook_secret: str = ""
    """What webhooks are signed with (HMAC-SHA256)."""
    idempotency_ttl: int = Field(default=24 * 3600, ge=1)
    """Seconds for which an `Idempotency-Key` names its job."""

    # Enrollment
    max_recording_seconds: float = Field(default=4 * 3600, gt=0)
    """The longest recording that is enrolled; read in pieces, so that memory stays flat."""

    max_upload_bytes: int = Field(default=1024**3, ge=1)
    """What the command line may send to Redis for one enrollment of a folder that the workers cannot read."""

    data_urls: Annotated[tuple[str, ...], NoDecode] = ()
    """`fsspec` URLs (separated by spaces) below which recordings may be read, such as `s3://bucket/recordings`."""
    gate_clip_speech: float = Field(default=1.0, ge=0)
    """Quality gates of enrollment: seconds of speech that a recording needs."""
    gate_speaker_speech: float = Field(default=3.0, ge=0)
    """Seconds of speech that a speaker needs in all."""
    gate_snr: float = 5.0
    """How far speech lies over the noise, in dB."""
    gate_clipped: float = Field(default=0.05, ge=0, le=1)
    """Share of samples that may be cut off."""
    gate_outlier: float = Field(default=0.3, ge=-1, le=1)
    """Cosine of a recording with its speaker's others; of this and the next two, larger jobs find their own values."""
    gate_agreement: float = Field(default=0.3, ge=-1, le=1)
    """Cosine between the parts of a recording."""
    gate_twin: float = Field(default=0.9, ge=-1, le=1)
    """Cosine between two speakers who may be one person."""
    vector_ttl: int = Field(default=30 * 24 * 3600, ge=1)
    """Seconds for which a recording's vector is remembered, so that enrolling it again costs next to nothing."""

    # Banks
    bank_versions: int = Field(default=5, ge=1)
    """Versions of each bank that are kept, the newest among them."""
    match_margin: float | None = Field(default=None, ge=0, le=2)
    """Cosine by which the best speaker must be ahead of the next to be a match. Empty: as fitted for the model, by
    seconds of speech and size of the bank."""
    match_speech: float | None = Field(default=None, ge=0)
    """Seconds of speech below which nobody is named. Empty: as fitted for the model."""
    match_storage: Literal["float32", "float16", "int8"] = "float32"
    """What is read of each row of a bank; anything but float32 needs `faiss`, and halves the time of large banks."""
    approximate_from: int = Field(default=0, ge=0)
    """Banks of so many rows and more are searched by an approximate index (`faiss`), exactly rescored; 0: none."""
    snapshots: str | None = None
    """A folder or an `fsspec` URL where each change of a bank is also written as npz, and read from when Redis is
    empty."""

    # The worker
    workers: int = Field(default=1, ge=1)
    """Workers that share this machine's processors; `speaker-tasks up` starts so many."""
    concurrency: int = Field(default=4, ge=1)
    """Threads that do bulk work: they decode, measure and match; the network has threads of its own."""
    max_batch: int = Field(default=0, ge=0)
    """Requests that share a call of the network; 0: as measured at the start, 1 where sharing is no quicker (CPU)."""
    max_wait_ms: float | None = Field(default=None, ge=0)
    """How long the first waits for others to share its call; empty: as measured at the start."""
    recent_seconds: int = Field(default=0, ge=0)
    """For so long the same recording is answered from its vector, which is kept in Redis; 0: never."""
    reserved_threads: int = Field(default=0, ge=0)
    """Threads that do recognitions, and nothing else; 0: as many as keep the network fed."""
    visibility_timeout: int = 30
    """Seconds after which the task of a killed worker is given to another."""
    heartbeat_seconds: float = Field(default=2.0, gt=0)
    stall_seconds: float = Field(default=120.0, gt=0)
    """A worker whose network has worked on one batch for so long ends itself."""

    # How long things are kept in Redis, in seconds
    payload_ttl: int = 600
    result_ttl: int = 3600
    answered_ttl: int = Field(default=15, ge=1)
    """The record of a question whose answer went out with the request; it is not listed among the jobs."""
    job_ttl: int = 7 * 24 * 3600

    @field_validator("webhook_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().lower() for part in value.split(",") if part.strip())
        return value

    @field_validator("data_urls", mode="before")
    @classmethod
    def _split_urls(cls, value: object) -> object:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(Path(part) for part in value.split(":") if part)
        return value
