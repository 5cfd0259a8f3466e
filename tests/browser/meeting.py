"""A meeting as `/v1/timelines` describes it, and a service that answers with it, for the page's own tests."""

from __future__ import annotations

import copy
import json
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Page, Route

JOB = "01a21db290d4157d6c7f86b440ccc1b1"
SPEAKERS = ("Alice", "王芳", "unknown-1")


def timeline() -> dict[str, Any]:
    """Four minutes of three people, the third of whom is not enrolled."""
    turns, start = [], 1.5
    for number in range(24):
        speaker = SPEAKERS[(number * 7 // 3) % 3]
        length = 4.0 + (number * 37 % 11)
        overlap = number % 6 == 5
        begin = start - (1.2 if overlap else 0)
        turns.append(
            {"id": number + 1, "start": begin, "end": start + length, "speaker": speaker, "overlap": overlap}
            | {"cluster": SPEAKERS.index(speaker), "score": 0.7, "probability": 0.99, "reason": "above_threshold"}
        )
        start += length + 0.6
    return {
        "seconds": start + 2,
        "speech_seconds": start - 18,
        "overlap_seconds": 4.8,
        "revision": 0,
        "turns": turns,
        "exclusive": [],
        "speakers": [described(name, turns) for name in SPEAKERS],
        "too_short": [],
        "bank": {"name": "demo", "version": 1, "speakers": 8},
        "roster": None,
        "overlap": True,
        "model": "compact-f1df7473daca",
        "segmentation": "pyannote-segmentation-3.0",
        "quality": {},
        "warnings": [],
        "damaged": False,
        "seconds_lost": 0.0,
        "timings_ms": {},
    }


def described(name: str, turns: list[dict[str, Any]]) -> dict[str, Any]:
    """One speaker of a timeline."""
    own = [turn for turn in turns if turn["speaker"] == name]
    known = not name.startswith("unknown")
    return {
        "speaker": name,
        "cluster": 0,
        "enrolled": known,
        "seconds": sum(turn["end"] - turn["start"] for turn in own),
        "turns": len(own),
        "clean_seconds": 40.0,
        "score": 0.71 if known else 0.22,
        "probability": 0.998 if known else None,
        "threshold": 0.39,
        "margin": 0.42,
        "decision": "match" if known else "unknown",
        "reason": "above_threshold" if known else "below_threshold",
        "message": "",
        "candidates": [{"speaker": name if known else "Carol", "score": 0.71 if known else 0.22, "probability": None}],
        "vector": [],
    }


class Service:
    """Answers the page's calls about one meeting, and keeps what it was sent."""

    def __init__(self, page: Page) -> None:
        self.states = [timeline()]
        self.sent: list[dict[str, Any]] = []
        job = {"id": JOB, "kind": "timeline", "state": "succeeded", "created": "2026-03-02T09:30:00.000+00:00"}
        job |= {"started": job["created"], "finished": job["created"], "about": {"bank": "demo"}, "error": None}
        job |= {"progress": {"total": 240, "done": 240, "failed": 0}, "result": {"seconds": self.states[0]["seconds"]}}
        self.job = job
        page.route("**/v1/timeline*", self._submit)
        page.route("**/v1/timelines/**", self._answer)
        page.route("**/v1/jobs?*", lambda route: route.fulfill(json={"jobs": [self.job], "next": None}))
        page.route(f"**/v1/jobs/{JOB}/events", self._events)

    def _submit(self, route: Route) -> None:
        route.fulfill(status=202, json={"job": self.job | {"state": "running", "finished": None}})

    def _events(self, route: Route) -> None:
        route.fulfill(content_type="text/event-stream", body=f"event: end\ndata: {json.dumps({'job': self.job})}\n\n")

    def _answer(self, route: Route) -> None:
        path = urlsplit(route.request.url).path
        if route.request.method == "GET":
            route.fulfill(json=self.states[-1])
            return
        body = route.request.post_data_json
        self.sent.append(body)
        if path.endswith("/enrollments"):
            done = {"bank": body["bank"], "version": 2, "speaker": body["name"], "clips": 12, "seconds": 40.0}
            self.states.append(self._renamed(body["speaker"], body["name"]))
            route.fulfill(json=done | {"warnings": []})
            return
        if body["action"] == "undo":
            self.states.pop()
        elif body["action"] == "name":
            self.states.append(self._renamed(body["speaker"], body["name"]))
        else:
            changed = copy.deepcopy(self.states[-1])
            if body["action"] == "reassign":
                next(turn for turn in changed["turns"] if turn["id"] == body["turn"])["speaker"] = body["speaker"]
            self.states.append(changed)
        self.states[-1]["revision"] = len(self.states) - 1
        route.fulfill(json={"timeline": self.states[-1]})

    def _renamed(self, old: str, new: str) -> dict[str, Any]:
        changed = copy.deepcopy(self.states[-1])
        for one in (*changed["turns"], *changed["speakers"]):
            if one["speaker"] == old:
                one["speaker"] = new
        return changed
