"""`/metrics`: what the web processes counted, and what lies in Redis at this moment, for Prometheus.

A key with the scope `metrics` or `read` may ask, where there are keys. Workers have a page of their own.
"""

from __future__ import annotations

from flask import Blueprint, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import CollectorRegistry

from speaker_tasks.jobs.fleet import Fleet
from web.http import metrics
from web.shared import services

blueprint = Blueprint("metrics", __name__)


@blueprint.get("/metrics")
def page() -> Response:
    """All figures, in Prometheus' text format. 200 also while Redis is away: `speaker_redis_up` says so."""
    client = services().client
    fleet = CollectorRegistry()
    fleet.register(Fleet(client.redis, client.registry))
    text = generate_latest(metrics.registry()) + generate_latest(fleet) + generate_latest(_own())
    return Response(text, content_type=CONTENT_TYPE_LATEST)


def _own() -> CollectorRegistry:
    registry = CollectorRegistry()

    class Own:
        """The memory of the web processes."""

        def collect(self) -> list[GaugeMetricFamily]:
            """One family."""
            size = metrics.resident_memory()
            return [GaugeMetricFamily("speaker_web_resident_memory_bytes", "Of all web processes.", size)]

    registry.register(Own())
    return registry
