"""Looking before and after: the preview of an enrollment, versions, the check of a bank, kept recordings, queues."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from banks.editing import with_clips
from banks.store import BankStore
from tests.integration.speaking import enroll
from tests.integration.stack import Stack, Web

ZIP = {"Content-Type": "application/zip"}


def packed(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, data in files.items():
            file.writestr(name, data)
    return archive.getvalue()


def test_a_preview_says_who_would_be_enrolled_and_makes_no_job(web: Web, demo_speakers: Path) -> None:
    clip = (demo_speakers / "Alice" / "1.ogg").read_bytes()[:4096]  # the beginning is enough
    archive = packed({"speakers/Alice/1.ogg": clip, "speakers/王芳/1.ogg": clip, "speakers/王芳/notes.txt": b"x"})

    def jobs() -> set[str]:
        return {job["id"] for job in web.get("/v1/jobs").json()["jobs"]}

    before = jobs()
    preview = web.post("/v1/enrollments/preview", data=archive, headers=ZIP).json()
    assert preview["recordings"] == 2
    assert preview["speakers"] == [{"speaker": name, "recordings": 1, "sheets": {}} for name in ("Alice", "王芳")]
    assert [one["outcome"] for one in preview["skipped"]] == ["not_audio"]
    assert jobs() <= before


def test_a_preview_reads_a_path_and_refuses_what_lies_elsewhere(web: Web, stack: Stack, demo_speakers: Path) -> None:
    folder = stack.folder / "data" / "previewed" / "Alice"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "1.ogg").write_bytes((demo_speakers / "Alice" / "1.ogg").read_bytes())
    preview = web.post("/v1/enrollments/preview", json={"path": str(folder.parent)}).json()
    assert (preview["recordings"], preview["speakers"][0]["speaker"]) == (1, "Alice")
    outside = web.post("/v1/enrollments/preview", json={"path": "/etc"})
    assert (outside.status_code, outside.json()["error"]["code"]) == (422, "outside_roots")


def test_the_options_of_a_form_are_those_of_a_path(web: Web) -> None:
    files = {"archive": ("a.zip", packed({"a/1.wav": b"RIFF....WAVE"}), "application/zip")}
    wrong = web.post("/v1/enrollments/preview", files=files, data={"options": '{"colour": "red"}'})
    assert wrong.status_code == 400
    assert "no option 'colour'" in wrong.json()["error"]["message"]


@pytest.fixture
def bank(stack: Stack, web: Web, demo_speakers: Path) -> str:
    enroll(stack, web, demo_speakers, "looked", clips=3)
    return "looked"


def test_versions_check_and_queues(web: Web, bank: str) -> None:
    (version,) = web.get(f"/v1/banks/{bank}/versions").json()["versions"]
    assert (version["version"], version["speakers"], version["restores"]) == (1, 8, None)
    check = web.get(f"/v1/banks/{bank}/check").json()
    assert len(check["speakers"]) == 8
    assert all(one["clips"] == 3 and not one["doubtful"] for one in check["speakers"])
    assert web.get("/v1/banks/nobody/check").status_code == 404
    queues = web.get("/v1/queues").json()["queues"]
    assert {one["name"] for one in queues} == {"recognize", "enroll"}


def placed(stack: Stack, bank: str, path: str) -> str:
    """A copy of the bank whose clips all come from one path; the address of its first recording."""
    store = BankStore(stack.client().redis)
    found = with_clips(store.get(bank, clips=True))
    assert found.clips is not None
    clips = replace(found.clips, paths=(path,) * len(found.clips))
    store.put("placed", replace(found, name="placed", clips=clips))
    return f"/v1/banks/placed/recordings/{found.clips.keys[0]}"


def test_a_kept_recording_is_given_whole_and_in_ranges(web: Web, stack: Stack, bank: str, demo_speakers: Path) -> None:
    file = stack.folder / "data" / "kept.ogg"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes((demo_speakers / "Alice" / "1.ogg").read_bytes())
    address = placed(stack, bank, str(file))
    assert web.get(address).content == file.read_bytes()
    assert web.get(address).headers["Content-Type"] == "audio/ogg"
    assert web.get(address, headers={"Range": "bytes=0-3"}).content == b"OggS"


@pytest.mark.parametrize(("path", "refused"), [("", (404, "not_found")), ("/etc/hostname", (422, "outside_roots"))])
def test_a_recording_that_is_not_kept_here_is_not_given(
    web: Web, stack: Stack, bank: str, path: str, refused: tuple[int, str]
) -> None:
    answer = web.get(placed(stack, bank, path))
    assert (answer.status_code, answer.json()["error"]["code"]) == refused
