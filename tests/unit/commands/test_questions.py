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
from speaker_tasks.http_results import Identification


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
        raw = {"decision": "match", "reason": "above_threshold", "speaker": recording.decode(), "score": 0.9}
        raw |= {"margin": 0.3, "probability": 0.99, "threshold": 0.5, "candidates": [], "speech_seconds": 3.0}
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
