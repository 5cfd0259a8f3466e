"""`SpeakerEnroll` as the first server's users call it: a folder in, an npz file out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from enrollment.report import Reason
from speaker_tasks.embedding.enroller import speaker_enroll
from speaker_tasks.settings import Settings


class Loudness:
    """Stands in for the network: a vector of the recording's loudness."""

    model_id = "fake-0123456789ab"

    def embed(self, samples: np.ndarray) -> np.ndarray:
        return np.array([np.abs(samples).max(), 0.0], np.float32)


def test_a_folder_becomes_a_file_that_old_readers_read(tmp_path: Path) -> None:
    for speaker, level in (("林一", 0.5), ("Ann", 0.25)):
        (tmp_path / "data" / speaker).mkdir(parents=True)
        for take in range(2):
            samples = level * np.sin(np.arange(16_000) * 0.1)
            soundfile.write(tmp_path / "data" / speaker / f"{take}.wav", samples, 16_000)
    enroll = speaker_enroll(Settings(), Loudness())
    enrolled = enroll.flow(tmp_path / "data", tmp_path / "bank.npz")
    assert enrolled.report.enrolled == 4
    with np.load(tmp_path / "bank.npz") as stored:
        labels, vectors = (stored[name] for name in stored.files[:2])
    assert labels.tolist() == ["Ann", "林一"]
    np.testing.assert_allclose(vectors[:, 0], [0.25, 0.5], atol=1e-3)
    assert vectors.dtype == np.float64


def test_a_recording_that_was_read_in_part_is_enrolled_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "Ann").mkdir()
    soundfile.write(tmp_path / "Ann/a.wav", 0.5 * np.sin(np.arange(64_000) * 0.1), 16_000)
    content = (tmp_path / "Ann/a.wav").read_bytes()
    (tmp_path / "Ann/a.wav").write_bytes(content[: len(content) // 2])
    (outcome,) = speaker_enroll(Settings(), Loudness()).flow(tmp_path).report.outcomes
    assert (outcome.reason, outcome.damaged) == (Reason.ENROLLED, True)
    assert (outcome.seconds, outcome.seconds_lost) == (pytest.approx(2, abs=0.01), pytest.approx(2, abs=0.01))
    assert "damaged: 2.0 s were read, about 2.0 s are lost" in outcome.message
