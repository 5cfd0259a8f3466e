"""The same inputs for a service that runs: over HTTP, through the queue, to the end of the job."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.fuzz.recordings import Recording

BANK = "fuzz"
JSON_PATHS = ("/speaker", "/v1/embed", "/v1/compare", "/v1/identify", "/v1/banks", f"/v1/banks/{BANK}/enrollments")
TYPES = {b"PK": "application/zip", b"\x1f\x8b": "application/gzip"}


@dataclass
class Service:
    """A service at a URL, whose workers may read below a folder."""

    url: str
    folder: Path | None = None
    seconds: float = 30.0
    """Within which an input has to be answered, and its job to go on by a recording."""
    session: requests.Session = field(default_factory=requests.Session)
    _paths: Any = field(default_factory=lambda: itertools.cycle(JSON_PATHS))

    def readers(self) -> dict[str, Callable[[Any], str]]:
        """How each kind of input is sent; the kinds of files that are not uploaded need the folder."""
        readers: dict[str, Callable[[Any], str]] = {
            "recordings": self.hear,
            "strange recordings": self.hear_anything,
            "bank files": self.bank,
            "archives": self.archive,
            "bodies": self.body,
        }
        if self.folder is not None:
            files = {"workbooks": "x.xlsx", "tables": "x.csv", "dictionaries": "x.json", "segments": "m/m.rttm"}
            readers |= {kind: self.source(self.folder / name) for kind, name in files.items()}
        return readers

    def hear(self, one: Recording) -> str:
        """Ask for a recording's vector. Raises `AssertionError` if the answer gives other seconds."""
        status, answer = self._post("/v1/embed", one.content, "audio/x-any")
        if status == 200:
            wrong = one.verdict(answer["seconds"], answer["seconds_lost"], damaged=answer["damaged"])
            assert not wrong, f"{one}: {wrong}"
            return "answered, damaged" if answer["damaged"] else "answered"
        return self._code(status, answer)

    def hear_anything(self, content: bytes) -> str:
        """Ask for the vector of what may be a recording."""
        return self._code(*self._post("/v1/embed", content, "application/octet-stream"))

    def bank(self, content: bytes) -> str:
        """Import a bank file, and take it away again."""
        came = self._post(f"/v1/banks/{BANK}/import", content, "application/octet-stream")
        self.session.delete(f"{self.url}/v1/banks/{BANK}", timeout=self.seconds)
        return self._code(*came)

    def archive(self, content: bytes) -> str:
        """Enroll an archive, without writing."""
        kind = TYPES.get(content[:2], "application/x-tar")
        return self._ended(*self._post(f"/v1/banks/{BANK}/enrollments?dry_run=true", content, kind))

    def source(self, path: Path) -> Callable[[bytes], str]:
        """How a file that the workers read is enrolled, without writing; an RTTM file is so with its folder."""

        def enroll(content: bytes) -> str:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            named = path.parent if path.suffix == ".rttm" else path
            if named != path:
                path.with_suffix(".wav").write_bytes(b"RIFF")
            options = {"path": str(named), "options": {"qualify": True} if named != path else {}}
            answer = self.session.post(
                f"{self.url}/v1/banks/{BANK}/enrollments?dry_run=true", json=options, timeout=self.seconds
            )
            return self._ended(answer.status_code, answer.json())

        return enroll

    def body(self, content: bytes) -> str:
        """Send a JSON body to one path after the other."""
        return self._code(*self._post(next(self._paths), content, "application/json"))

    def _post(self, path: str, content: bytes, kind: str) -> tuple[int, Any]:
        headers = {"Content-Type": kind}
        answer = self.session.post(self.url + path, data=bytes(content), headers=headers, timeout=self.seconds)
        return answer.status_code, answer.json()

    def _code(self, status: int, answer: Any) -> str:
        assert status < 500, f"{status} {answer}"
        return str(answer["error"]["code"]) if status >= 400 else "answered"

    def _ended(self, status: int, answer: Any) -> str:
        """What came of a job. Raises `AssertionError` if it does not end, or by a fault of ours."""
        if status >= 400:
            return self._code(status, answer)
        deadline, ready = time.monotonic() + self.seconds, -1
        while time.monotonic() < deadline:
            job = self.session.get(f"{self.url}/v1/jobs/{answer['job']['id']}", timeout=self.seconds).json()["job"]
            if job["state"] not in ("queued", "running"):
                error = job.get("error") or {}
                assert error.get("code") != "internal", job
                return str(error.get("code") or job["state"])
            if (now_ready := job["progress"]["done"] + job["progress"]["failed"]) != ready:
                deadline, ready = time.monotonic() + self.seconds, now_ready
            time.sleep(0.02)
        raise AssertionError(f"the job does not go on: {job}")
