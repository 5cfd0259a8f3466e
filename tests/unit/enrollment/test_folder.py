"""A folder of speakers becomes a manifest, whatever else lies in it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from enrollment.folder import scan
from enrollment.manifest import Manifest
from enrollment.report import Reason
from speaker_tasks.errors import Conflict, NotFound, Unusable


def tree(root: Path, *files: str) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


def reasons(manifest: Manifest) -> dict[str, Reason]:
    return {outcome.row: outcome.reason for outcome in manifest.skipped}


def test_each_sub_folder_is_a_speaker_with_all_its_recordings(tmp_path: Path) -> None:
    manifest = scan(tree(tmp_path, "林一/a.wav", "林一/b.WAV", "Ann/x.flac", "Ann/2020/deep.ogg"))
    assert manifest.speakers == ("Ann", "林一")
    found = [(entry.speaker, entry.row, entry.path) for entry in manifest.entries]
    assert found == [
        ("Ann", "Ann/2020/deep.ogg", str(tmp_path / "Ann/2020/deep.ogg")),
        ("Ann", "Ann/x.flac", str(tmp_path / "Ann/x.flac")),
        ("林一", "林一/a.wav", str(tmp_path / "林一/a.wav")),
        ("林一", "林一/b.WAV", str(tmp_path / "林一/b.WAV")),
    ]
    assert manifest.skipped == ()


@pytest.mark.parametrize(
    "ending",
    [
        *("wav", "flac", "ogg", "oga", "opus", "mp3", "m4a", "webm", "aac", "amr", "3gp", "mp4", "m4b", "wma"),
        *("aiff", "aif", "caf", "mka", "mkv", "mov", "ts", "w64", "au", "AAC", "Mp4"),
    ],
)
def test_all_usual_endings_are_taken(tmp_path: Path, ending: str) -> None:
    assert len(scan(tree(tmp_path, f"Ann/a.{ending}")).entries) == 1


@pytest.mark.parametrize("name", ["recording", "PTT-20240101.waptt", "a.tmp"])
@pytest.mark.parametrize(
    "head", [b"OggS\0\2", b"RIFF\0\0\0\0WAVEfmt ", b"\0\0\0\x1cftypM4A ", b"#!AMR\n", b"\xff\xf1\x50"]
)
def test_an_unknown_ending_is_decided_by_the_first_bytes(tmp_path: Path, name: str, head: bytes) -> None:
    (tree(tmp_path, "Ann/a.wav") / "Ann" / name).write_bytes(head + bytes(100))
    assert [Path(entry.path).name for entry in scan(tmp_path).entries] == sorted(["a.wav", name])


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("photo.heic", b"\0\0\0\x18ftypheic"),
        ("photo.jpg", b"\xff\xd8\xff\xe0"),
        ("notes", "\ufeffhello".encode("utf-16-le")),
        ("notes.txt", b"OggS is how Ogg begins"),
        ("clip.webp", b"RIFF\0\0\0\0WEBPVP8 "),
        ("table.xlsx", b"PK\3\4"),
    ],
)
def test_pictures_and_text_are_no_recordings(tmp_path: Path, name: str, head: bytes) -> None:
    (tree(tmp_path, "Ann/a.wav") / "Ann" / name).write_bytes(head + bytes(100))
    manifest = scan(tmp_path)
    assert [Path(entry.path).name for entry in manifest.entries] == ["a.wav"]
    assert reasons(manifest) == {f"Ann/{name}": Reason.NOT_AUDIO}


def test_a_pipe_in_a_speakers_folder_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tree(tmp_path, "Ann/a.wav") / "Ann" / "pipe")
    assert reasons(scan(tmp_path)) == {"Ann/pipe": Reason.NOT_AUDIO}


def test_hidden_files_and_other_files_are_skipped_and_named(tmp_path: Path) -> None:
    manifest = scan(
        tree(tmp_path, "Ann/a.wav", "Ann/.a.wav", "Ann/notes.txt", ".git/x.wav", "__MACOSX/Ann/a.wav", "loose.wav")
    )
    assert [entry.row for entry in manifest.entries] == ["Ann/a.wav"]
    assert manifest.speakers == ("Ann",)
    assert reasons(manifest) == {
        "Ann/.a.wav": Reason.HIDDEN,
        "Ann/notes.txt": Reason.NOT_AUDIO,
        ".git": Reason.HIDDEN,
        "__MACOSX": Reason.HIDDEN,
        "loose.wav": Reason.MISPLACED,
    }


def test_a_speaker_without_recordings_is_still_named(tmp_path: Path) -> None:
    (tmp_path / "Empty").mkdir()
    assert scan(tree(tmp_path, "Ann/a.wav")).speakers == ("Ann", "Empty")


def test_names_are_nfc_without_stray_spaces(tmp_path: Path) -> None:
    manifest = scan(tree(tmp_path, "Ame\u0301lie\u3000 Doe /a.wav"))
    assert manifest.speakers == ("Am\u00e9lie Doe",)
    assert Path(manifest.entries[0].path).exists(), "the path keeps the folder's own spelling"


@pytest.mark.parametrize("other", ["Am\u00e9lie", " Ame\u0301lie "])
def test_two_folders_of_one_name_are_an_error_that_names_both(tmp_path: Path, other: str) -> None:
    tree(tmp_path, "Ame\u0301lie/a.wav", f"{other}/b.wav")
    with pytest.raises(Conflict) as refused:
        scan(tmp_path)
    assert sorted(refused.value.details["folders"]) == sorted(["Ame\u0301lie", other])


def test_a_folder_whose_name_is_no_name_is_reported(tmp_path: Path) -> None:
    manifest = scan(tree(tmp_path, "Ann/a.wav", "\u3000/b.wav"))
    assert manifest.speakers == ("Ann",)
    assert reasons(manifest) == {"\u3000": Reason.BAD_NAME}


def test_names_that_are_not_utf8_are_reported_in_text_that_json_carries(tmp_path: Path) -> None:
    tree(tmp_path, "Ann/a.wav")
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/Ann/\xff.wav")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    manifest = scan(tmp_path)
    assert len(manifest.entries) == 1
    assert set(reasons(manifest).values()) == {Reason.BAD_NAME}
    str(manifest.to_dict()).encode()


def test_links_that_lead_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    outside = tree(tmp_path / "outside", "secret.wav")
    root = tree(tmp_path / "root", "Ann/a.wav", "Bob/b.wav")
    (root / "Ann" / "out.wav").symlink_to(outside / "secret.wav")
    (root / "Ann" / "folder").symlink_to(outside)
    (root / "Ann" / "loop.wav").symlink_to(root / "Ann" / "loop.wav")
    (root / "Eve").symlink_to(outside)
    (root / "Ann" / "in.wav").symlink_to(root / "Bob" / "b.wav")
    manifest = scan(root)
    assert [entry.row for entry in manifest.entries] == ["Ann/a.wav", "Ann/in.wav", "Bob/b.wav"]
    assert set(reasons(manifest)) == {"Ann/out.wav", "Ann/folder", "Ann/loop.wav", "Eve"}
    assert set(reasons(manifest).values()) == {Reason.OUTSIDE_ROOTS}


def test_a_root_that_is_a_link_is_followed(tmp_path: Path) -> None:
    tree(tmp_path / "real", "Ann/a.wav")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert len(scan(tmp_path / "link").entries) == 1


def test_no_folder_and_no_speakers_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        scan(tmp_path / "nowhere")
    with pytest.raises(NotFound):
        scan(tree(tmp_path, "loose.wav") / "loose.wav")
    with pytest.raises(Unusable, match="one sub-folder a speaker"):
        scan(tmp_path)


def test_a_manifest_crosses_the_queue_as_json(tmp_path: Path) -> None:
    manifest = scan(tree(tmp_path, "林一/a.wav", "林一/x.txt"))
    assert Manifest.from_dict(manifest.to_dict()) == manifest


@pytest.mark.parametrize(
    "names",
    [("2024-01", "2024-02"), ("2024.1.5",), ("1月2日", "1月3日"), ("2024年3月",), ("Session 1", "day_2"), ("第一天",)],
)
def test_days_and_sessions_that_were_taken_for_speakers_are_told(tmp_path: Path, names: tuple[str, ...]) -> None:
    manifest = scan(tree(tmp_path, *(f"{name}/a.wav" for name in names)))
    assert set(manifest.speakers) == set(names)
    (outcome,) = manifest.skipped
    assert outcome.reason is Reason.MISPLACED
    assert outcome.message.startswith(f"taken for speakers: {min(names)}")


@pytest.mark.parametrize(
    "names", [("1001", "1002"), ("20190101",), ("2024-01", "Ann"), ("2019-31",), ("Day",), ("王五",)]
)
def test_names_that_may_be_speakers_are_not_told(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert scan(tree(tmp_path, *(f"{name}/a.wav" for name in names))).skipped == ()
