"""`SpeakerEnroll.flow`: one vector a speaker, the mean of its recordings', and nothing saved unless asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from enrollment import Enrolled, SpeakerEnroll
from enrollment.report import Reason
from speaker_tasks.errors import UnsupportedAudio, Unusable, UnusableAudio


class FakeEmbedder:
    """A vector that points where the samples say."""

    model_id = "fake-0123456789ab"

    def embed(self, samples: np.ndarray) -> np.ndarray:
        if not samples.any():
            raise UnusableAudio("the recording is silent", seconds=1.0)
        return np.eye(4, dtype=np.float32)[int(samples[0])]


def decode(path: Path) -> np.ndarray:
    """A file holds the one value that all its samples have."""
    text = path.read_text()
    if not text.isdigit():
        raise UnsupportedAudio("not audio")
    return np.full(32_000, int(text), np.float32)


def folder(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_speakers_vector_is_the_mean_of_its_recordings_not_normalised_again(tmp_path: Path) -> None:
    enrolled = SpeakerEnroll(FakeEmbedder(), decode=decode).flow(folder(tmp_path, Ann__a="1", Ann__b="2", Bob__a="3"))
    assert enrolled.labels == ("Ann", "Bob")
    np.testing.assert_allclose(enrolled.vectors, [[0, 0.5, 0.5, 0], [0, 0, 0, 1]])
    assert enrolled.counts.tolist() == [2, 1]
    assert enrolled.seconds.tolist() == [4, 2]
    assert enrolled.model == "fake-0123456789ab"


def test_recordings_that_cannot_be_used_are_left_out_and_reported(tmp_path: Path) -> None:
    enrolled = SpeakerEnroll(FakeEmbedder(), decode=decode).flow(
        folder(tmp_path, Ann__good="1", Ann__silent="0", Ann__torn="?", Bob__a="3")
    )
    assert enrolled.counts.tolist() == [1, 1]
    by_row = {outcome.row: outcome for outcome in enrolled.report.outcomes}
    assert by_row["Ann/silent.wav"].reason is Reason.UNUSABLE
    assert by_row["Ann/silent.wav"].message == "the recording is silent"
    assert by_row["Ann/torn.wav"].reason is Reason.UNREADABLE
    assert [outcome.row for outcome in enrolled.report.left_out] == ["Ann/silent.wav", "Ann/torn.wav"]
    assert enrolled.report.enrolled == 2


def test_a_speaker_with_nothing_usable_is_an_error_that_names_it_and_nothing_is_saved(tmp_path: Path) -> None:
    saved: list[Path] = []
    enroll = SpeakerEnroll(FakeEmbedder(), decode=decode, write=lambda path, _: saved.append(path))
    root = folder(tmp_path, Ann__a="1", 林一__a="0")
    (root / "Eve").mkdir()
    with pytest.raises(Unusable, match="no usable recording of Eve, 林一") as refused:
        enroll.flow(root, tmp_path / "bank.npz")
    assert refused.value.details["speakers"] == ["Eve", "林一"]
    assert saved == []


def test_it_is_saved_only_when_a_path_is_given(tmp_path: Path) -> None:
    saved: list[tuple[Path, Enrolled]] = []
    enroll = SpeakerEnroll(FakeEmbedder(), decode=decode, write=lambda path, what: saved.append((path, what)))
    root = folder(tmp_path, Ann__a="1")
    enroll.flow(root)
    assert saved == []
    enrolled = enroll.flow(root, str(tmp_path / "bank.npz"))
    assert saved == [(tmp_path / "bank.npz", enrolled)]


def test_saving_without_a_writer_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="writer"):
        SpeakerEnroll(FakeEmbedder(), decode=decode).flow(tmp_path / "nowhere", tmp_path / "bank.npz")


def test_each_part_of_a_meeting_goes_to_its_speaker_and_the_meeting_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "meeting.wav").touch()
    (tmp_path / "meeting.rttm").write_text(
        "SPEAKER meeting 1 0.0 1.0 <NA> <NA> Ann <NA> <NA>\n"
        "SPEAKER meeting 1 1.5 0.5 <NA> <NA> 林一 <NA> <NA>\n"
        "SPEAKER meeting 1 9.0 1.0 <NA> <NA> 林一 <NA> <NA>\n"
    )
    read: list[str] = []

    def voices(path: Path) -> np.ndarray:
        read.append(path.name)
        return np.repeat(np.array([1, 2, 3, 3], np.float32), 8_000)  # half a second each

    class Last(FakeEmbedder):
        def embed(self, samples: np.ndarray) -> np.ndarray:
            if not len(samples):
                raise UnusableAudio("0.00 s of sound", seconds=0.0)
            return np.eye(4, dtype=np.float32)[int(samples[-1])]

    enrolled = SpeakerEnroll(Last(), decode=voices).flow(tmp_path)
    assert enrolled.labels == ("Ann", "林一")
    np.testing.assert_allclose(enrolled.vectors, [[0, 0, 1, 0], [0, 0, 0, 1]])
    assert enrolled.seconds.tolist() == [1.0, 0.5]
    assert [outcome.row for outcome in enrolled.report.left_out] == ["meeting.rttm, line 3"]
    assert read == ["meeting.wav"]
