"""The real readers, one call for each kind of input: what came of it, in a word; an error that is not ours raises."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

from flask import Request

from banks.npz import read_npz_from
from enrollment import archive, rttm, sources
from speaker_tasks.embedding.audio import Reading, check, decode
from speaker_tasks.errors import SpeakerTasksError
from tests.fuzz.recordings import Recording
from web.http.body import json_object, speaker_samples
from web.v1.recordings import ONE, TWO, recordings

MAX_SECONDS = 300.0
LONGEST_MESSAGE = 2000


def outcome(read: Callable[[], object]) -> str:
    """`read`, or the code of the error by which it refused. Raises `AssertionError` for an error that is a 5xx."""
    came: SpeakerTasksError | None = None
    try:
        read()
    except SpeakerTasksError as error:
        came = error
    assert came is None or came.status < 500, f"{came.status} {came.code}: {came.message}"
    assert came is None or len(came.message) < LONGEST_MESSAGE, f"a message of {len(came.message)} characters"
    return came.code if came else "read"


def hear(one: Recording) -> str:
    """Read a recording whose length is known. Raises `AssertionError` if the reader gives another one."""
    reading = Reading()

    def read() -> None:
        samples = decode(one.content, max_seconds=MAX_SECONDS, reading=reading)
        assert abs(len(samples) / 16_000 - reading.seconds) < 0.1
        wrong = one.verdict(reading.seconds, reading.lost, damaged=reading.damaged)
        assert not wrong, f"{one}: {wrong}"

    came = outcome(read)
    if came != "read":
        assert one.change not in ("whole", "joined", "behind"), f"{one}: refused as {came}"
    return f"{came}, damaged" if reading.damaged else came


def hear_anything(content: bytes) -> str:
    """Read what may be a recording."""
    return outcome(lambda: check(decode(content, max_seconds=MAX_SECONDS)))


def source(name: str) -> Callable[[bytes], str]:
    """A reader of a file of that name as a source of recordings."""

    def read(content: bytes) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(content)
            return outcome(lambda: sources.read(str(path)))

    return read


def meeting(content: bytes) -> str:
    """Read an RTTM file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.rttm"
        path.write_bytes(content)
        return outcome(lambda: rttm.segments(path, str(path.with_suffix(".wav")), "m.rttm", qualify=True))


def bank(content: bytes) -> str:
    """Read a bank file."""
    return outcome(lambda: read_npz_from(io.BytesIO(content), "the file", model="vgg"))


def speakers(content: bytes) -> str:
    """Unpack an archive and read the folder."""
    with tempfile.TemporaryDirectory() as folder:

        def read() -> None:
            (inside := Path(folder) / "in").mkdir()
            sources.read(str(archive.unpack(content, inside)))
            assert list(Path(folder).iterdir()) == [inside], "something was written outside"

        return outcome(read)


def body(content: bytes) -> str:
    """Read a JSON body as the endpoints do."""
    came = [
        outcome(lambda: json_object(content)),
        outcome(lambda: speaker_samples(_request(content), MAX_SECONDS)),
        outcome(lambda: recordings(_request(content), ONE, MAX_SECONDS, "the limit")),
        outcome(lambda: recordings(_request(content), TWO, MAX_SECONDS, "the limit")),
    ]
    return "read" if "read" in came else came[0]


def _request(content: bytes) -> Request:
    return Request.from_values(method="POST", data=content, content_type="application/json")
