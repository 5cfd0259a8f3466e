"""Archives are unpacked with suspicion: what could harm is refused before it is written."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import psutil
import pytest

from enrollment.archive import ArchiveRefused, Limits, unpack
from enrollment.folder import scan
from speaker_tasks.errors import TooLarge, Unusable


def zipped(files: dict[str, bytes], *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def tarred(files: dict[str, bytes], mode: str = "w:gz", *, extra: tarfile.TarInfo | None = None) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        if extra is not None:
            archive.addfile(extra)
    return data.getvalue()


FILES = {"林一/a.wav": b"x" * 500, "Ann/b.wav": b"y" * 500}


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("top", ["", "speaker_data/", "./"])
def test_a_folder_tree_is_found_in_zip_and_tar_also_one_folder_down(tmp_path: Path, mode: str, top: str) -> None:
    files = {top + name: content for name, content in FILES.items()} | {"__MACOSX/x": b"-"}
    data = zipped(files) if mode == "zip" else tarred(files, mode)
    manifest = scan(unpack(data, tmp_path))
    assert set(manifest.speakers) == {"林一", "Ann"}
    assert {Path(one.path).read_bytes() for one in manifest.entries} == set(FILES.values())


@pytest.mark.parametrize(
    "name", ["../evil.wav", "/etc/evil.wav", "a/../../evil.wav", "..\\evil.wav", "C:\\evil.wav", "a/" * 20 + "x.wav"]
)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_names_that_lead_out_of_the_folder_are_refused(tmp_path: Path, make, name: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(ArchiveRefused):
        unpack(make({name: b"x"}), tmp_path / "in")
    assert list(tmp_path.rglob("*.wav")) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("Ann/link.wav")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(ArchiveRefused, match="link or a device"):
        unpack(tarred({}, extra=info), tmp_path)


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        info = zipfile.ZipInfo("Ann/link.wav")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(ArchiveRefused, match="link"):
        unpack(data.getvalue(), tmp_path)


@pytest.mark.parametrize("name", ["Ann/inner.zip", "Ann/inner.tar.gz", "Ann/inner.7z"])
def test_archives_in_archives_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveRefused, match="holds an archive"):
        unpack(zipped({name: b"x"}), tmp_path)


def test_a_zip_bomb_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    bomb = zipped({"Ann/a.wav": bytes(20_000_000)})
    assert len(bomb) < 50_000
    with pytest.raises(TooLarge):
        unpack(bomb, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_zip_that_lies_about_its_size_is_stopped_while_it_is_unpacked(tmp_path: Path) -> None:
    bomb = bytearray(zipped({"Ann/a.wav": bytes(20_000_000)}))
    size = (20_000_000).to_bytes(4, "little")
    while (at := bomb.find(size)) >= 0:
        bomb[at : at + 4] = (1000).to_bytes(4, "little")
    with pytest.raises((TooLarge, ArchiveRefused)):
        unpack(bytes(bomb), tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.wav")) <= 5_000_000


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_tar_bomb_is_stopped_while_it_is_unpacked(tmp_path: Path, mode: str) -> None:
    with pytest.raises(TooLarge):
        unpack(tarred({"Ann/a.wav": bytes(20_000_000)}, mode), tmp_path, Limits(total_bytes=5_000_000))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.wav")) <= 5_000_000


def test_too_many_files_are_refused(tmp_path: Path) -> None:
    many = {f"Ann/{number}.wav": b"x" for number in range(30)}
    for data in (zipped(many), tarred(many)):
        with pytest.raises(TooLarge, match="more than 20 files"):
            unpack(data, tmp_path / str(len(data)), Limits(files=20))


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefused, match="twice"):
        unpack(tarred({"Ann/a.wav": b"x", "./Ann/a.wav": b"y"}), tmp_path)


def test_a_file_that_another_member_takes_for_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveRefused):
        unpack(tarred({"Ann": b"x", "Ann/a.wav": b"y"}), tmp_path)


def from_windows(files: dict[str, bytes], encoding: str) -> bytes:
    """A zip archive as older programs write it: names in the system's encoding, without the UTF-8 mark."""
    renamed = {chr(ord("A") + number) * len(name.encode(encoding)): name for number, name in enumerate(files)}
    data = zipped(dict(zip(renamed, files.values(), strict=True)), compression=zipfile.ZIP_STORED)
    for stand_in, name in renamed.items():
        data = data.replace(stand_in.encode(), name.encode(encoding))
    return data


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("gb18030", ("林一", "王伟")),
        ("gb18030", ("陈建国",)),
        ("cp950", ("林一", "王小明", "許功蓋")),
        ("cp950", ("陳怡君",)),
        ("cp950", ("陳怡君", "Ann")),
        ("utf-8", ("陳怡君", "José")),
    ],
)
def test_names_from_windows_in_taiwan_and_china_are_read(tmp_path: Path, encoding: str, names: tuple[str, ...]) -> None:
    files = {f"{name}/{take}.wav": name.encode() * 20 for name in names for take in (1, 2)}
    manifest = scan(unpack(from_windows(files, encoding), tmp_path))
    assert set(manifest.speakers) == set(names)
    assert all(Path(one.path).read_bytes() == one.speaker.encode() * 20 for one in manifest.entries)


def test_names_of_unclear_encoding_are_refused_until_it_is_given(tmp_path: Path) -> None:
    data = from_windows({"陳/1.wav": b"x" * 50}, "cp950")
    with pytest.raises(Unusable, match=r"a name in the archive.*--encoding"):
        unpack(data, tmp_path / "unclear")
    assert scan(unpack(data, tmp_path / "given", encoding="big5")).speakers == ("陳",)


def test_a_marked_name_stays_as_it_is_whatever_the_others_are(tmp_path: Path) -> None:
    data = zipped({"王五/1.wav": b"x"})
    assert scan(unpack(data, tmp_path, encoding="cp950")).speakers == ("王五",)


@pytest.mark.parametrize(
    ("files", "speakers"),
    [
        (("王五/2024-01/x.wav", "王五/2024-02/y.wav"), {"王五"}),
        (("speakers/王五/2024-01/x.wav", "speakers/王五/2024-02/y.wav"), {"王五"}),
        (("王五/1月2日/x.wav", "王五/Session 2/y.wav", "王五/z.wav"), {"王五"}),
        (("speakers/Alice/1.wav", "speakers/Bob/1.wav"), {"Alice", "Bob"}),
        (("speakers/Alice/1.wav",), {"Alice"}),
        (("dev/1001/a/1.wav", "dev/1002/b/1.wav"), {"1001", "1002"}),
        (("class/20190101/1.wav", "class/20190102/1.wav"), {"20190101", "20190102"}),
        (("corpus/part1/Alice/1.wav", "corpus/part1/Bob/1.wav"), {"Alice", "Bob"}),
        (("Alice/2024-01/1.wav", "Bob/2024-01/1.wav"), {"Alice", "Bob"}),
        (("Alice/phone/1.wav", "Alice/mic/2.wav"), {"Alice"}),
        (("acme/spk1/1.wav", "acme/spk2/1.wav"), {"spk1", "spk2"}),
        (("人/speaker 0/1.wav", "人/speaker 1/1.wav"), {"speaker 0", "speaker 1"}),
        (("id10270/5r0dWxy17C8/1.wav", "id10270/8jEAjG6SegY/1.wav"), {"id10270"}),
        (("wav/id10270/5r0dWxy17C8/1.wav", "wav/id10271/8jEAjG6SegY/1.wav"), {"id10270", "id10271"}),
        (("my_speakers-2024/Alice/1.wav", "my_speakers-2024/Bob/1.wav"), {"Alice", "Bob"}),
    ],
)
def test_the_speakers_are_found_below_one_folder_but_days_and_sessions_are_none(
    tmp_path: Path, files: tuple[str, ...], speakers: set[str]
) -> None:
    assert set(scan(unpack(zipped(dict.fromkeys(files, b"x")), tmp_path)).speakers) == speakers


@pytest.mark.parametrize("files", [("Alice/phone/1.wav", "Alice/mic/2.wav"), ("acme/Alice/1.wav", "acme/Bob/1.wav")])
def test_an_archive_is_read_as_the_same_tree_outside_of_it_and_doubts_are_told(
    tmp_path: Path, files: tuple[str, ...]
) -> None:
    for name in files:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(b"x")
    (tmp_path / "packed").mkdir()
    packed, plain = scan(unpack(zipped(dict.fromkeys(files, b"x")), tmp_path / "packed")), scan(tmp_path / "tree")
    assert packed.speakers == plain.speakers == (files[0].split("/", maxsplit=1)[0],)
    for manifest in (packed, plain):
        (outcome,) = manifest.skipped
        assert "taken for one speaker" in outcome.message


def test_a_directory_of_a_million_entries_is_refused_before_it_is_read(tmp_path: Path) -> None:
    entry = b"PK\x01\x02" + bytes(24) + b"\x01\x00" + bytes(16) + b"a"
    end = b"PK\x05\x06" + bytes(8) + (47_000_000).to_bytes(4, "little") + bytes(6)
    data = entry * 1_000_000 + end
    process = psutil.Process()
    before = process.memory_info().rss
    with pytest.raises(TooLarge, match="more than 41000 files"):
        unpack(data, tmp_path)
    assert process.memory_info().rss - before < 100e6


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"PK\x03\x04 torn", zipped(FILES)[:120], tarred(FILES)[:60]],
    ids=["empty", "text", "torn at once", "torn zip", "torn tar"],  # a tar's bytes, as a name, hold the time of day
)
def test_what_is_no_archive_or_is_torn_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ArchiveRefused):
        unpack(data, tmp_path)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    data = bytearray(zipped({"Ann/a.wav": b"x"}))
    data[6] |= 1
    at = data.find(b"PK\x01\x02")
    data[at + 8] |= 1
    with pytest.raises(ArchiveRefused, match="encrypted"):
        unpack(bytes(data), tmp_path)
