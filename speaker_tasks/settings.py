"""One frozen settings object, read once at the edge from `SPEAKER_*` environment variables and handed down."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Every knob of the service; the variable of `redis_url` is `SPEAKER_REDIS_URL`, and so on."""

    model_config = SettingsConfigDict(env_prefix="SPEAKER_", frozen=True, extra="ignore")

    # Where things are
    redis_url: str | None = None
    """`redis://`, `rediss://` or `sentinel://`. Without it the launcher starts an embedded server."""
    redis_password_file: Path | None = None
    """A file with the password of the URL, which then holds none: a container's secret."""
    redis_master: str = "mymaster"
    """Name of the master that the sentinels of a `sentinel://` URL watch."""
    sentinel_user: str = ""
    sentinel_password: str = ""
    """Of the sentinels themselves; the URL holds the master's."""
    redis_tls: bool = False
    """Speak TLS to sentinels and master; for one server write `rediss://` instead."""
    redis_ca: Path | None = None
    """Certificates (PEM) by which Redis' certificate is checked. Empty: those of the system."""
    redis_cert: Path | None = None
    """The certificate that is shown to a Redis server that asks for one, with its key in `redis_key`."""
    redis_key: Path | None = None
    data_dir: Path = Path("var")
    """What the service writes: the embedded server's files, bank snapshots, fetched weights."""
    data_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders (separated by `:`) below which requests may name recordings. Empty: none."""

    # The model
    model: str = "campplus"
    weights: Path | None = None
    """A weights file of that model; without it the shipped or fetched one is used."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    runtime: Literal["auto", "tensorflow", "torch", "openvino"] = "auto"
    """`auto`: OpenVINO on a CPU; on a GPU TensorFlow, or PyTorch where TensorFlow is missing."""
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
    """Where Flower listens. It shows what tasks are given, and can stop workers: a public address needs a password."""
    flower_auth: str = ""
    """`USER:PASSWORD` for Flower, several separated by commas. Empty: it asks for none."""
    flower_auth_file: Path | None = None
    """A file of such entries, one a line, instead."""
    flower_path_prefix: str = ""
    """The path under which Flower lies behind a proxy, such as `/flower`."""
    path_prefix: str = ""
    """The path under which the service lies, such as `/speaker`, behind a proxy that shares its address with others."""
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Addresses or networks (separated by commas) whose `X-Forwarded-*` headers are believed. Empty: nobody's."""
    wait_seconds: float = Field(default=30.0, ge=0)
    """How long a synchronous request waits before it answers 202 with a job id."""
    web_workers: int = Field(default=2, ge=1)
    """Web processes."""
    web_threads: int = Field(default=16, ge=1)
    """Threads of one web process; a synchronous request holds one while it waits. Connection pools have this size."""
    max_queued: int = Field(default=1000, ge=1)
    """Recognitions that may wait in the queue; more are refused with 503."""
    max_body_bytes: int = 64 * 1024 * 1024
    max_audio_seconds: float = Field(default=300.0, gt=0)
    """The longest recording in a question; what is enrolled has a limit of its own, `max_recording_seconds`."""

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
    key_questions: int = Field(default=100, ge=0)
    """Questions of one key, or of one address where nobody needs a key, that wait for their answer; more are refused
    with 429. Not on a private service without keys. 0: no limit."""
    key_enrollments: int = Field(default=10, ge=0)
    """Enrollments, in the same way."""
    webhook_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts, each at its usual port, or `HOST:PORT` (separated by commas), to which webhooks may go. Empty: none."""
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
    gate_mixed: float = Field(default=0.45, ge=-1, le=1)
    """Cosine of two halves of a speaker's recordings below which they are two people, in small jobs."""
    gate_twin: float = Field(default=0.75, ge=-1, le=1)
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
    """Threads that bulk work may have: they decode, measure and match; the network has threads of its own."""
    max_batch: int = Field(default=0, ge=0)
    """Requests that share a call of the network; 0: as measured at the start, 1 where sharing is no quicker (CPU)."""
    max_wait_ms: float | None = Field(default=None, ge=0)
    """How long the first waits for others to share its call; empty: as measured at the start."""
    reserved_threads: int = Field(default=0, ge=0)
    """Threads that bulk work never has; 0: as many as keep the network fed."""
    heartbeat_seconds: float = Field(default=2.0, gt=0)
    """A worker that is silent for three times so long counts as dead: its tasks are given to others."""
    stall_seconds: float = Field(default=120.0, gt=0)
    """A worker whose network has worked on one batch for so long ends itself."""

    # To see
    log_format: Literal["text", "json"] = "text"
    """How log lines are written: for people, or one JSON object a line."""
    metrics_host: str = "127.0.0.1"
    """Where a worker answers `/metrics`, without asking for a key; web answers on its own port."""
    metrics_port: int = Field(default=0, ge=0, le=65535)
    """Of the first worker on a machine; `speaker-tasks up` gives the next one the port after it. 0: no such page."""
    otlp_endpoint: str = ""
    """Where traces are sent to, such as `http://collector:4318` (OTLP over HTTP; the extra `otlp`). Empty: nowhere."""

    # How long things are kept in Redis, in seconds
    payload_ttl: int = 600
    result_ttl: int = 3600
    forget_seconds: float = Field(default=30.0, ge=0)
    """How often Redis' append-only file is written anew, if recordings were deleted meanwhile; 0: when Redis likes."""
    answered_ttl: int = Field(default=15, ge=1)
    """The record of a question whose answer went out with the request; it is not listed among the jobs."""
    job_ttl: int = 7 * 24 * 3600

    @model_validator(mode="before")
    @classmethod
    def _password_of_file(cls, values: dict[str, Any]) -> dict[str, Any]:
        url, file = values.get("redis_url"), values.get("redis_password_file")
        if not file or not isinstance(url, str) or "@" in url:
            return values
        try:
            password = quote(Path(file).read_text(encoding="utf-8").strip(), safe="")
        except OSError as error:
            raise ValueError(f"SPEAKER_REDIS_PASSWORD_FILE cannot be read: {error.strerror}") from None
        scheme, _, rest = url.partition("://")
        return values | {"redis_url": f"{scheme}://:{password}@{rest}"}

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_proxies(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @property
    def limit_of_questions(self) -> str:
        """How an error names the limit of a question's length, and the other one."""
        return f"SPEAKER_MAX_AUDIO_SECONDS; to enroll, {self.max_recording_seconds:g} s: SPEAKER_MAX_RECORDING_SECONDS"

    @property
    def limit_of_enrollment(self) -> str:
        """How an error names the limit of what is enrolled, and the other one."""
        return f"SPEAKER_MAX_RECORDING_SECONDS; in questions, {self.max_audio_seconds:g} s: SPEAKER_MAX_AUDIO_SECONDS"

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

    @field_validator("port", "flower_port", "metrics_port", mode="before")
    @classmethod
    def _no_address(cls, value: object, info: ValidationInfo) -> object:
        """Kubernetes sets SPEAKER_PORT=tcp://10.0.0.5:6001 beside a service that is called speaker."""
        if isinstance(value, str) and value.startswith("tcp://"):
            return cls.model_fields[info.field_name or ""].default
        return value
