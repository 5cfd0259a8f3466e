"""What a worker counts for Prometheus, and the page that shows it. No label holds a name of a person, bank or key.

The web processes count in `web/http/metrics.py`; what lies in Redis (queues, heartbeats) is read when web's page is
asked (`jobs/fleet.py`).
"""

from __future__ import annotations

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server

from speaker_tasks.errors import ConfigurationError

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper ends of the buckets of what takes part of a second."""

JOBS = Counter("speaker_jobs", "Jobs that ended in this worker.", ["kind", "state"])
JOB_ERRORS = Counter("speaker_job_errors", "Jobs that ended with an error, by its code.", ["kind", "code"])
DECISIONS = Counter("speaker_decisions", "Answers, by outcome and reason.", ["kind", "outcome", "reason"])
JOB_SECONDS = Histogram(
    "speaker_job_seconds", "Seconds from a question's arrival to its answer.", ["kind"], buckets=SECONDS
)
STEP_SECONDS = Histogram(
    "speaker_step_seconds",
    "Seconds of each step of a question: queue (waiting), decode, speech, features (front end), network, match.",
    ["step"],
    buckets=SECONDS,
)
RECORDINGS = Counter("speaker_enrollment_recordings_done", "Recordings that enrollments went through.", ["outcome"])
REDELIVERIES = Counter("speaker_redeliveries", "Task messages that were sent again, and why.", ["reason"])
RETRIES = Counter("speaker_redis_retries", "Times that Redis was away or refused, and was asked again.")
SKEW = Gauge("speaker_clock_skew_seconds", "How far this machine's clock is ahead of Redis'.")


def serve(host: str, port: int) -> None:
    """Answer `/metrics` in a thread until the process ends. Raises `ConfigurationError` if the port is taken."""
    try:
        start_http_server(port, addr=host, registry=REGISTRY)
    except OSError as error:
        raise ConfigurationError(
            f"SPEAKER_METRICS_PORT={port}: cannot listen on {host}:{port}: {error.strerror or error}"
        ) from None
