"""What all measures share: clips, bodies, services, and how a report becomes figures."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.service import load, speech
from benchmarks.service.stack import ServingStack, busy_seconds

CLIPS = 160
ENROLLED = 44
"""As many as in the first server's list."""
WAV = ("/v1/identify", "audio/wav")
JSON = ("/speaker", "application/json")
Figures = dict[str, Any]


@dataclass
class Bench:
    """What all measures share: a folder for bodies, how long to measure, settings of the service's processes."""

    folder: Path
    seconds: float = 6.0
    requests: int = 20_000
    paths: tuple[str, ...] = ()
    variables: dict[str, str] | None = None

    @cached_property
    def cores(self) -> list[int]:
        """The processors that the whole benchmark may use."""
        return sorted(os.sched_getaffinity(0))

    @cached_property
    def clips(self) -> list[np.ndarray]:
        """Clips of 2 to 8 s, each of another length."""
        return speech.clips(CLIPS)

    @cached_property
    def wav(self) -> Path:
        """They as WAV files."""
        return speech.write(self.folder / "wav", [speech.wav(clip) for clip in self.clips])

    @cached_property
    def json(self) -> Path:
        """They as the older server's JSON."""
        return speech.write(self.folder / "json", [speech.floats(clip) for clip in self.clips])

    @cached_property
    def json_of_4_s(self) -> Path:
        """One clip of 4 s as JSON."""
        return speech.write(self.folder / "json-4", [speech.floats(speech.clip(4.0))])

    def stack(self, **more: Any) -> ServingStack:
        """A service that is not yet started, with compiled networks kept between the starts."""
        return ServingStack(**{"data_dir": str(self.folder / "data"), **(self.variables or {}), **more})

    def plan(self, stack: ServingStack, kind: tuple[str, str], bodies: Path, **more: Any) -> load.Plan:
        """Clients of a stack."""
        path, content_type = kind
        return load.Plan(
            "127.0.0.1", stack.settings.port, path, str(bodies), content_type, **{"seconds": self.seconds, **more}
        )


def enroll(stack: ServingStack, clip: np.ndarray, people: int = ENROLLED) -> None:
    """A list of so many people: the clip's own voice, and random others."""
    own = stack.post("/SpeakerFeats", speech.floats(clip))["feats"][0]
    others = np.random.default_rng(0).normal(0, 0.04, (people - 1, len(own))).round(5).tolist()
    labels = [f"speaker {number}" for number in range(people)]
    stack.post("/ModifyFeatsCustom", json.dumps({"label": labels, "feats": [own, *others]}).encode())


def shown(report: load.Report) -> Figures:
    """A report's figures."""
    names = {f"p{share}": report.percentile(share) for share in (50, 95, 99)}
    return {"rate": report.rate, "requests": len(report.ms), **names}


def watched(stack: ServingStack, plan: load.Plan) -> Figures:
    """A report's figures and the processor milliseconds of a request, by process; `others` is what is none of ours."""
    process = load.Process(replace(plan, warm_up=2.0))
    time.sleep(2.5)
    before, busy, began = stack.cpu(), busy_seconds(), time.monotonic()
    time.sleep(max(0.2, plan.seconds - 1.0))
    after, busy, took = stack.cpu(), busy_seconds() - busy, time.monotonic() - began
    report = process.report()
    count = max(1.0, report.rate * took)
    cpu = {kind: 1e3 * (after[kind] - before[kind]) / count for kind in after}
    cpu["client"] = 1e3 * report.cpu_seconds / max(1, len(report.ms))
    others = busy / took - sum(cpu.values()) * count / took / 1e3
    return {**shown(report), "cpu_ms": cpu, "others": max(0.0, others)}
