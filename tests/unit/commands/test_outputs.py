"""A file that cannot be written is one line of error, before anything is done for it."""

from __future__ import annotations

import errno
import io
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from speaker_tasks.cli import app
from speaker_tasks.commands import banks, enroll
from speaker_tasks.commands.outputs import check_writable, write_report, written
from speaker_tasks.errors import NotFound, Unusable


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test that gets as far as Redis."""

    def settings() -> Any:
        raise AssertionError("work was begun")

    for module in (banks, enroll):
        monkeypatch.setattr(module, "connected_settings", settings)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    "arguments",
    [
        ("enroll", "people", "--bank", "staff", "--report"),
        ("enroll", "people", "--bank", "staff", "--save"),
        ("banks", "export", "staff"),
        ("dictionary", "people.csv"),
    ],
)
def test_every_command_looks_before_it_works(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    missing = run(*arguments, tmp_path / "nowhere" / "out")
    assert isinstance(missing.exception, NotFound)
    assert missing.exception.message == f"there is no folder {tmp_path / 'nowhere'}"
    folder = run(*arguments, tmp_path)
    assert isinstance(folder.exception, Unusable)
    assert folder.exception.message == f"{tmp_path} cannot be written"


def test_a_dictionary_is_written_where_it_can_be(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("speaker,path\nAnn,a.wav\n")
    assert run("dictionary", tmp_path / "people.csv", tmp_path / "out.json").exit_code == 0
    assert "Ann" in (tmp_path / "out.json").read_text()


def test_a_table_of_a_given_encoding_becomes_a_dictionary(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_bytes("speaker,path\n陳,a.wav\n".encode("cp950"))
    assert isinstance(run("dictionary", tmp_path / "people.csv", tmp_path / "o.json").exception, Unusable)
    assert run("dictionary", tmp_path / "people.csv", tmp_path / "o.json", "--encoding", "big5").exit_code == 0
    assert "陳" in (tmp_path / "o.json").read_text()


def test_a_file_that_is_there_and_one_beside_the_program_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("old.csv").touch()
    for path in (Path("old.csv"), Path("new.csv"), Path("/dev/null")):
        check_writable(path)


def test_a_disk_that_fills_up_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="out cannot be written: No space left on device"), written(tmp_path / "out"):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(Unusable, match="cannot be written"):
        write_report(tmp_path / "gone" / "r.csv", [])


def test_an_archive_whose_encoding_is_given_is_unpacked_here_and_its_recordings_are_sent(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("AA/1.wav", b"x")
        archive.writestr("AA/notes.txt", b"x")
    (tmp_path / "people.zip").write_bytes(data.getvalue().replace(b"AA/", "陳/".encode("cp950")))
    sent: dict[str, Any] = {}
    client: Any = SimpleNamespace(
        settings=SimpleNamespace(data_roots=(tmp_path,), max_upload_bytes=10**6),
        keep=lambda payload: "key",
        enroll_manifest=lambda manifest, **arguments: sent.update(manifest=manifest, **arguments),
    )
    enroll.submit(client, str(tmp_path / "people.zip"), bank="staff", options={"encoding": "big5"}, upload=None)
    assert sent["bank"] == "staff"
    (entry,) = sent["manifest"]["entries"]
    assert (entry["speaker"], entry["path"], entry["row"]) == ("陳", "payload:key", "陳/1.wav")
    assert [one["path"] for one in sent["manifest"]["skipped"]] == ["陳/notes.txt"]
