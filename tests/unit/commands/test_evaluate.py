"""`speaker-tasks evaluate` hears each part of a meeting as its speaker's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from speaker_tasks.commands.evaluate import _embed

RATE = 16_000


class Loudness:
    """Stands in for the network: a vector of the recording's loudness and length."""

    def embed(self, samples: np.ndarray) -> np.ndarray:
        return np.array([round(float(np.abs(samples).max()), 1), len(samples) / RATE], np.float32)


def tone(level: float, seconds: float) -> np.ndarray:
    return level * np.sin(np.arange(round(seconds * RATE)) * 0.1)


def test_the_parts_of_an_rttm_file_are_embedded_by_themselves(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "meeting.wav", np.concatenate([tone(0.2, 2), tone(0.8, 3)]), RATE)
    (tmp_path / "meeting.rttm").write_text(
        "SPEAKER meeting 1 0.0 2.0 <NA> <NA> Ann <NA> <NA>\n"
        "SPEAKER meeting 1 2.0 3.0 <NA> <NA> Bob <NA> <NA>\n"
        "SPEAKER meeting 1 0.0 4.5 <NA> <NA> Eve <NA> <NA>\n"
        "SPEAKER meeting 1 9.0 1.0 <NA> <NA> Eve <NA> <NA>\n"
    )
    (tmp_path / "Carl").mkdir()
    soundfile.write(tmp_path / "Carl" / "c.wav", tone(0.5, 1), RATE)
    embedder: Any = Loudness()
    found, skipped = _embed(embedder, tmp_path, 4.0, quiet=True)
    assert found.speakers.tolist() == ["Ann", "Bob", "Carl"]
    np.testing.assert_allclose(found.vectors, [[0.2, 2], [0.8, 3], [0.5, 1]], atol=1e-6)
    assert "longer than 4 s" in skipped["meeting.rttm, line 3"]
    assert "ends before 9 s" in skipped["meeting.rttm, line 4"]
