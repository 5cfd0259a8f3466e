"""Bulk enrollment through the real stack beside the bare embedder on the same cores: `python -m benchmarks.enrollment`.

The recordings are those of SPEAKER_SHARED/speech/validation, written as 16 kHz wav files like a conference's;
`--limit N` takes fewer. The bare embedder is one process that has all recordings decoded in memory and embeds them in
batches: no queue, no Redis, no files, no measures, no report.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile
from rich.console import Console
from rich.table import Table

from enrollment.folder import scan
from speaker_tasks.embedding.audio import SAMPLE_RATE, decode
from speaker_tasks.launcher.server import EmbeddedServer
from speaker_tasks.settings import Settings
from tests.integration.stack import Stack

BATCH = 16


def write_recordings(folder: Path, limit: int) -> None:
    """Real recordings as wav files, one sub-folder a speaker."""
    default = Path(__file__).resolve().parents[2] / "shared"
    for entry in scan(Path(os.environ.get("SPEAKER_SHARED", default)) / "speech" / "validation").entries[:limit]:
        path = folder / entry.speaker / Path(entry.path).with_suffix(".wav").name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, decode(Path(entry.path)), SAMPLE_RATE)


def bare(folder: Path) -> dict[str, float]:
    """Embed the decoded recordings in this process: seconds that it took, and those of decoding before."""
    from speaker_tasks.embedding.embedder import Embedder

    settings = Settings()
    embedder = Embedder.configured(settings)
    started = time.perf_counter()
    clips = [decode(Path(entry.path)) for entry in scan(folder).entries]
    decoded = time.perf_counter() - started
    embedder.warm()
    embedder.embed_many(clips[:BATCH])
    started = time.perf_counter()
    for start in range(0, len(clips), BATCH):
        embedder.embed_many(clips[start : start + BATCH])
    took = time.perf_counter() - started
    return {"sound": sum(map(len, clips)) / SAMPLE_RATE, "decode": decoded, "embed": took, "clips": len(clips)}


def through_the_stack(workers: int, folder: Path) -> tuple[float, float]:
    """Seconds of one enrollment with so many workers, and of the same again from remembered vectors."""
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    with tempfile.TemporaryDirectory() as temporary, EmbeddedServer(Path(temporary) / "redis") as server:
        stack = Stack(Path(temporary), server.url)
        try:
            for _ in range(workers):
                stack.worker(SPEAKER_DATA_ROOTS=str(folder), SPEAKER_THREADS=threads)
            client = stack.client()
            took = []
            for bank in ("first", "again"):
                job = client.enroll({}, source={"path": str(folder)}, bank=bank, force=True)
                while not (job := client.job(job.id)).over:
                    time.sleep(0.05)
                if job.state != "succeeded" or job.started is None or job.finished is None:
                    raise SystemExit(f"the job ended as {job.state}: {job.error or job.result}")
                took.append(job.finished - job.started)
            return took[0], took[1]
        finally:
            stack.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=int, default=10_000)
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare:
        print(json.dumps(bare(options.bare)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        write_recordings(folder, options.limit)
        before = alone(folder)
        rows = [(f"{workers} worker{'s' * (workers > 1)}", *through_the_stack(workers, folder)) for workers in (1, 2)]
        after = alone(folder)
    show(before, after, rows)


def alone(folder: Path) -> dict[str, float]:
    """`bare` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.enrollment", "--bare", str(folder)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: dict[str, float] = json.loads(printed.splitlines()[-1])
    return figures


def show(before: dict[str, float], after: dict[str, float], rows: list[tuple[str, float, float]]) -> None:
    """Print the table."""
    embed = min(before["embed"], after["embed"])
    sound, clips = before["sound"], before["clips"]
    table = Table(
        "", "seconds", "recordings / s", "x real time", "of the bare embedder", "again, from memory",
        title=f"{clips:.0f} recordings, {sound / 60:.0f} min of sound, {os.cpu_count()} cores",
    )  # fmt: skip
    table.add_row("bare embedder", f"{embed:.1f}", f"{clips / embed:.1f}", f"{sound / embed:.0f}", "1.00", "")
    whole = embed + min(before["decode"], after["decode"])
    table.add_row(
        "bare, and decoding", f"{whole:.1f}", f"{clips / whole:.1f}", f"{sound / whole:.0f}", f"{embed / whole:.2f}", ""
    )
    for name, took, again in rows:
        table.add_row(
            name, f"{took:.1f}", f"{clips / took:.1f}", f"{sound / took:.0f}", f"{embed / took:.2f}", f"{again:.1f} s"
        )
    Console().print(table)


if __name__ == "__main__":
    main()
