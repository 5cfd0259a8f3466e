"""Bodies of requests become arrays, or errors that say what is wrong."""

from __future__ import annotations

import base64
import json

import numpy as np
import psutil
import pytest
from flask import Flask, request

from speaker_tasks.errors import Malformed, NotFinite, SpeakerTasksError, TooLarge, Unusable
from speaker_tasks.jobs.audio import Audio, Encoding
from web.http.body import json_object, speaker_samples
from web.v1.recordings import recordings


def parse(data: bytes, max_seconds: float = 1.0) -> Audio:
    with Flask("test").test_request_context("/speaker", method="POST", data=data):
        return speaker_samples(request, max_seconds)


def test_samples_become_float32_at_16_khz() -> None:
    values = [0.0, -1.0, 0.25, 1e-9]
    audio = parse(json.dumps({"speaker": values}).encode())
    assert audio.rate == 16_000
    assert np.array_equal(audio.samples(), np.array(values, np.float32))


def test_whole_numbers_are_numbers_too() -> None:
    assert parse(b'{"speaker": [0, 1, -1]}').samples().tolist() == [0, 1, -1]


@pytest.mark.parametrize("around", ["", '"list": [], '], ids=["the quick way", "the thorough way"])
def test_both_ways_of_parsing_give_the_same_samples(around: str) -> None:
    values = np.random.default_rng(0).normal(0, 0.1, 1000).tolist()
    body = "{" + around + '"speaker": ' + json.dumps([*values, 1, -1]) + "}"
    assert np.array_equal(parse(body.encode()).samples(), np.array([*values, 1, -1], np.float32))


def test_samples_of_a_16_bit_file_travel_as_such() -> None:
    values = np.array([0, 1, -32768, 32767, 12345]) / 32768
    audio = parse(json.dumps({"speaker": values.tolist()}).encode())
    assert audio.encoding is Encoding.INT16
    assert np.array_equal(audio.samples(), values.astype(np.float32))
    assert parse(json.dumps({"speaker": [*values.tolist(), 1.0]}).encode()).encoding is Encoding.FLOAT32


def test_other_keys_are_no_harm() -> None:
    assert len(parse(b'{"id": "x, y, z", "speaker": [0.5], "more": [1, 2, {"a": null}]}').samples()) == 1


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", Malformed),
        (b"{", Malformed),
        (b'"text"', Malformed),
        (b"null", Malformed),
        (b"{}", Malformed),
        (b'{"speaker": 1}', Malformed),
        (b'{"speaker": [true, "a"]}', Malformed),
        (b'{"speaker": [true, false]}', Malformed),
        (b'{"speaker": [{}]}', Malformed),
        (b'{"speaker": [[0.5]]}', Malformed),
        (b'{"speaker": [0.5, null]}', Malformed),
        (b'{"speaker": [99999999999999999999999999, "1"]}', Malformed),
        (b'{"speaker": []}', Unusable),
        (b'{"speaker": [NaN]}', NotFinite),
        (b'{"speaker": [Infinity]}', NotFinite),
        (b'{"speaker": [1e39]}', NotFinite),
        (b'{"speaker": [1e999]}', NotFinite),
        (b'{"speaker": [NaN', Malformed),
        (b'{"speaker": "NaN"}', Malformed),
        (b'{"a":' * 5000, Malformed),
        (b"[NaN," + b"[" * 100_000, Malformed),
    ],
)
def test_what_is_wrong_is_told_by_type(data: bytes, error: type[SpeakerTasksError]) -> None:
    with pytest.raises(error) as raised:
        parse(data)
    assert type(raised.value) is error
    assert len(raised.value.message) < 300


def test_a_second_is_the_limit_and_a_sample_more_is_too_long() -> None:
    assert len(parse(json.dumps({"speaker": [0.1] * 16_000}).encode()).samples()) == 16_000
    with pytest.raises(TooLarge) as raised:
        parse(json.dumps({"speaker": [0.1] * 16_001}).encode())
    assert raised.value.details["limit"] == 1.0


def test_much_too_long_is_told_before_it_is_parsed() -> None:
    with pytest.raises(TooLarge, match=r"600 s; at most .*\(SPEAKER_MAX_AUDIO_SECONDS\)"):
        parse(b'{"speaker": [' + b"," * (600 * 16_000 - 1) + b"this is not even JSON")


def test_names_are_taken_as_they_are() -> None:
    assert json_object('{"label": ["张三", "\\u674e"]}'.encode()) == {"label": ["张三", "李"]}


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"samples": [' + b"[]," * 1_000_000 + b"1]}", Malformed),
        (b"{" * 100_000, Malformed),
        (b'{"samples": [' + b"0," * 9_000_000 + b"1]}", TooLarge),
    ],
    ids=["empty lists", "objects", "numbers"],
)
def test_a_body_of_too_many_lists_or_numbers_is_refused_before_it_is_parsed(
    body: bytes, error: type[SpeakerTasksError]
) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    with pytest.raises(error, match="the body holds about"):
        json_object(body)
    assert process.memory_info().rss - before < 20e6


def asked(part: dict[str, object]) -> Audio:
    with Flask("test").test_request_context("/v1/embed", method="POST", json=part):
        (found,) = recordings(request, ("audio",), 60.0, "SPEAKER_MAX_AUDIO_SECONDS")
    assert isinstance(found, Audio)
    return found


@pytest.mark.parametrize("size", [100, 101, 102])
def test_base64_is_taken_as_programs_write_it(size: int) -> None:
    sound = bytes(range(150, 250)) + b"\xff\xfe"[: size - 100]
    plain = base64.b64encode(sound).decode()
    for text in (
        plain,
        base64.encodebytes(sound).decode(),
        "\r\n".join(plain[at : at + 20] for at in range(0, len(plain), 20)) + "\n",
        base64.urlsafe_b64encode(sound).decode().rstrip("="),
        f"data:audio/ogg;base64,{plain}",
    ):
        assert asked({"audio": text}).pack() == Audio.of_file(sound).pack()


@pytest.mark.parametrize("text", ["a", "????", "AAAA AAAA A", "é"])
def test_what_is_no_base64_is_told(text: str) -> None:
    with pytest.raises(Malformed, match="not base64"):
        asked({"audio": text})


def test_a_rate_of_16000_point_0_is_16000() -> None:
    assert asked({"samples": [0.5] * 16, "rate": 16000.0}).rate == 16000
    for rate in (16000.5, float("1e300"), True, "16000"):
        with pytest.raises(Malformed, match="whole number"):
            asked({"samples": [0.5] * 16, "rate": rate})
