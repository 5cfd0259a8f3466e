"""A worker's `/metrics`: figures of its batcher and its GPU, read at each scrape."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from speaker_tasks import metrics
from speaker_tasks.embedding.batchfigures import Metrics
from speaker_tasks.gpus import Gpu, gpus
from speaker_tasks.tasks.context import WorkerContext

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
LOOK_SECONDS = 5.0
"""How long a reading of the GPUs is reused, since each starts a program."""


def publish(context: WorkerContext) -> None:
    """Answer `/metrics` from here on. Raises `ConfigurationError` if the port is taken."""
    metrics.serve(context.settings.metrics_host, context.settings.metrics_port)
    REGISTRY.register(Figures(context.batcher.metrics, gpus if context.embedder.device != "cpu" else list))


class Figures(Collector):
    """The figures of one batcher, and of the machine's GPUs."""

    def __init__(self, batcher: Callable[[], Metrics], look: Callable[[], list[Gpu]]) -> None:
        self._batcher, self._look = batcher, look
        self._seen: list[Gpu] = []
        self._looked = float("-inf")

    def describe(self) -> Iterator[Metric]:
        """Nothing: registration needs no scrape."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The metric families now."""
        seen = self._batcher()
        yield batch_sizes(seen)
        yield CounterMetricFamily("speaker_network_requests", "Requests that the network ran.", seen.requests)
        yield CounterMetricFamily("speaker_network_wait_seconds", "Seconds of waiting for it.", seen.wait_seconds)
        yield CounterMetricFamily("speaker_network_run_seconds", "Seconds of its calls.", seen.run_seconds)
        yield CounterMetricFamily("speaker_network_rejected", "Turned away: too many waited.", seen.rejected)
        yield CounterMetricFamily("speaker_network_expired", "Dropped after waiting too long.", seen.expired)
        yield CounterMetricFamily("speaker_network_failed", "Requests whose call failed.", seen.failed)
        yield GaugeMetricFamily("speaker_network_waiting", "Requests that wait now.", seen.waiting)
        yield GaugeMetricFamily("speaker_network_running_seconds", "How long the oldest call runs.", seen.running_for)
        yield from self._gpus()

    def _gpus(self) -> Iterator[Metric]:
        if time.monotonic() - self._looked > LOOK_SECONDS:
            self._seen, self._looked = self._look(), time.monotonic()
        used = GaugeMetricFamily("speaker_gpu_memory_used_bytes", "Memory in use.", labels=["gpu"])
        total = GaugeMetricFamily("speaker_gpu_memory_bytes", "Memory that there is.", labels=["gpu"])
        busy = GaugeMetricFamily("speaker_gpu_busy_ratio", "Share of time in which it computed.", labels=["gpu"])
        for gpu in self._seen:
            for family, value in ((used, gpu.memory_used), (total, gpu.memory_total), (busy, gpu.busy)):
                family.add_metric([str(gpu.index)], value)
        yield from (used, total, busy)


def batch_sizes(seen: Metrics) -> Metric:
    """The histogram of how many requests shared a call."""
    ends: list[tuple[str, float]] = [
        (str(float(end)), sum(count for size, count in seen.sizes.items() if size <= end)) for end in BATCH_SIZES
    ]
    calls, requests = sum(seen.sizes.values()), sum(size * count for size, count in seen.sizes.items())
    return HistogramMetricFamily(
        "speaker_batch_size", "Requests that shared a call of the network.", [*ends, ("+Inf", calls)], requests
    )
