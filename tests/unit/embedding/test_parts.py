"""The part of a recording is what the whole holds there, in every format."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from speaker_tasks.embedding import audio, parts
from speaker_tasks.errors import UnsupportedAudio, UnusableAudio


def tone(path: Path, rate: int = 16_000, seconds: float = 6.0) -> Path:
    """A tone whose loudness tells the time."""
    time = np.arange(int(seconds * rate)) / rate
    samples = (np.sin(2 * np.pi * 300 * time) * time / seconds * 0.9).astype(np.float32)
    if path.suffix == ".m4a":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=rate, layout="mono")
            frame = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
            frame.sample_rate = rate
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)
    else:
        soundfile.write(path, samples, rate)
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a"])
@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_part_is_what_the_whole_holds_there(tmp_path: Path, name: str, rate: int) -> None:
    path = tone(tmp_path / name, rate)
    part = parts.read(path, 2.0, 3.5)
    assert len(part) == pytest.approx(24_000, abs=2)
    whole = audio.decode(path)[32_000:56_000]
    assert np.abs(part).max() == pytest.approx(np.abs(whole).max(), abs=0.03)
    assert np.array_equal(parts.read(path.read_bytes(), 2.0, 3.5), part)


def test_a_part_without_an_end_goes_to_the_end(tmp_path: Path) -> None:
    assert len(parts.read(tone(tmp_path / "a.wav"), 4.0, None)) == 32_000
    assert len(parts.read(tone(tmp_path / "a.wav"), 4.0, 60.0)) == 32_000


def test_a_part_that_begins_after_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnusableAudio, match="ends before 7 s"):
        parts.read(tone(tmp_path / "a.wav"), 7.0, 8.0)
    (tmp_path / "b.wav").write_text("no sound")
    with pytest.raises(UnsupportedAudio):
        parts.read(tmp_path / "b.wav", 0, 1)
