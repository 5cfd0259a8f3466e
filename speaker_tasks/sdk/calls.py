"""The calls of `/v1` as data, shared by the two HTTP clients: what to send, and when to send it again."""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import quote, urlsplit
from urllib.request import getproxies

import httpx

from speaker_tasks.errors import ConfigurationError, NotFound, SpeakerTasksError, Unavailable, from_dict
from speaker_tasks.sdk.results import Job

RETRIED = (429, 502, 503, 504)
JOBS_AT_A_TIME = 200
"""The most that the service lists in one answer."""
RAW = "application/octet-stream"
SAMPLE_RATE = 16_000
TIMEOUT = httpx.Timeout(75.0, connect=5.0)
"""More than the service waits for an answer."""
ATTEMPTS = 4
JOB_SECONDS = 3600.0
LOOK_SECONDS = 0.5
Progress = Callable[[Job], None]


class Samples(Protocol):
    """An array of mono samples, such as numpy's."""

    def tolist(self) -> list[float]:
        """The samples as numbers."""


Recording = str | Path | bytes | BinaryIO | Samples
"""A path on this machine, the bytes of a file, an open file, or mono samples."""


@dataclass(frozen=True)
class Call:
    """One request. A POST carries an idempotency key, so that it may be sent again."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    content: bytes | None = None
    files: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """The arguments of `httpx.Client.request` after the URL."""
        params = {name: value for name, value in self.params.items() if value is not None}
        return {"params": params, "content": self.content, "files": self.files, "headers": dict(self.headers)}


def question(kind: str, recording: Recording, rate: int, **params: Any) -> Call:
    """A question about one recording. Raises `NotFound` for a path that is not there."""
    content, content_type = _body(recording, rate)
    headers = {"Content-Type": content_type, "Idempotency-Key": secrets.token_hex(16)}
    return Call("POST", f"/v1/{kind}", params, content, headers=headers)


def timeline(recording: Recording, rate: int, *, in_place: bool = False, **params: Any) -> Call:
    """Who speaks when in a long recording: a job, at once. `in_place`: the workers read the path by themselves."""
    given = {name: str(value).lower() if isinstance(value, bool) else value for name, value in params.items()}
    if not in_place:
        return question("timeline", recording, rate, wait=0, **given)
    body = json.dumps({"path": str(Path(str(recording)).absolute())}).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": secrets.token_hex(16)}
    return Call("POST", "/v1/timeline", {"wait": 0, **given}, body, headers=headers)


def comparison(first: Recording, second: Recording, rate: int, **params: Any) -> Call:
    """Two recordings to compare."""
    headers = {"Idempotency-Key": secrets.token_hex(16)}
    given = {"first": _body(first, rate), "second": _body(second, rate)}
    if all(kind == RAW for _, kind in given.values()):
        files = {name: (name, content, RAW) for name, (content, _) in given.items()}
        return Call("POST", "/v1/compare", params, files=files, headers=headers)
    import base64

    parts = {
        name: json.loads(content) if kind != RAW else {"audio": base64.b64encode(content).decode()}
        for name, (content, kind) in given.items()
    }
    body = json.dumps(parts).encode()
    return Call("POST", "/v1/compare", params, body, headers=headers | {"Content-Type": "application/json"})


def job_page(limit: int, before: str | None, *, kind: str | None, state: str | None) -> Call:
    """A page of the list of jobs: at most `limit`, from behind `before`, the `next` of the page before."""
    return plain("GET", "/v1/jobs", kind=kind, state=state, limit=min(limit, JOBS_AT_A_TIME), before=before)


def plain(method: str, path: str, body: Mapping[str, Any] | None = None, **params: Any) -> Call:
    """A request with a JSON body, or with none."""
    content = None if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    return Call(method, path, params, content, headers=headers)


def bank_check(bank: str, speaker: str | None) -> Call:
    """Who of a bank would be recognised."""
    return plain("GET", f"/v1/banks/{part(bank)}/check", speaker=speaker)


def connection(url: str, key: str | None) -> dict[str, Any]:
    """How to reach a service. What lies on this machine is asked without the proxy that the environment may name."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return {"base_url": url, "headers": headers, "timeout": TIMEOUT, "trust_env": not is_loopback(url)}


def is_job(answer: Mapping[str, Any]) -> bool:
    """Whether a question was answered with a job to be polled."""
    return set(answer) == {"job"}


def late(job: Job, seconds: float) -> Unavailable:
    """The error of a job that nobody waits for any longer."""
    return Unavailable(f"job {job.id} is still {job.state} after {seconds:g} s", job=job.id, state=job.state)


def part(text: str) -> str:
    """A name as a part of a path."""
    return quote(text, safe="")


def pause(call: Call, answer: httpx.Response | None, attempt: int) -> float:
    """Seconds to wait before the call is sent again."""
    header = answer.headers.get("Retry-After", "") if answer is not None else ""
    return min(30.0, float(header)) if header.isdigit() else min(10.0, 0.2 * 2.0**attempt)


def repeatable(call: Call) -> bool:
    """Whether sending the call again cannot do anything twice."""
    return call.method in {"GET", "DELETE", "PUT"} or "Idempotency-Key" in call.headers


def accepted(answer: httpx.Response) -> httpx.Response:
    """The answer's body. Raises the error that the service answered with."""
    if answer.is_error:
        checked(answer)
    return answer


def checked(answer: httpx.Response) -> dict[str, Any]:
    """The answer's JSON. Raises the error that the service gave."""
    try:
        body = answer.json()
    except ValueError:
        raise SpeakerTasksError(f"{answer.request.url} answered {answer.status_code} without JSON") from None
    if answer.is_error:
        raise from_dict(body.get("error", {}))
    return dict(body)


def is_loopback(url: str) -> bool:
    """Whether an address is of this very machine."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def telling_the_address(url: str) -> Iterator[None]:
    """Raise `ConfigurationError` in one line for an address that is none, or a proxy that cannot be used."""
    try:
        yield
    except httpx.InvalidURL as error:
        hint = "; an IPv6 address stands in brackets: http://[::1]:6001" if url.count(":") > 2 else ""
        raise ConfigurationError(f"{url} is no address of a service: {error}{hint}") from None
    except (ImportError, ValueError) as error:  # how httpx refuses proxies
        named = [f"{name}_PROXY".upper() for name in getproxies() if name in ("all", "http", "https")]
        raise ConfigurationError(
            f"the proxy of the environment ({', '.join(named) or 'unknown'}) cannot be used: "
            f"{str(error).splitlines()[0]} Unset it, or name the service's host in NO_PROXY"
        ) from None


def away(url: str, error: Exception) -> Unavailable:
    """The service does not answer, or a proxy before it."""
    proxies = {urlsplit(url).scheme, "all"} & set(getproxies()) if not is_loopback(url) else set()
    proxy = f" (asked through the proxy of {min(proxies).upper()}_PROXY)" if proxies else ""
    return Unavailable(f"no answer from {url}{proxy}: {error}", url=url)


def _body(recording: Recording, rate: int) -> tuple[bytes, str]:
    if isinstance(recording, str | Path):
        try:
            return Path(recording).read_bytes(), RAW
        except OSError as error:
            raise NotFound(f"{recording} cannot be read: {error.strerror}", path=str(recording)) from None
    if isinstance(recording, bytes):
        return recording, RAW
    if hasattr(recording, "tolist"):
        return json.dumps({"samples": recording.tolist(), "rate": rate}).encode(), "application/json"
    return recording.read(), RAW
