"""`speaker-tasks identify` answers for each recording; one that cannot be used takes nobody's answer away."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from speaker_tasks.cli import app
from speaker_tasks.commands import edge, questions
from speaker_tasks.commands import service as commands_service
from speaker_tasks.errors import NotFound, Unavailable, UnsupportedAudio, Unusable
from speaker_tasks.sdk.results import Identification


class Service:
    """Answers by what the recording holds."""

    asked: list[str]

    def __init__(self) -> None:
        self.asked = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def identify(self, recording: bytes, **_: Any) -> Identification:
        self.asked.append(recording.decode())
        if recording == b"noise":
            raise UnsupportedAudio("not a recording that can be read")
        if recording == b"away":
            raise Unavailable("no answer")
        if recording == b"nobank":
            raise NotFound("there is no bank 'B'", bank="B")
        if recording == b"stranger":
            return _unknown()
        raw = {"decision": "match", "reason": "above_threshold", "speaker": recording.decode(), "score": 0.9}
        raw |= {"margin": 0.3, "probability": 0.99, "threshold": 0.5, "candidates": [], "speech_seconds": 3.0}
        return Identification.of(raw | {"bank": {"name": "B", "version": 1}, "model": "m"})


def _unknown() -> Identification:
    candidates = [{"speaker": "Alice [the first] of Chesterfield", "score": 0.41, "probability": 0.2}]
    raw = {"decision": "unknown", "reason": "below_threshold", "speaker": None, "score": 0.41, "margin": 0.1}
    raw |= {"probability": 0.2, "threshold": 0.5, "candidates": candidates, "speech_seconds": 3.0}
    return Identification.of(raw | {"bank": {"name": "B", "version": 1}, "model": "m"})


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Service:
    made = Service()
    monkeypatch.setattr(questions, "service", lambda url, key: made)
    monkeypatch.chdir(tmp_path)
    for name, content in {"a": "Alice", "c": "Carol", "noise": "noise", "away": "away", "nobank": "nobank"}.items():
        Path(f"{name}.wav").write_text(content)
    Path("empty.wav").touch()
    Path("folder").mkdir()
    return made


def identify(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["identify", "--bank", "B", *arguments])


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (questions, edge, commands_service):
        monkeypatch.setattr(module, "console", Console(width=200, highlight=False))


@pytest.mark.parametrize(
    ("bad", "reason", "status"),
    [
        ("typo.wav", "No such file", NotFound.exit_status),
        ("folder", "no recording below folder", NotFound.exit_status),
        ("empty.wav", "empty (0 bytes)", Unusable.exit_status),
        ("noise.wav", "not a recording", UnsupportedAudio.exit_status),
    ],
)
def test_a_recording_that_cannot_be_used_is_a_row_with_its_reason(
    service: Service, bad: str, reason: str, status: int
) -> None:
    done = identify("a.wav", bad, "c.wav")
    assert done.exit_code == status
    assert "Alice" in done.stdout
    assert "Carol" in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if line.split()[:1] == [bad]]
    assert "error" in row
    assert reason in row


def test_the_rows_of_json_name_it_too(service: Service) -> None:
    done = identify("--json", "a.wav", "typo.wav", "c.wav")
    assert done.exit_code == NotFound.exit_status
    first, second, third = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["speaker"], third["speaker"]) == ("Alice", "Carol")
    assert (second["recording"], second["error"]["code"]) == ("typo.wav", "not_found")


@pytest.mark.parametrize("bad", ["away.wav", "nobank.wav"])
def test_what_is_wrong_with_the_service_stops_it_but_what_was_found_is_printed(service: Service, bad: str) -> None:
    done = identify("a.wav", bad, "c.wav")
    assert isinstance(done.exception, Unavailable | NotFound)
    assert "Alice" in done.stdout
    assert service.asked == ["Alice", bad.removesuffix(".wav")]


def test_who_names_no_bank_is_told_which_ones_were_asked_and_which_could_not_be() -> None:
    asked = {"name": "all", "version": 0, "default": True, "banks": ["demo", "staff"]}
    assert questions._on_bank(asked) == ["no --bank was given: asked all, which is demo, staff"]
    assert questions._on_bank({"name": "demo", "default": True, "banks": ["demo"]}) == [
        "no --bank was given: asked demo"
    ]
    assert questions._on_bank({"name": "demo", "version": 3}) == []
    (line,) = questions._on_bank({"name": "all", "left_out": {"old": "bank 'old' holds vectors of 'vgg'"}})
    assert "bank 'old' holds vectors of 'vgg': it was left out" in line


def test_what_is_missing_of_a_recording_stands_beside_the_reason() -> None:
    known = _unknown()
    raw = {**known.raw, "damaged": True, "seconds_lost": 2.34}
    assert questions._row("x", Identification.of(raw))[-1] == "below threshold; damaged, about 2.3 s lost"
    assert questions._row("x", known)[-1] == "below threshold"
    pair = {"recordings": [{"damaged": False, "seconds_lost": 0.0}, {"damaged": True, "seconds_lost": 0.0}]}
    assert questions._damage(pair) == ["damaged"]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_fits_its_width_and_cuts_no_name(
    service: Service, monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    for module in (questions, edge, commands_service):
        monkeypatch.setattr(module, "console", Console(width=width, highlight=False))
    for name in ("stranger", "Al[ice]"):
        Path(f"{name}.wav").write_text(name)
    done = identify("a.wav", "stranger.wav", "Al[ice].wav")
    assert max(map(len, done.stdout.splitlines())) <= width
    words = done.stdout.split()
    for word in (
        "Alice",
        "stranger.wav",
        "unknown",
        "nearest:",
        "Chesterfield",
        "[the",
        "below",
        "0.410",
        "Al[ice].wav",
    ):
        assert word in words, done.stdout
