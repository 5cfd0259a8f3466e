"""Spans for OpenTelemetry: a request, the message that it sends and the task of a worker are one trace.

Off unless `SPEAKER_OTLP_ENDPOINT` is set; that needs the extra `otlp`. OpenTelemetry's own instrumentations are not
used: Celery's never ends the span of a task that is sent by name, and Flask's sends whole paths and queries, in which
names of people stand. No span holds a recording, a vector, a key or a name. `OTEL_*` variables (headers,
sampler) count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from speaker_tasks.errors import ConfigurationError
from speaker_tasks.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Kind = Literal["SERVER", "PRODUCER", "CONSUMER"]
Ending = Callable[[Mapping[str, Any], bool], None]
"""Ends a span, with attributes, and whether it failed."""

HEADERS = ("traceparent", "tracestate")
SEND_SECONDS = 2
"""How long the collector may take; what it does not take is lost, and nobody waits for it."""

_provider: TracerProvider | None = None


def start(settings: Settings, service: str) -> None:
    """Send this process' spans to the settings' endpoint, as those of `service`. Nothing where there is no endpoint.

    Processes that are forked afterwards send theirs, too. Raises `ConfigurationError` without the extra `otlp`.
    """
    global _provider  # noqa: PLW0603 (OpenTelemetry has one for a process, too)
    if not settings.otlp_endpoint or _provider is not None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise ConfigurationError("SPEAKER_OTLP_ENDPOINT needs the extra: pip install 'speaker-tasks[otlp]'") from None
    endpoint = settings.otlp_endpoint.rstrip("/") + "/v1/traces"
    _provider = TracerProvider(resource=Resource.create({"service.name": service}))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=SEND_SECONDS)))


def stop() -> None:
    """Send what is left."""
    if _provider is not None:
        _provider.shutdown()


def carried(get: Callable[[str], str | None]) -> dict[str, str]:
    """Of a request's or a message's headers, those that name the span that it comes from."""
    return {name: value for name in HEADERS if (value := get(name))}


def begin(name: str, kind: Kind, parent: Mapping[str, str] | None = None) -> Ending:
    """Begin a span of this thread: what ends it there. Its parent is a span here, or one that headers name."""
    if _provider is None:
        return _nothing
    from opentelemetry import context, trace
    from opentelemetry.propagate import extract
    from opentelemetry.trace import SpanKind

    around = None if parent is None else extract(parent, context.Context())
    span = _provider.get_tracer("speaker_tasks").start_span(name, around, SpanKind[kind])
    token = context.attach(trace.set_span_in_context(span))

    def end(attributes: Mapping[str, Any], failed: bool = False) -> None:
        note(attributes, failed=failed)
        span.end()
        context.detach(token)

    return end


@contextmanager
def sending(name: str, attributes: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """A span around the sending of a message, which gets these headers: its receiver goes on with the trace."""
    headers: dict[str, str] = {}
    if _provider is None:
        yield headers
        return
    from opentelemetry.propagate import inject

    end, failed = begin(name, "PRODUCER"), True
    try:
        inject(headers)
        yield headers
        failed = False
    finally:
        end(attributes, failed)


def note(attributes: Mapping[str, Any], *, failed: bool = False) -> None:
    """Add attributes, those that are not None, to the span that this thread is in."""
    if _provider is None:
        return
    from opentelemetry import trace

    span = trace.get_current_span()
    span.set_attributes({name: value for name, value in attributes.items() if value is not None})
    if failed:
        span.set_status(trace.StatusCode.ERROR)


def _nothing(attributes: Mapping[str, Any], failed: bool = False) -> None:
    """End no span."""
