"""Audio packed for its way through Redis."""

import numpy as np
import pytest

from speaker_tasks.errors import Malformed
from speaker_tasks.jobs.audio import Audio, Encoding


def test_float_samples_come_back_exactly() -> None:
    samples = np.linspace(-1, 1, 1001, dtype=np.float32)
    audio = Audio.unpack(Audio.of_samples(samples, 16_000).pack())
    assert audio.rate == 16_000
    assert np.array_equal(audio.samples(), samples)


def test_samples_are_read_where_they_lie() -> None:
    payload = Audio.of_samples(np.ones(8, np.float32), 16_000).pack()
    samples = Audio.unpack(payload).samples()
    assert samples.flags.aligned
    assert not samples.flags.owndata


def test_int16_samples_become_fractions() -> None:
    audio = Audio.unpack(Audio.of_samples(np.array([-32768, 0, 16384], np.int16), 8000).pack())
    assert audio.samples().tolist() == [-1.0, 0.0, 0.5]
    assert audio.samples().dtype == np.float32


def test_a_file_is_kept_as_it_came_and_has_no_samples_yet() -> None:
    audio = Audio.unpack(Audio.of_file(b"RIFF....").pack())
    assert audio.encoding is Encoding.FILE
    assert bytes(audio.data) == b"RIFF...."
    with pytest.raises(Malformed):
        audio.samples()


@pytest.mark.parametrize(
    "payload", [b"", b"SA", b"XX\x01\x01\x80>\x00\x00", b"SA\x02\x01\x80>\x00\x00", b"SA\x01\x09\x80>\0\0"]
)
def test_other_bytes_are_refused(payload: bytes) -> None:
    with pytest.raises(Malformed):
        Audio.unpack(payload)


def test_samples_cut_short_are_refused() -> None:
    payload = Audio.of_samples(np.ones(8, np.float32), 16_000).pack()
    with pytest.raises(Malformed):
        Audio.unpack(payload[:-1]).samples()
