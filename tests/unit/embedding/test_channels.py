"""Several channels become one without losing the voice."""

from __future__ import annotations

import numpy as np
import pytest

from speaker_tasks.embedding import audio
from speaker_tasks.embedding.channels import mono
from tests.unit.embedding.conftest import voice
from tests.unit.embedding.files import encoded, written

RATE = 16_000


def stereo(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.stack([left, right], axis=1).astype(np.float32)


def test_a_channel_beside_its_own_inverse_is_heard() -> None:
    clip = voice(3.0)
    samples = audio.decode(written("WAV", stereo(clip, -clip), subtype="FLOAT"))
    np.testing.assert_allclose(samples, clip, atol=1e-6)
    np.testing.assert_allclose(mono(stereo(clip, -0.7 * clip)), clip)


def test_compressed_stereo_with_inverted_channels_is_heard() -> None:
    clip = voice(3.0)
    samples = audio.decode(encoded("ipod", "aac", stereo(clip, -clip), rate=RATE))
    assert samples.std() > 0.5 * clip.std()


@pytest.mark.parametrize("offset", [0.0, 0.2])
def test_a_dead_channel_does_not_weaken_the_other(offset: float) -> None:
    clip = voice(2.0)
    for block in (stereo(clip, np.full_like(clip, offset)), stereo(np.full_like(clip, offset), clip)):
        np.testing.assert_allclose(mono(block), clip)


def test_two_voices_on_two_channels_are_both_heard() -> None:
    one, other = voice(2.0, seed=1), voice(2.0, pitch=210.0, seed=2)
    np.testing.assert_allclose(mono(stereo(one, other)), (one + other) / 2, atol=1e-6)


def test_who_speaks_later_on_the_other_channel_is_heard_too() -> None:
    clip, still = voice(20.0), np.zeros(20 * RATE, np.float32)
    left, right = np.concatenate([clip, still]), np.concatenate([still, clip])
    samples = audio.decode(written("WAV", stereo(left, right), subtype="FLOAT"))
    for start in (0, 20):
        heard = samples[(start + 5) * RATE : (start + 15) * RATE]
        assert heard.std() == pytest.approx(clip[5 * RATE : 15 * RATE].std(), rel=0.05)


def test_the_voice_in_the_middle_of_six_channels_is_not_thinned() -> None:
    clip = voice(2.0)
    block = np.zeros((len(clip), 6), np.float32)
    block[:, 2] = clip
    np.testing.assert_allclose(mono(block), clip)


def test_silence_and_values_that_are_not_finite_pass_through() -> None:
    assert not mono(np.zeros((100, 2), np.float32)).any()
    assert not np.isfinite(mono(stereo(np.full(100, np.nan), np.ones(100)))).all()
    assert len(mono(np.zeros((0, 2), np.float32))) == 0
