"""Workers whose clocks are wrong: nothing runs twice, nothing expires.

    apt-get install libfaketime
    python -m benchmarks.clocks [--skew 120] [--recordings 752]

Starts a Redis-protocol server and web by the right time, a worker by a clock that is ahead and one whose clock is
behind. Enrolls recordings in many chunks, and asks questions meanwhile: some wait for their answer, some are left
behind. Exit status 1 if a message was sent again, a recording counted twice, or a question not answered.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import soundfile

from benchmarks.failing.rounds import ENDED
from benchmarks.failing.stack import SPEAKERS
from speaker_tasks.embedding.audio import SAMPLE_RATE, decode
from speaker_tasks.launcher.server import EmbeddedServer, free_port
from tests.integration.stack import Stack, Web


def library() -> str:
    """libfaketime, for programs with threads. Ends the program where it is not installed."""
    if found := sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")):
        return str(found[0])
    raise SystemExit("libfaketime is not installed: apt-get install libfaketime")


def write_recordings(folder: Path, number: int) -> None:
    """Clips of the demo's speakers, each a little louder or softer than all others."""
    clips = [(clip.parent.name, decode(clip)) for clip in sorted(SPEAKERS.glob("*/*.ogg"))]
    for one in range(number):
        speaker, samples = clips[one % len(clips)]
        (folder / speaker).mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / speaker / f"{one}.wav", samples * (0.5 + 0.5 * one / number), SAMPLE_RATE)


def ask(web: Web, jobs: list[str]) -> Counter[str]:
    """Questions until all jobs have ended: answers by status. Every second question is left behind, as one job more."""
    clip = (SPEAKERS / "Alice" / "1.ogg").read_bytes()
    statuses: Counter[str] = Counter()
    enrollment = jobs[0]
    while state(web, enrollment) in ("queued", "running"):
        for wait in ("20", "0"):
            answer = web.post("/v1/embed", params={"wait": wait}, files={"audio": clip})
            statuses[str(answer.status_code)] += 1
            if answer.status_code == 202:
                jobs.append(answer.json()["job"]["id"])
        time.sleep(0.2)
    return statuses


def state(web: Web, job: str) -> str:
    """Of a job."""
    return str(web.get(f"/v1/jobs/{job}").json()["job"]["state"])


def main() -> None:
    """Run it, print what happened."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skew", type=int, default=120, help="seconds")
    parser.add_argument("--recordings", type=int, default=752)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="speaker-clocks-") as temporary:
        folder = Path(temporary)
        write_recordings(folder / "people", options.recordings)
        with EmbeddedServer(folder / "redis") as server:
            stack = Stack(folder, server.url)
            try:
                failed = run(stack, folder / "people", options.skew)
            finally:
                stack.stop()
    sys.exit(int(failed))


def run(stack: Stack, people: Path, skew: int) -> bool:
    """Enroll and ask; whether something went wrong."""
    given = {"SPEAKER_DATA_ROOTS": str(people), "SPEAKER_WORKERS": "2", "SPEAKER_HEARTBEAT_SECONDS": "2"}
    ports = [free_port(), free_port()]
    workers = []
    for offset, port in zip((f"+{skew}", f"-{skew}"), ports, strict=True):
        wrong = {"LD_PRELOAD": library(), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        workers.append(stack.worker(**given, **wrong, SPEAKER_METRICS_PORT=str(port)))
    web = stack.web(SPEAKER_DATA_ROOTS=str(people))
    time.sleep(3)
    skews = [round(one["skew"]) for one in web.get("/v1/workers").json()["workers"]]
    print(f"skew by the workers' heartbeats: {skews} s")
    enrollment = web.post("/v1/banks/many/enrollments", json={"path": str(people)}).json()["job"]["id"]
    jobs = [enrollment]
    statuses = ask(web, jobs)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and any(state(web, job) in ("queued", "running") for job in jobs):
        time.sleep(0.2)
    states = Counter(state(web, job) for job in jobs)
    record = web.get(f"/v1/jobs/{enrollment}").json()["job"]
    time.sleep(1)
    logs = "".join(worker.log.read_text() for worker in workers)
    ends = Counter(ENDED.findall(logs))
    twice = sum(times > 1 for times in ends.values())
    again = logs.count("sent again")
    done = [counted(port) for port in ports]
    print(f"enrollment: {record['state']}, {record['progress']}; recordings done by each worker: {done}")
    print(f"questions: {dict(statuses)}; jobs: {dict(states)}")
    print(f"{again} messages were sent again, {twice} jobs ended twice")
    bad = set(states) - {"succeeded", "partial"} or set(statuses) - {"200", "202"}
    return bool(bad or again or twice or sum(done) != record["progress"]["total"] or abs(min(skews)) < skew - 2)


def counted(port: int) -> int:
    """How many recordings a worker went through for enrollments."""
    page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return int(
        sum(float(one) for one in re.findall(r"^speaker_enrollment_recordings_done_total\{.*\} (\S+)", page, re.M))
    )


if __name__ == "__main__":
    main()
