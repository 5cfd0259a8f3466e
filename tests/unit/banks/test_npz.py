"""Bank files go both ways between the first server's readers and ours, and nothing else is taken for a bank."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from banks import editing, npz
from banks.bank import Bank, Clips
from banks.npz import read_npz, write_npz
from banks.store import BankStore
from speaker_tasks.errors import NotFinite, NotFound, TooLarge, Unusable
from tests.unit.banks.conftest import make_bank, unit_vectors


def old_file(path: Path, labels: object, vectors: object) -> Path:
    """What the first server's enrollment wrote."""
    np.savez(path, label=labels, train_feats=vectors)
    return path


def test_an_old_file_loads_with_the_model_that_the_caller_names(tmp_path: Path) -> None:
    vectors = unit_vectors(2).astype(np.float64)
    bank = read_npz(old_file(tmp_path / "old.npz", np.array(["林一", "Bob"]), vectors), model="vgg")
    assert bank.labels == ("林一", "Bob")
    assert bank.model == "vgg"
    assert bank.vectors.dtype == np.float32
    np.testing.assert_allclose(bank.vectors, vectors, atol=1e-7)


def test_a_file_with_unnamed_arrays_is_read_by_position(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", np.array(["a", "b"]), unit_vectors(2))
    assert read_npz(tmp_path / "x.npz", model="vgg").labels == ("a", "b")


def test_the_first_servers_reader_reads_our_file_by_position(tmp_path: Path) -> None:
    bank = make_bank("林一", "阿不都热依木·买买提", "Ann")
    write_npz(tmp_path / "new.npz", bank)
    with np.load(tmp_path / "new.npz") as stored:
        first, second = stored.files[:2]
        labels, vectors = stored[first], stored[second]
    assert (first, second) == ("label", "train_feats")
    assert labels.dtype.kind == "U"
    assert vectors.dtype == np.float64
    assert tuple(labels) == bank.labels
    np.testing.assert_array_equal(vectors.astype(np.float32), bank.vectors)


def test_all_that_a_bank_knows_survives_its_file(tmp_path: Path) -> None:
    clips = Clips(
        keys=("k0", "k1", "k2"),
        owners=np.array([0, 0, 1]),
        vectors=unit_vectors(3),
        seconds=np.array([1, 2, 3], np.float32),
        weights=np.array([1, 1, 4]),
        paths=("/a/林.wav", "", "s3://b/c.wav"),
        spans=(None, (0.5, 2.5), None),
    )
    bank = Bank(
        ("林一", "Ann"),
        unit_vectors(2),
        model="compact-0123456789ab",
        counts=np.array([2, 4]),
        seconds=np.array([3, 3]),
        name="staff",
        version=7,
        source="job 1",
        clips=clips,
    )
    write_npz(tmp_path / "bank.npz", bank)
    again = read_npz(tmp_path / "bank.npz", model="vgg")
    for field in ("labels", "model", "name", "version", "created", "source"):
        assert getattr(again, field) == getattr(bank, field)
    assert again.counts.tolist() == [2, 4]
    assert again.clips is not None
    assert (again.clips.keys, again.clips.paths, again.clips.spans) == (clips.keys, clips.paths, clips.spans)
    np.testing.assert_array_equal(again.clips.vectors, clips.vectors)
    np.testing.assert_array_equal(again.clips.weights, clips.weights)


def test_our_file_holds_nothing_pickled(tmp_path: Path) -> None:
    write_npz(tmp_path / "bank.npz", make_bank("a"))
    with np.load(tmp_path / "bank.npz", allow_pickle=False) as stored:
        assert json.loads(str(stored["card"]))["model"] == "vgg"
        assert all(stored[name].dtype.kind != "O" for name in stored.files)


def test_a_file_that_cannot_be_written_leaves_the_old_one_and_no_part(tmp_path: Path, monkeypatch) -> None:
    target = tmp_path / "bank.npz"
    write_npz(target, make_bank("before"))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(npz.np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        write_npz(target, make_bank("after"))
    assert read_npz(target, model="vgg").labels == ("before",)
    assert [path.name for path in tmp_path.iterdir()] == ["bank.npz"]


@pytest.mark.parametrize(
    ("labels", "vectors", "says"),
    [
        (np.array([["a", "b"], ["c", "d"]]), np.ones((2, 4)), r"shape \(2, 2\)"),
        (np.array(["a", "b", "c"]), np.ones((2, 4)), "3 labels but 2 vectors"),
        (np.array(["a", "b"]), np.ones(2), r"shape \(2,\)"),
        (np.array([0.5, 0.25]), np.ones((2, 4)), "labels of type float64"),
        (np.array(["a", "b"]), np.array([["x"], ["y"]]), "vectors of type"),
        (np.array([b"\xff"]), np.ones((1, 4)), "not UTF-8"),
    ],
)
def test_shapes_and_types_that_are_no_bank_are_refused(tmp_path: Path, labels, vectors, says: str) -> None:
    with pytest.raises(Unusable, match=says):
        read_npz(old_file(tmp_path / "odd.npz", labels, vectors), model="vgg")


def test_object_labels_are_refused_without_unpickling_them(tmp_path: Path) -> None:
    labels = np.array(["a", "bc"], dtype=object)
    with pytest.raises(Unusable, match=r"Python objects.*dtype=str"):
        read_npz(old_file(tmp_path / "pickled.npz", labels, np.ones((2, 4))), model="vgg")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_vectors_that_are_not_finite_are_refused_with_their_row(tmp_path: Path, value: float) -> None:
    vectors = np.ones((3, 4))
    vectors[1, 2] = value
    with pytest.raises(NotFinite, match="vector 1"):
        read_npz(old_file(tmp_path / "nan.npz", np.array(["a", "b", "c"]), vectors), model="vgg")


def test_numeric_labels_become_text(tmp_path: Path) -> None:
    assert read_npz(old_file(tmp_path / "n.npz", np.array([7, 12]), np.ones((2, 4))), model="vgg").labels == ("7", "12")


def test_a_missing_file_a_folder_and_other_files_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nothing\.npz"):
        read_npz(tmp_path / "nothing.npz", model="vgg")
    with pytest.raises(NotFound):
        read_npz(tmp_path, model="vgg")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(Unusable, match="not a bank file"):
        read_npz(tmp_path / "text.npz", model="vgg")
    with zipfile.ZipFile(tmp_path / "one.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(Unusable):
        read_npz(tmp_path / "one.npz", model="vgg")


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    write_npz(tmp_path / "whole.npz", make_bank("a", "b"))
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Unusable, match="not a bank file"):
        read_npz(tmp_path / "cut.npz", model="vgg")


def test_an_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(npz, "MAX_UNPACKED_BYTES", 10_000)
    np.savez_compressed(tmp_path / "bomb.npz", label=np.array(["a"] * 100), train_feats=np.zeros((100, 512)))
    with pytest.raises(TooLarge):
        read_npz(tmp_path / "bomb.npz", model="vgg")


def test_an_array_that_claims_a_huge_shape_is_refused(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 512)})
    with zipfile.ZipFile(tmp_path / "liar.npz", "w") as archive:
        archive.writestr("label.npy", header.getvalue())
        archive.writestr("train_feats.npy", header.getvalue())
    with pytest.raises(Unusable):
        read_npz(tmp_path / "liar.npz", model="vgg")


def test_labels_are_names_as_everywhere_else(tmp_path: Path) -> None:
    labels = np.array(["Zoe\u0308", " Bob", "Ann\r\nLee", "Al\u200bice", "", "\u3000"])
    bank = read_npz(old_file(tmp_path / "x.npz", labels, unit_vectors(6)), model="vgg")
    assert bank.labels == ("Zo\u00eb", "Bob", "Ann Lee", "Alice", "unnamed 5", "unnamed 6")


def test_a_label_that_no_speaker_can_have_is_refused_with_its_row(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="label 2 cannot be kept"):
        read_npz(old_file(tmp_path / "x.npz", np.array(["a", "x" * 200]), unit_vectors(2)), model="vgg")


def clips_file(path: Path, **changes: object) -> Path:
    """Our own file of one speaker with two clips, changed in one place."""
    vectors = unit_vectors(2)
    about = {"keys": ["k0", "k1"], "paths": ["/a.wav", ""], "spans": [None, None]}
    about |= {name: changes.pop(name) for name in tuple(changes) if name in about}
    arrays = {
        "clip_owners": np.array([0, 0]),
        "clip_vectors": vectors,
        "clip_seconds": np.ones(2),
        "clip_weights": np.ones(2, int),
    }
    card = json.dumps({"model": "vgg", "clips": about})
    np.savez(path, label=np.array(["a"]), train_feats=vectors[:1], card=np.array(card), **(arrays | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"paths": ["payload:speaker:audit", ""]}, "payload:speaker:audit"),
        ({"paths": ["payload:speaker:audit://", ""]}, "payload:speaker:audit"),
        ({"clip_owners": np.array([0, 1])}, "row 1, and there are 1 speakers"),
        ({"clip_vectors": unit_vectors(2, size=192)}, "192 values"),
        ({"clip_vectors": np.full((2, 512), np.nan)}, "NaN"),
        ({"clip_seconds": np.ones((2, 1))}, "equal length"),
        ({"counts": np.array(["x"])}, "not a bank file"),
    ],
)
def test_clips_that_would_do_harm_later_are_refused_at_once(tmp_path: Path, changes: dict, says: str) -> None:
    assert read_npz(clips_file(tmp_path / "good.npz"), model="vgg").clips is not None
    with pytest.raises(Unusable, match=says):
        read_npz(clips_file(tmp_path / "bad.npz", **changes), model="vgg")


@pytest.mark.parametrize(
    "header",
    ["(" * 3_000 + ")" * 3_000, "{'descr': " + "[" * 200 + "]" * 200 + "}", "{'descr'", "\x00" * 64, "x" * 60_000],
)
def test_headers_that_no_writer_wrote_are_refused(tmp_path: Path, header: str) -> None:
    member = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    with zipfile.ZipFile(tmp_path / "odd.npz", "w") as archive:
        archive.writestr("label.npy", member)
        archive.writestr("train_feats.npy", member)
    with pytest.raises(Unusable, match="not a bank file"):
        read_npz(tmp_path / "odd.npz", model="vgg")


@pytest.mark.parametrize("order", ["<", ">"])
def test_text_that_is_not_unicode_is_refused(tmp_path: Path, order: str) -> None:
    """numpy believes the file, and Python fails on the first use of such a text."""
    label = np.array([0x61, 0x110000], f"{order}u4").view(f"{order}U1")
    np.savez(tmp_path / "odd.npz", label=label, train_feats=unit_vectors(2))
    with pytest.raises(Unusable, match="not Unicode"):
        read_npz(tmp_path / "odd.npz", model="vgg")
    good = np.array(["é", "林"], f"{order}U4")
    np.savez(tmp_path / "good.npz", label=good, train_feats=unit_vectors(2))
    assert read_npz(tmp_path / "good.npz", model="vgg").labels == ("é", "林")


def test_a_card_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    card = np.array("[" * 100_000)
    np.savez(tmp_path / "deep.npz", label=np.array(["a"]), train_feats=unit_vectors(1), card=card)
    with pytest.raises(Unusable, match="card"):
        read_npz(tmp_path / "deep.npz", model="vgg")


def test_earlier_names_survive_the_file_and_the_store(tmp_path: Path, store: BankStore) -> None:
    write_npz(tmp_path / "x.npz", editing.rename(make_bank("a", "b"), "a", "A"))
    bank = read_npz(tmp_path / "x.npz", model="vgg")
    store.put("staff", bank)
    assert bank.aliases == store.get("staff").aliases == {"a": "A"}
