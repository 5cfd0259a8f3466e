"""Questions beside other work: under a running enrollment, with large banks, while banks are switched."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.service import load, speech
from benchmarks.service.bench import ENROLLED, WAV, Bench, Figures, enroll, shown
from benchmarks.service.stack import ServingStack
from speaker_tasks.embedding.audio import SAMPLE_RATE


def bulk(bench: Bench) -> Figures:
    """Questions at a tenth of the maximum rate, without and under a running enrollment, and that one's own rate."""
    recordings = bench.folder / "recordings"
    count = _write_recordings(recordings, bench)
    with bench.stack(data_roots=str(recordings)) as stack:
        enroll(stack, bench.clips[0])
        most = load.run(bench.plan(stack, WAV, bench.wav, clients=16, seconds=bench.seconds / 2)).rate
        questions = bench.plan(stack, WAV, bench.wav, rate=most / 10, seconds=2 * bench.seconds)
        without = shown(load.run(questions))
        alone = _bulk_rate(stack, recordings, "alone", bench.seconds)
        job = _start_bulk(stack, recordings, "beside")
        _warm_up(stack, job)
        before, began = stack.client.job(job).done, time.monotonic()
        beside = shown(load.run(questions))
        done = stack.client.job(job)
        rate = (done.done - before) / (time.monotonic() - began)
        stack.client.cancel(job)
        if done.over:
            raise SystemExit(f"the enrollment of {count} recordings ended before the questions did: it is too short")
    return {"question rate": most / 10, "without": without, "beside": beside, "alone": alone, "rate": rate}


def _write_recordings(folder: Path, bench: Bench) -> int:
    """Some thousand different recordings of 2 to 8 s as WAV files: the clips, each at many volumes."""
    count = 0
    for round_ in range(max(4, int(10 * bench.seconds))):
        for speaker, clip in enumerate(bench.clips):
            path = folder / f"speaker {speaker}" / f"{round_}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, clip * (0.5 + round_ / 1000), SAMPLE_RATE, subtype="PCM_16")
            count += 1
    return count


def _start_bulk(stack: ServingStack, recordings: Path, bank: str) -> str:
    return stack.client.enroll({}, source={"path": str(recordings)}, bank=bank, force=True).id


def _warm_up(stack: ServingStack, job: str) -> None:
    while stack.client.job(job).done < 40:
        time.sleep(0.05)


def _bulk_rate(stack: ServingStack, recordings: Path, bank: str, seconds: float) -> float:
    job = _start_bulk(stack, recordings, bank)
    _warm_up(stack, job)
    before, began = stack.client.job(job).done, time.monotonic()
    time.sleep(seconds)
    rate = (stack.client.job(job).done - before) / (time.monotonic() - began)
    stack.client.cancel(job)
    # What was embedded is remembered, and would be had for nothing the next time.
    for key in stack.client.redis.scan_iter("speaker:vector*", count=10_000):
        stack.client.redis.unlink(key)
    time.sleep(1.0)
    return rate


def banks(bench: Bench) -> Figures:
    """The latency of one client by the size of the bank; and how long a switch of banks takes to be seen by all."""
    with bench.stack() as stack:
        figures: Figures = {}
        for people in (ENROLLED, 1_000, 10_000, 44, 10_000):
            enroll(stack, bench.clips[0], people)
            report = shown(load.run(bench.plan(stack, WAV, bench.wav, seconds=bench.seconds / 2)))
            before = figures.get(str(people))
            figures[str(people)] = report if before is None or report["p50"] < before["p50"] else before
        return figures | {"switch": _switching(stack, bench)}


def _switching(stack: ServingStack, bench: Bench) -> Figures:
    """Switch between two banks under load: the most seconds until no answer came from the old one; failures end it."""
    for name in ("first", "second"):
        vectors = np.random.default_rng(len(name)).normal(0, 0.04, (100, 512)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        labels = [f"{name} {number}" for number in range(len(vectors))]
        body = json.dumps({"label": labels, "feats": vectors.tolist()}).encode()
        stack.post("/ModifyFeatsCustom", body)
        stack.post("/v1/banks", json.dumps({"name": name, "copy_of": "custom"}).encode())
    process = load.Process(bench.plan(stack, WAV, bench.wav, clients=4, seconds=max(4.0, bench.seconds)))
    time.sleep(1.5)
    slowest, body = 0.0, speech.wav(bench.clips[0])
    for number in range(8):
        name = ("first", "second")[number % 2]
        stack.post("/ModifyFeatsMode", json.dumps({"feats_mode": name}).encode())
        switched = time.monotonic()
        seen = 0
        while seen < 8:  # both web processes and all threads have answered by then
            sent = time.monotonic()
            right = stack.post(*(WAV[0], body, WAV[1]))["bank"]["name"] == name
            seen = seen + 1 if right else 0
            if not right:
                slowest = max(slowest, sent - switched)
    return {"slowest": slowest, "requests beside": len(process.report().ms), "failed": 0}
