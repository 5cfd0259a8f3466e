"""How long requests would wait in an ideal service that loses nothing on the way: to compare the open loop with.

    python -m benchmarks.queueing [--share 0.7] [--cores 2] [--fixed 4] [--each-second 2]

Clips of the lengths that the serving benchmark sends arrive by chance (Poisson); each takes one core for some fixed
milliseconds and some for each of its seconds; first come, first served. Nothing is measured, all is computed.
"""

from __future__ import annotations

import argparse
import heapq

import numpy as np

from benchmarks.service import speech
from benchmarks.service.bench import CLIPS
from speaker_tasks.embedding.audio import SAMPLE_RATE

ARRIVALS = 200_000


def waits(service: np.ndarray, share: float, cores: int, seed: int = 0) -> np.ndarray:
    """Milliseconds from arrival to answer, (N,), of requests that take `service` (N,) of a core each."""
    gaps = np.random.default_rng(seed).exponential(service.mean() / (share * cores), len(service))
    free = [0.0] * cores
    took = np.empty(len(service))
    for number, (arrival, length) in enumerate(zip(np.cumsum(gaps), service, strict=True)):
        ended = max(heapq.heappop(free), arrival) + length
        heapq.heappush(free, ended)
        took[number] = ended - arrival
    return took


def main() -> None:
    """Print the percentiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=0.7, help="of the rate that the cores can do")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--fixed", type=float, default=4.0, help="milliseconds of a core for each request")
    parser.add_argument("--each-second", type=float, default=2.0, help="milliseconds for each second of its clip")
    options = parser.parse_args()
    seconds = np.array([len(clip) / SAMPLE_RATE for clip in speech.clips(CLIPS)])
    drawn = np.random.default_rng(1).choice(seconds, ARRIVALS)
    varied = options.fixed + options.each_second * drawn
    for name, service in (("clips of 2 to 8 s", varied), ("all alike", np.full(ARRIVALS, varied.mean()))):
        p50, p99 = np.percentile(waits(service, options.share, options.cores), [50, 99])
        print(f"{name}: {service.mean():.1f} ms each, p50 {p50:.1f} ms, p99 {p99:.1f} ms: {p99 / p50:.2f} x")


if __name__ == "__main__":
    main()
