"""The clients of a fault campaign: they ask, leave jobs behind, enroll, and count what they saw."""

from __future__ import annotations

import io
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import soundfile

from benchmarks.failing.stack import SPEAKERS, Stack
from tools.make_demo_meeting import SAMPLE_RATE, meeting

SETTLE_SECONDS = 120.0
"""What accepted jobs have to end in once the last fault is over."""
LOOK_SECONDS = 0.1
"""How often `/readyz` is asked."""


@dataclass(frozen=True)
class Clips:
    """Recordings whose answers are known, since they were asked about before anything failed."""

    questions: list[tuple[bytes, str]]
    """Each with the name of its speaker."""
    meeting: bytes
    present: list[str]
    """Who speaks in the meeting."""


@dataclass
class Seen:
    """What the clients saw in a round."""

    statuses: Counter[str] = field(default_factory=Counter)
    by_fault: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    wrong: list[str] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    """Job -> the speaker that its answer has to name."""
    enrollments: list[str] = field(default_factory=list)
    timelines: list[str] = field(default_factory=list)


class Clients:
    """Two that wait for answers; three that leave questions, enrollments and timelines behind; one asks `/readyz`."""

    def __init__(self, url: str, clips: Clips) -> None:
        self.seen, self.fault = Seen(), "none"
        self.answered: list[tuple[float, float]] = []
        """When each question that was answered had been sent, and was answered (monotonic)."""
        self.ready: list[tuple[float, bool]] = []
        """What `/readyz` said, and when it was asked."""
        self._url, self._clips = url, clips
        self._lock, self._stop = threading.Lock(), threading.Event()
        works = (self._ask, self._ask, self._leave, self._enroll, self._meet, self._look)
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once the last answers are there."""
        self._stop.set()
        for thread in self._threads:
            thread.join(90)

    def turn(self) -> Seen:
        """What was seen since this was last called."""
        with self._lock:
            seen, self.seen = self.seen, Seen()
            self.answered, self.ready = self.answered[-1:], self.ready[-1:]
        return seen

    def _post(self, path: str, **options: Any) -> httpx.Response | None:
        try:
            return httpx.post(self._url + path, timeout=60, **options)
        except httpx.HTTPError:
            return None

    def _ask(self) -> None:
        chance = random.Random(threading.get_ident())
        while not self._stop.wait(0.1):
            clip, speaker = chance.choice(self._clips.questions)
            sent = time.monotonic()
            answer = self._post("/v1/identify", params={"bank": "demo"}, files={"audio": clip})
            self._note(answer, sent, speaker)

    def _note(self, answer: httpx.Response | None, sent: float, speaker: str) -> None:
        outcome = "no connection" if answer is None else str(answer.status_code)
        body = {} if answer is None else _body(answer)
        if answer is not None and not body:
            outcome += " without JSON"
        elif answer is not None and answer.status_code >= 400:
            outcome += f" {body['error']['code']}"
        with self._lock:
            self.seen.statuses[outcome] += 1
            self.seen.by_fault[self.fault][outcome] += 1
            if answer is None or not body:
                return
            if answer.status_code == 200:
                self.answered.append((sent, time.monotonic()))
                if body["speaker"] != speaker:
                    self.seen.wrong.append(f"{body['speaker']} for {speaker}")
            elif answer.status_code == 202:
                self.seen.accepted[body["job"]["id"]] = speaker

    def _leave(self) -> None:
        chance = random.Random(7)

        def leave() -> None:
            clip, speaker = chance.choice(self._clips.questions)
            answer = self._post("/v1/identify", params={"bank": "demo", "wait": 0}, files={"audio": clip})
            if job := _accepted(answer):
                self.seen.accepted[job] = speaker

        self._repeat(leave, 0.3)

    def _enroll(self) -> None:
        numbers = iter(range(1 << 30))

        def enroll() -> None:
            body = {"path": str(SPEAKERS)}
            answer = self._post(f"/v1/banks/bulk-{next(numbers) % 3}/enrollments", json=body)
            if job := _accepted(answer):
                self.seen.enrollments.append(job)

        self._repeat(enroll, 3.0)

    def _meet(self) -> None:
        def meet() -> None:
            answer = self._post("/v1/timeline", params={"bank": "demo"}, files={"audio": self._clips.meeting})
            if job := _accepted(answer):
                self.seen.timelines.append(job)

        self._repeat(meet, 15.0)

    def _look(self) -> None:
        def look() -> None:
            asked, ready = time.monotonic(), False
            with suppress(httpx.HTTPError):
                ready = httpx.get(f"{self._url}/readyz", timeout=5).status_code == 200
            self.ready.append((asked, ready))

        self._repeat(look, LOOK_SECONDS)

    def _repeat(self, work: Callable[[], None], seconds: float) -> None:
        while not self._stop.wait(seconds):
            work()


def prepare(stack: Stack) -> Clips:
    """Enroll the demo's speakers; clips whose answer is right when nothing is wrong, and that answer."""
    deadline = time.monotonic() + 180
    while not stack.ready():
        if time.monotonic() > deadline or stack.up.poll() is not None:
            raise SystemExit(stack.log.read_text()[-3000:])
        time.sleep(0.2)
    _ended(stack, _job(httpx.post(f"{stack.url}/v1/banks/demo/enrollments", json={"path": str(SPEAKERS)})))
    questions = []
    for clip in sorted(SPEAKERS.glob("*/*.ogg")):
        data = clip.read_bytes()
        answer = httpx.post(f"{stack.url}/v1/identify", params={"bank": "demo"}, files={"audio": data}, timeout=60)
        if answer.status_code == 200 and answer.json()["speaker"] == clip.parent.name:
            questions.append((data, clip.parent.name))
    sound = io.BytesIO()
    soundfile.write(sound, meeting()[0], SAMPLE_RATE, format="FLAC")
    sent = httpx.post(f"{stack.url}/v1/timeline", params={"bank": "demo"}, files={"audio": sound.getvalue()})
    return Clips(questions, sound.getvalue(), _present(_ended(stack, _job(sent))))


def settle(stack: Stack, seen: Seen, present: list[str]) -> dict[str, list[str]]:
    """Wait until the jobs that were accepted have ended: those that were lost, failed, or have another answer."""
    bad: dict[str, list[str]] = defaultdict(list)
    deadline = time.monotonic() + SETTLE_SECONDS
    for job in [*seen.accepted, *seen.enrollments, *seen.timelines]:
        record = _ended(stack, job, deadline)
        if record["state"] not in ("succeeded", "partial"):
            error = (record.get("error") or {}).get("code", "")
            bad["lost" if record["state"] in ("not_found", "queued", "running") else f"failed {error}"].append(job)
        elif job in seen.accepted:
            if record["result"]["speaker"] != seen.accepted[job]:
                bad["wrong"].append(job)
        elif job in seen.timelines:
            if _present(record) != present:
                bad["wrong"].append(job)
        elif record["progress"]["done"] + record["progress"]["failed"] != record["progress"]["total"]:
            bad["counted twice"].append(job)
    return dict(bad)


def _present(record: dict[str, Any]) -> list[str]:
    return sorted(one["speaker"] for one in record["result"]["speakers"])


def _accepted(answer: httpx.Response | None) -> str | None:
    """The job that was accepted; None if none was, as far as the answer tells."""
    accepted = answer is not None and answer.status_code == 202 and _body(answer)
    return accepted["job"]["id"] if accepted else None


def _body(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON; empty if it has none, as when a proxy answers or a process dies in the middle."""
    try:
        return answer.json()
    except ValueError:
        return {}


def _job(answer: httpx.Response) -> str:
    return answer.json()["job"]["id"]


def _ended(stack: Stack, job: str, deadline: float = float("inf")) -> dict[str, Any]:
    """The job's record when it has ended, or as it is at the deadline."""
    while (record := _record(stack, job))["state"] in ("queued", "running") and time.monotonic() < deadline:
        time.sleep(0.2)
    return record


def _record(stack: Stack, job: str) -> dict[str, Any]:
    """A job's record; its `state` is the error's code if there is none."""
    for _ in range(20):
        with suppress(httpx.HTTPError):
            answer = httpx.get(f"{stack.url}/v1/jobs/{job}", timeout=10)
            body = answer.json()
            if "job" in body:
                return body["job"]
            if answer.status_code < 500:
                return {"state": body["error"]["code"], "result": None}
        time.sleep(0.5)
    return {"state": "no connection", "result": None}
