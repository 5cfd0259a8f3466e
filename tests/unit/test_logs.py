"""Log lines: one a happening, whatever a client sends; a request's id wherever it belongs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest

from speaker_tasks import logs


@pytest.fixture(params=["text", "json"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def written(form: str) -> Iterator[StringIO]:
    """What the logger `here` writes in that form."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonLines() if form == "json" else logs.TextLines())
    logger = logging.getLogger("here")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield stream
    logger.removeHandler(handler)


HERE = logging.getLogger("here")


def test_fields_that_are_none_are_left_out(written: StringIO, form: str) -> None:
    logs.event(HERE, "job", kind="identify", ms=41.25, bank="李明 & co", decision=None, error="")
    line = written.getvalue()
    if form == "text":
        assert line.endswith('INFO here: job kind=identify ms=41.2 bank="李明 & co"\n')
    else:
        fields = json.loads(line)
        assert fields.pop("time").endswith("+00:00")
        assert fields == {
            "level": "INFO",
            "logger": "here",
            "message": "job",
            "kind": "identify",
            "ms": 41.25,
            "bank": "李明 & co",
        }


def test_what_a_client_sent_ends_no_line(written: StringIO, form: str) -> None:
    logs.event(HERE, "request", path="/a\nERROR forged=1\u2028x", bank='a" status=200')
    HERE.warning("bad path %s", "/x\r\nERROR forged")
    assert written.getvalue().count("\n") == 2
    assert "\nERROR" not in written.getvalue()
    if form == "text":
        assert len(written.getvalue().splitlines()) == 2


def test_bound_fields_are_in_every_line_of_their_thread_alone(written: StringIO, form: str) -> None:
    with logs.bound(request_id="r1", job=None), ThreadPoolExecutor(1) as other:
        HERE.warning("inside")
        other.submit(HERE.warning, "elsewhere").result()
    HERE.warning("after")
    inside, elsewhere, after = written.getvalue().splitlines()
    assert ("request_id=r1" in inside) if form == "text" else (json.loads(inside)["request_id"] == "r1")
    assert "r1" not in elsewhere + after
    assert "job" not in inside


def test_a_traceback_stays_with_its_line(written: StringIO, form: str) -> None:
    try:
        raise ValueError("no luck")
    except ValueError:
        HERE.exception("it failed")
    assert "no luck" in written.getvalue()
    if form == "json":
        assert "ValueError" in json.loads(written.getvalue())["traceback"]


def test_a_level_that_is_off_costs_no_line(written: StringIO) -> None:
    logs.event(HERE, "request", logging.DEBUG, status=200)
    assert written.getvalue() == ""
